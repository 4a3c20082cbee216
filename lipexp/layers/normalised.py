"""Rows of norm 1: a head for certificates by pairs of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from lipexp.layers.base import LipschitzLinear
from lipexp.layers.bounds import leading_power


class NormalisedLinear(LipschitzLinear):
    """x -> W x + b, every row of W of norm 1.  x: (..., in) -> (..., out); a zero row stays 0.

    The head of SLL's networks.  As a map its norm may be as large as sqrt(out), and that is what
    `lipschitz_bound` answers with; a certificate uses the constants |w_y - w_j| <= 2 of its pairs
    of scores instead.  Source: Singla et al., last layer normalisation (arXiv 2108.04062).
    """

    def effective_weight(self) -> Tensor:
        v = self.weight / leading_power(self.weight.detach().abs().amax(1, keepdim=True))
        size = torch.linalg.vector_norm(v, dim=1, keepdim=True)
        return v / torch.where(size > 0, size, 1.0)
