"""The layers without a constraint."""

from __future__ import annotations

from torch import Tensor

from lipexp.layers.base import LipschitzConv2d, LipschitzLinear


class PlainLinear(LipschitzLinear):
    """x -> W x + b with W free; its bound is W's certified norm.  x: (..., in) -> (..., out)."""

    def effective_weight(self) -> Tensor:
        return self.weight


class PlainConv2d(LipschitzConv2d):
    """A convolution with a free kernel; its bound is certified for images of any size."""

    def effective_weight(self) -> Tensor:
        return self.weight
