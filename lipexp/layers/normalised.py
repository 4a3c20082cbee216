"""Rows of norm 1: a head for certificates by pairs of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from lipexp.layers.base import LipschitzLinear
from lipexp.layers.bounds import leading_power


class NormalisedLinear(LipschitzLinear):
    """x -> W x + b, every row of W of norm 1.  x: (..., in) -> (..., out); a zero row stays 0,
    with gradient 0.

    The head of SLL's networks.  As a map its norm may be as large as sqrt(out), and that is what
    `lipschitz_bound` answers with; a certificate uses the constants |w_y - w_j| <= 2 of its pairs
    of scores instead.  Source: Singla et al., last layer normalisation (arXiv 2108.04062).
    """

    def effective_weight(self) -> Tensor:
        zero = ~self.weight.detach().any(1, keepdim=True)
        v = torch.where(zero, 1.0, self.weight)  # before any division: the gradient is 0 there
        v = v / leading_power(v.detach().abs().amax(1, keepdim=True))
        return torch.where(zero, 0.0, v / torch.linalg.vector_norm(v, dim=1, keepdim=True))
