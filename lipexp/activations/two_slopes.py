"""Activations with one slope above zero and one below: relu, leaky_relu, abs, identity."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lipexp.activations.base import Activation, stays_clear
from lipexp.errors import UserError
from lipexp.lipschitz import TINY, UNIT_ROUNDOFF


class TwoSlopes(Activation):
    """x -> x for x > 0, a x for x <= 0, with |a| <= 1: Lipschitz constant 1, homogeneous."""

    negative_slope: float
    elementwise = True
    componentwise = True

    def lipschitz_bound(self, tight=False):
        if not math.isfinite(self.negative_slope):
            raise UserError("a slope that is NaN or infinite has no Lipschitz bound")
        return max(1.0, abs(self.negative_slope))

    def norm_after(self, shape, norm):
        return norm * self.lipschitz_bound() * (1 + 2 * UNIT_ROUNDOFF)

    def local_error(self, shape, norm):
        if self.negative_slope in (0.0, 1.0, -1.0):
            return 0.0 * norm  # x, 0 or -x
        rounding = abs(self.negative_slope) * UNIT_ROUNDOFF * (1 + 2 * UNIT_ROUNDOFF)
        return rounding * norm + TINY * math.prod(shape) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope)

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        return torch.ops.aten.leaky_relu_backward(cotangent, x, self.negative_slope, False)

    def active_fraction(self, x: Tensor) -> Tensor:
        if self.negative_slope:
            return torch.ones(x.shape[0], dtype=torch.float64, device=x.device)
        if x.numel() < 2**18:
            return (x > 0).flatten(1).sum(1).double() / x[0].numel()
        # For large x, adding up the slopes, 0 or 1, is three times as fast as counting.
        slopes = self.pullback(x, x.new_ones(()).expand_as(x))
        rows = slopes.sum(-1).double()  # whole numbers, exact in float32 too
        return rows.reshape(len(x), -1).sum(1) / x[0].numel()

    def difference(self, x: Tensor, deviation: Tensor, ratio: Tensor) -> Tensor:
        # On the same side of 0 the map is linear.  Where the sign changes, a term (1 - a) x enters
        # with the sign of the crossing; x / ratio is of the deviation's size there.
        a = self.negative_slope
        if stays_clear(x.abs(), deviation, ratio):
            return deviation * torch.where(x > 0, x.new_tensor(1.0), x.new_tensor(a))
        before, after = x > 0, (x + ratio * deviation) > 0
        linear = torch.where(after, deviation, a * deviation)
        jump = (1 - a) * (x / ratio)
        crossing = torch.where(after, linear + jump, linear - jump)
        return torch.where(before == after, linear, crossing)


class ReLU(TwoSlopes):
    """max(x, 0)."""

    negative_slope = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(cotangent, x, 0)


class LeakyReLU(TwoSlopes):
    """max(x, 0.01 x)."""

    negative_slope = 0.01


class Abs(TwoSlopes):
    """|x|, the gradient-norm preserving relative of relu."""

    negative_slope = -1.0

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Identity(TwoSlopes):
    """x."""

    negative_slope = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        return cotangent

    def difference(self, x: Tensor, deviation: Tensor, ratio: Tensor) -> Tensor:
        return deviation
