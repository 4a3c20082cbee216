"""Maps without parameters: centring, flattening, zero padding.  All have norm at most 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lipexp.lipschitz import UNIT_ROUNDOFF, LipschitzModule, gamma, safe_norm


class Centre(LipschitzModule):
    """x -> x - mean, one constant per channel; x: (batch, channels, height, width)."""

    def __init__(self, mean: tuple[float, ...], shape: tuple[int, ...]):
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.mean.to(x.dtype)

    def _offset(self) -> float:
        pixels = math.prod(self.shape[1:])
        size = float(safe_norm(self.mean.double().flatten())) * math.sqrt(pixels)
        return size * (1 + gamma(self.mean.numel() + 8))

    def local_error(self, x, norm):
        return 2 * UNIT_ROUNDOFF * self.norm_after(norm)

    def norm_after(self, norm):
        return (norm + self._offset()) * (1 + 8 * UNIT_ROUNDOFF)


class Flatten(LipschitzModule):
    """(batch, ...) -> (batch, features): the same numbers, so norm 1 and no rounding."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class ZeroPad(LipschitzModule):
    """(..., features) -> (..., width) with zeros behind; norm 1, no rounding."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.features, self.width = features, width

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.width - self.features))

    def extra_repr(self) -> str:
        return f"{self.features} -> {self.width}"
