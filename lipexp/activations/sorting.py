"""Activations that sort: maxmin."""

from __future__ import annotations

import torch
from torch import Tensor

from lipexp.activations.base import Activation, stays_clear


def _pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """Views of the even and the odd entries of the last axis."""
    return x[..., 0::2], x[..., 1::2]


def _interleave(even: Tensor, odd: Tensor) -> Tensor:
    return torch.stack((even, odd), dim=-1).flatten(-2)


class MaxMin(Activation):
    """(a, b) -> (max(a, b), min(a, b)) on adjacent pairs (2i, 2i + 1); 1-Lipschitz in every l_p.

    A permutation chosen by the input, so norms of signals and of cotangents are kept exactly.
    """

    def forward(self, x: Tensor) -> Tensor:
        a, b = _pairs(x)
        return _interleave(torch.maximum(a, b), torch.minimum(a, b))

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        a, b = _pairs(x)
        of_max, of_min = _pairs(cotangent)
        swapped = a < b
        return _interleave(
            torch.where(swapped, of_min, of_max), torch.where(swapped, of_max, of_min)
        )

    def active_fraction(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[0], dtype=torch.float64, device=x.device)

    def difference(self, x: Tensor, deviation: Tensor, ratio: Tensor) -> Tensor:
        # Same order: the same permutation.  Order changed: max' - max is the deviation of the new
        # maximum less the gap it had to close; gap / ratio is of the deviation's size there.
        a, b = _pairs(x)
        da, db = _pairs(deviation)
        before = a < b
        if stays_clear((a - b).abs() / 2, deviation, ratio):
            return _interleave(torch.where(before, db, da), torch.where(before, da, db))
        after = (a + ratio * da) < (b + ratio * db)
        gap = torch.where(before != after, (a - b).abs() / ratio, torch.zeros_like(a))
        high = torch.where(after, db, da) - gap
        low = torch.where(after, da, db) + gap
        return _interleave(high, low)
