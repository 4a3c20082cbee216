"""Activations that sort: maxmin."""

from __future__ import annotations

import torch
from torch import Tensor

from lipexp.activations.base import Activation, stays_clear


class MaxMin(Activation):
    """(a, b) -> (max(a, b), min(a, b)) on adjacent pairs (2i, 2i + 1); 1-Lipschitz in every l_p.

    A permutation chosen by the input, so norms of signals and of cotangents are kept exactly.
    ``dim``: the axis of the pairs, counted from behind: -1, or -3 for the channels of images.
    """

    def __init__(self, dim: int = -1):
        super().__init__()
        self.dim = dim

    def local_error(self, shape, norm):
        return 0.0 * norm

    def over_channels(self) -> MaxMin:
        return MaxMin(-3)

    def _pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the even and the odd entries of the axis."""
        return x.unflatten(self.dim, (-1, 2)).unbind(self.dim)

    def _interleave(self, even: Tensor, odd: Tensor) -> Tensor:
        return torch.stack((even, odd), dim=self.dim).flatten(self.dim - 1, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self._pairs(x)
        return self._interleave(torch.maximum(a, b), torch.minimum(a, b))

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        a, b = self._pairs(x)
        of_max, of_min = self._pairs(cotangent)
        swapped = a < b
        return self._interleave(
            torch.where(swapped, of_min, of_max), torch.where(swapped, of_max, of_min)
        )

    def active_fraction(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[0], dtype=torch.float64, device=x.device)

    def difference(self, x: Tensor, deviation: Tensor, ratio: Tensor) -> Tensor:
        # Same order: the same permutation.  Order changed: max' - max is the deviation of the new
        # maximum less the gap it had to close; gap / ratio is of the deviation's size there.
        a, b = self._pairs(x)
        da, db = self._pairs(deviation)
        before = a < b
        if stays_clear((a - b).abs() / 2, deviation, ratio):
            return self._interleave(torch.where(before, db, da), torch.where(before, da, db))
        after = (a + ratio * da) < (b + ratio * db)
        gap = torch.where(before != after, (a - b).abs() / ratio, torch.zeros_like(a))
        high = torch.where(after, db, da) - gap
        low = torch.where(after, da, db) + gap
        return self._interleave(high, low)
