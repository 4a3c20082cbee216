"""Maps without parameters: centring, padding, reshaping, pooling.  All have norm at most 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lipexp.errors import UserError
from lipexp.lipschitz import TINY, UNIT_ROUNDOFF, ExactMap, LipschitzModule, gamma, safe_norm


class Centre(LipschitzModule):
    """x -> x - mean, one constant per channel; x: (batch, channels, height, width).

    Raises UserError for images of another shape, and for a mean of another number of channels:
    one that is broadcast makes copies, and has another norm.
    """

    def __init__(self, mean: tuple[float, ...], shape: tuple[int, ...]):
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64).reshape(-1, 1, 1))
        self._check_mean()

    def _check_mean(self) -> None:
        if len(self.shape) != 3 or tuple(self.mean.shape) != (self.shape[0], 1, 1):
            raise UserError(
                f"means of shape {tuple(self.mean.shape)} for images of shape {tuple(self.shape)}: "
                "must be one a channel"
            )

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != tuple(self.shape):
            raise UserError(f"inputs of shape {tuple(x.shape[1:])}: must be {tuple(self.shape)}")
        return x - self.mean.to(x.dtype)

    def lipschitz_bound(self, tight=False):
        self._check_mean()  # a buffer may be put in another's place
        return 1.0

    def _offset(self) -> float:
        pixels = math.prod(self.shape[1:])
        size = float(safe_norm(self.mean.double().flatten())) * math.sqrt(pixels)
        return size * (1 + gamma(self.mean.numel() + 8))

    def local_error(self, shape, norm):
        return 2 * UNIT_ROUNDOFF * self.norm_after(shape, norm)

    def norm_after(self, shape, norm):
        return (norm + self._offset()) * (1 + 8 * UNIT_ROUNDOFF)


class Flatten(ExactMap):
    """(batch, ...) -> (batch, features): the same numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class ZeroPad(ExactMap):
    """(..., features) -> (..., width) with zeros behind."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.features, self.width = features, width

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, self.width - self.features))

    def extra_repr(self) -> str:
        return f"{self.features} -> {self.width}"


class PadChannels(ExactMap):
    """(..., channels, h, w) -> (..., width, h, w) with zero channels behind."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        if width < channels:
            raise ValueError(f"{channels} channels do not fit into {width}.")
        self.channels, self.width = channels, width

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 0, self.width - self.channels))

    def extra_repr(self) -> str:
        return f"{self.channels} -> {self.width}"


class PadSides(ExactMap):
    """(..., h, w) -> (..., height, width), zeros on all sides, the odd one below and right."""

    def __init__(self, height: int, width: int):
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        below, right = self.height - x.shape[-2], self.width - x.shape[-1]
        if below < 0 or right < 0:
            raise UserError(
                f"images of {x.shape[-2]}x{x.shape[-1]} do not fit into {self.height}x{self.width}"
            )
        return F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))

    def extra_repr(self) -> str:
        return f"{self.height}x{self.width}"


class FirstChannels(ExactMap):
    """(..., channels, h, w) -> (..., count, h, w), the first ones."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        if not 0 <= self.count <= x.shape[-3]:
            raise UserError(f"there are no first {self.count} of {x.shape[-3]} channels")
        return x[..., : self.count, :, :]

    def extra_repr(self) -> str:
        return str(self.count)


class FirstFeatures(ExactMap):
    """(..., features) -> (..., count), the first ones."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        if not 0 <= self.count <= x.shape[-1]:
            raise UserError(f"there are no first {self.count} of {x.shape[-1]} features")
        return x[..., : self.count]

    def extra_repr(self) -> str:
        return str(self.count)


class PixelUnshuffle(ExactMap):
    """(..., c, h, w) -> (..., c r^2, h / r, w / r): every r x r square of pixels into channels.

    Raises UserError for sides that r does not divide.
    """

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise UserError(
                f"pixel-unshuffle by {self.factor} needs sides that it divides; "
                f"got {x.shape[-2]}x{x.shape[-1]}"
            )
        return F.pixel_unshuffle(x, self.factor)

    def extra_repr(self) -> str:
        return str(self.factor)


class SumPool(LipschitzModule):
    """The sum over disjoint side x side squares, divided by side: norm exactly 1.

    (..., h, w) -> (..., h / side, w / side).  An average would have norm 1 / side.  Raises
    UserError for sides that it does not divide.
    """

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % self.side or x.shape[-1] % self.side:
            raise UserError(
                f"pooling by {self.side} needs sides that it divides; "
                f"got {x.shape[-2]}x{x.shape[-1]}"
            )
        return F.avg_pool2d(x, self.side, divisor_override=self.side)

    def lipschitz_bound(self, tight=False):
        return 1.0

    def local_error(self, shape, norm):
        # A sum of side^2 terms, each square's at most sqrt(side^2) / side = 1 times its norm.
        floor = 2 * math.sqrt(math.prod(shape)) * (self.side**2 + 1) * TINY
        return gamma(self.side**2 + 2) * norm + floor

    def norm_after(self, shape, norm):
        return norm

    def extra_repr(self) -> str:
        return str(self.side)
