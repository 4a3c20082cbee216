"""Orthogonal matrices, by torch's own parametrisation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrizations

from lipexp.layers.base import LipschitzLinear
from lipexp.layers.bounds import near_orthogonal_norm


class OrthogonalLinear(LipschitzLinear):
    """x -> Q x + b with Q (semi-)orthogonal: Q^T Q = I or Q Q^T = I.  x: (..., in) -> (..., out).

    ``torch.nn.utils.parametrizations.orthogonal``: the matrix exponential around the start for
    square weights, Householder reflections for the others (without torch's random completion, so
    that equal draws give equal weights).  A draw that is not orthogonal is replaced by the Q of its
    QR decomposition with positive diagonal: Haar distributed for Gaussian draws.
    """

    def __init__(self, in_features, out_features, bias=True, *, init="orthogonal", **keywords):
        super().__init__(in_features, out_features, bias, init=init, **keywords)
        with torch.no_grad():
            if init is None:
                self.weight.copy_(torch.eye(out_features, in_features))
        self._parametrise()

    def _parametrise(self) -> None:
        square = self.in_features == self.out_features
        parametrizations.orthogonal(
            self,
            orthogonal_map="matrix_exp" if square else "householder",
            use_trivialization=square,
        )

    @property
    def free_weight(self) -> Tensor:
        if "parametrizations" in self._modules:
            return self.parametrizations.weight.original
        return self.weight

    @torch.no_grad()
    def fill(self, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        if "parametrizations" in self._modules:
            self.weight = torch.from_numpy(np.ascontiguousarray(weight)).to(self.free_weight)
            if bias is not None:
                self.bias.copy_(torch.from_numpy(bias))
        else:
            super().fill(weight, bias)

    def effective_weight(self) -> Tensor:
        return self.weight

    def proven_norm(self) -> float:
        return near_orthogonal_norm(self._weight64())
