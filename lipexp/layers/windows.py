"""How a kernel slides over an image: zero or circular padding, stride, and the transpose."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MODES = ("zeros", "circular")


@dataclass(frozen=True)
class Window:
    """Cross-correlation with a square kernel of side ``side``; images (..., channels, h, w).

    ``before``, ``after``: how far the image is padded, by zeros or circularly.  "Same" padding puts
    the extra column of an even side behind.  A stride s takes every s-th output of stride 1, along
    both axes.

    The bounds of this package hold for both paddings and any image: a zero-padded convolution is
    a circular one on a larger torus between an embedding and a restriction, a circular one on a
    small torus only adds wrapped lags inside absolute values, and a stride drops outputs.  Padding
    that repeats pixels (reflect, replicate) can double the norm, and is refused.
    """

    side: int
    before: int
    after: int
    stride: int = 1
    mode: str = "zeros"

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(MODES)}. Got {self.mode!r}.")
        if self.side < 1 or self.stride < 1:
            sizes = f"{self.side}, {self.stride}"
            raise ValueError(f"kernel_size and stride must be at least 1. Got {sizes}.")
        if self.mode == "circular" and self.before + self.after != self.side - 1:
            raise ValueError("padding_mode='circular' needs padding='same': a wider ring repeats.")

    @staticmethod
    def of(side: int, *, stride: int = 1, padding: int | str = "same", mode: str = "zeros"):
        """Raises ValueError for what no bound is known of."""
        if padding == "same":
            return Window(side, (side - 1) // 2, side // 2, stride, mode)
        if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
            raise ValueError(f"padding must be 'same' or a whole number. Got {padding!r}.")
        return Window(side, padding, padding, stride, mode)

    @property
    def transposed(self) -> Window:
        """The window of the transposed map, for flipped kernels; of stride 1 and same padding."""
        return Window(self.side, self.after, self.before, 1, self.mode)

    def torus(self, height: int, width: int) -> tuple[int, int]:
        """The sides of a torus whose circular convolution has at least this map's norm on images.

        Circular: the image's own.  Zeros: an image that is put on the torus is read at
        -before..n - 1 + after, and what lies outside of it wraps to zeros if the side is at least
        n + max(before, after); no output occurs twice if it is at least the number of outputs.
        Then the map is a restriction of the torus's map after an embedding, both of norm 1.
        """
        if self.mode == "circular":
            return height, width
        return tuple(
            n + max(self.before, self.after, self.before + self.after + 1 - self.side)
            for n in (height, width)
        )

    def __call__(self, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        """kernel: (out, in, side, side), bias: (out,) or None."""
        if self.mode == "circular" and self.before + self.after:
            x = _wrapped(x, self.before, self.after)
        elif self.before != self.after:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        else:
            return F.conv2d(x, kernel, bias, self.stride, self.before)
        return F.conv2d(x, kernel, bias, self.stride)


def flipped(kernel: Tensor) -> Tensor:
    """The kernel of the transposed map: (in, out, side, side)."""
    return kernel.flip(-2, -1).transpose(0, 1)


def _wrapped(x: Tensor, before: int, after: int) -> Tensor:
    """x continued periodically, also around images smaller than the padding."""
    height, width = x.shape[-2:]
    if max(before, after) <= min(height, width):
        return F.pad(x, (before, after, before, after), mode="circular")
    rows = torch.arange(-before, height + after, device=x.device) % height
    columns = torch.arange(-before, width + after, device=x.device) % width
    return x[..., rows, :][..., columns]
