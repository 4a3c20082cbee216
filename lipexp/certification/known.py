"""torch's own modules, by exact type, as modules that answer: their bounds and their rounding.

A subclass may compute anything, so only the very classes listed in ``KNOWN`` are taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lipexp.activations.tanh import Tanh
from lipexp.activations.two_slopes import Identity, ReLU
from lipexp.errors import UserError
from lipexp.layers.base import LipschitzAffine
from lipexp.layers.bounds import convolution_norm
from lipexp.layers.linear import PlainLinear
from lipexp.lipschitz import (
    TINY,
    UNIT_ROUNDOFF,
    ExactMap,
    LipschitzModule,
    gamma,
    safe_norm,
)


def pair(value) -> tuple[int, int]:
    """torch's int-or-pair, as a pair."""
    return (value, value) if isinstance(value, int) else tuple(value)


def windows_per_entry(kernel: tuple[int, int], stride: tuple[int, int]) -> int:
    """In how many windows an entry lies at most: ceil(k / s) along each axis."""
    return math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True))


def root_above(square: float) -> float:
    """A float that is at least the square root, and is it where it is a whole number."""
    root = math.sqrt(square)
    return root if root.is_integer() else math.nextafter(root, math.inf)


def root_below(square: float) -> float:
    """A float that is at most the square root, and is it where it is a whole number."""
    root = math.sqrt(square)
    return root if root.is_integer() else math.nextafter(root, 0.0)


class Wrapped(ExactMap):
    """A module that only moves, drops or pads with zeros."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


class Slope(LipschitzModule):
    """x for x > 0, a x below, any a: constant max(1, |a|)."""

    def __init__(self, slope: float):
        super().__init__()
        if not math.isfinite(slope):
            raise UserError("a slope that is NaN or infinite has no Lipschitz bound")
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.slope)

    def lipschitz_bound(self, tight=False):
        return max(1.0, abs(self.slope))

    def local_error(self, shape, norm):
        return 2 * UNIT_ROUNDOFF * self.norm_after(shape, norm) + TINY * math.prod(shape) ** 0.5

    def norm_after(self, shape, norm):
        return norm * (self.lipschitz_bound() * (1 + 2 * UNIT_ROUNDOFF))


class Convolution(LipschitzAffine):
    """torch's Conv2d: any sides, strides and zero padding; circular padding that repeats nothing.

    Its norm is at most that of the convolution on the infinite grid (zeros) or on the torus
    (circular), which `convolution_norm` bounds; a stride and cut edges drop outputs.  A kernel of
    unequal sides is one of equal sides with zeros beside it.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        if conv.groups != 1:
            raise UserError(f"Conv2d(groups={conv.groups}) has no proven bound; use groups=1")
        if pair(conv.dilation) != (1, 1):
            raise UserError(f"Conv2d(dilation={conv.dilation}) has no proven bound; use 1")
        if conv.padding_mode not in ("zeros", "circular"):
            raise UserError(
                f"Conv2d(padding_mode={conv.padding_mode!r}) can stretch distances more than its "
                "kernel does; use zeros or circular"
            )
        self.conv, self.weight, self.bias = conv, conv.weight, conv.bias
        self.free_shape = tuple(conv.weight.shape)
        self.bias_size = self.free_shape[0]
        sides = self.free_shape[2:]
        if conv.padding_mode == "circular":  # what torch pads by was settled when it was made
            ring = conv._reversed_padding_repeated_twice
            self.added = (ring[2] + ring[3], ring[0] + ring[1])
        elif conv.padding == "same":
            self.added = tuple(k - 1 for k in sides)
        else:
            given = (0, 0) if conv.padding == "valid" else pair(conv.padding)
            self.added = tuple(2 * p for p in given)
        if conv.padding_mode == "circular" and any(
            added >= k for added, k in zip(self.added, sides, strict=True)
        ):
            raise UserError(
                "Conv2d(padding_mode='circular') with this much padding repeats outputs; pad by "
                "at most half of the kernel"
            )

    def effective_weight(self) -> Tensor:
        return self.weight

    def apply_weight(self, weight, x, bias=None):
        return self.conv._conv_forward(x, weight, bias)

    def _square(self) -> Tensor:
        """The kernel with zeros beside it."""
        kernel = self._weight64()
        height, width = kernel.shape[2:]
        side = max(height, width)
        return F.pad(kernel, (0, side - width, 0, side - height))

    def _certified(self) -> float:
        return convolution_norm(self._square())

    def certified_on(self, shape):
        sides = shape[-2:]
        if self.conv.padding_mode == "zeros":  # as `Window.torus`; an odd zero stands behind
            sides = [
                n + max((added + 1) // 2, added + 1 - k)
                for n, added, k in zip(sides, self.added, self.free_shape[2:], strict=True)
            ]
        return convolution_norm(self._square(), tuple(sides))

    def _positions(self, shape):
        return math.prod(
            (size + added - side) // stride + 1
            for size, added, side, stride in zip(
                shape[-2:], self.added, self.free_shape[2:], pair(self.conv.stride), strict=True
            )
        )


class MaxPool(LipschitzModule):
    """torch's MaxPool2d.  Constant sqrt(windows per entry): 1 only where windows do not overlap."""

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        if pair(pool.dilation) != (1, 1) or pool.return_indices:
            raise UserError("MaxPool2d has no proven bound with dilation or return_indices")
        self.pool = pool
        self.constant = root_above(windows_per_entry(pair(pool.kernel_size), pair(pool.stride)))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)

    def lipschitz_bound(self, tight=False):
        return self.constant

    def local_error(self, shape, norm):
        return 0.0 * norm

    def norm_after(self, shape, norm):
        return norm * (self.constant * (1 + 2 * UNIT_ROUNDOFF))


class AveragePool(LipschitzModule):
    """torch's AvgPool2d, padded zeros counted: constant sqrt(windows per entry / entries)."""

    def __init__(self, pool: nn.AvgPool2d):
        super().__init__()
        skips_padding = not pool.count_include_pad and pair(pool.padding) != (0, 0)
        if pool.ceil_mode or pool.divisor_override is not None or skips_padding:
            raise UserError(
                "AvgPool2d has no proven bound with ceil_mode, divisor_override or, where it "
                "pads, count_include_pad=False"
            )
        self.pool = pool
        self.kernel, self.stride = pair(pool.kernel_size), pair(pool.stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)

    def lipschitz_bound(self, tight=False):
        # mean^2 <= sum of squares / entries, and every square occurs so often.
        windows = windows_per_entry(self.kernel, self.stride)
        norm = math.nextafter(root_above(windows) / root_below(math.prod(self.kernel)), math.inf)
        return norm if tight else max(1.0, norm)

    def local_error(self, shape, norm):
        entries = math.prod(self.kernel)
        # No more windows than entries with their padding, which is less than the kernel.
        outputs = math.prod(size + side for size, side in zip(shape[-2:], self.kernel, strict=True))
        outputs *= math.prod(shape[:-2])
        floor = 2 * math.sqrt(outputs) * (entries + 1) * TINY
        return gamma(entries + 3) * (self.lipschitz_bound(tight=True) * norm) + floor

    def norm_after(self, shape, norm):
        return norm * (self.lipschitz_bound(tight=True) * (1 + 2 * UNIT_ROUNDOFF))


class BatchNorm(LipschitzModule):
    """torch's BatchNorm1d and 2d by running statistics: (x - m) a + b, a = w / sqrt(v + eps).

    Constant max |a|.  The error bound holds for this order and for x a + (b - m a), with a
    computed: at most eight roundings behind every term.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d):
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise UserError(f"{type(norm).__name__} without running statistics mixes the inputs")
        self.norm = norm
        variance = norm.running_var + norm.eps
        weight = torch.ones_like(variance) if norm.weight is None else norm.weight.detach()
        bias = torch.zeros_like(variance) if norm.bias is None else norm.bias.detach()
        scale = weight / variance.sqrt()
        if not bool(torch.isfinite(scale).all() and torch.isfinite(norm.running_mean).all()):
            raise UserError(f"{type(norm).__name__} with a variance or weight that is not finite")
        if bool((norm.running_var < 0).any()):
            raise UserError(f"{type(norm).__name__} with a negative running variance")
        if bool((variance < 2.0**-1000).any()):
            raise UserError(f"{type(norm).__name__} divides by a variance below 2^-1000")
        self.channels = len(scale)
        # A weight that is not 0 may be after the division.
        lost = TINY if bool(weight.any()) else 0.0
        self.largest = float(scale.abs().max()) * (1 + 8 * UNIT_ROUNDOFF) + lost
        shift = safe_norm(norm.running_mean * scale) + safe_norm(bias)
        self.shift = float(shift) * (1 + gamma(self.channels + 16)) + 2 * TINY * self.channels

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def lipschitz_bound(self, tight=False):
        return self.largest if tight else max(1.0, self.largest)

    def _offset(self, shape) -> float:
        return self.shift * math.sqrt(math.prod(shape) / self.channels) * (1 + gamma(4))

    def local_error(self, shape, norm):
        floor = 16 * math.sqrt(math.prod(shape)) * TINY
        return gamma(12) * (self.largest * norm + self._offset(shape)) + floor

    def norm_after(self, shape, norm):
        return (norm * self.largest + self._offset(shape)) * (1 + 4 * UNIT_ROUNDOFF)


def dense(linear: nn.Linear) -> PlainLinear:
    """torch's Linear as the layer without a constraint, with the same stored numbers."""
    plain = PlainLinear(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        init=None,
        device="meta",
        dtype=linear.weight.dtype,
    )
    plain.weight, plain.bias = linear.weight, linear.bias
    return plain


def zero_pad(module: nn.ZeroPad2d) -> Wrapped:
    if module.value != 0:
        raise UserError(f"ZeroPad2d(value={module.value}) adds what no bound is known of")
    return Wrapped(module)


def flatten(module: nn.Flatten) -> Wrapped:
    if module.start_dim == 0 or module.start_dim < -1:
        raise UserError(f"Flatten(start_dim={module.start_dim}) may mix the inputs; use 1")
    return Wrapped(module)


def exactly(answering: type[LipschitzModule]) -> Callable[[nn.Module], LipschitzModule]:
    return lambda module: answering()


KNOWN: dict[type[nn.Module], Callable[[nn.Module], LipschitzModule]] = {
    nn.Linear: dense,
    nn.Conv2d: Convolution,
    nn.ReLU: exactly(ReLU),
    nn.LeakyReLU: lambda module: Slope(module.negative_slope),
    nn.Tanh: exactly(Tanh),
    nn.Identity: exactly(Identity),
    nn.Dropout: exactly(Identity),
    nn.Dropout2d: exactly(Identity),
    nn.Flatten: flatten,
    nn.PixelUnshuffle: Wrapped,
    nn.PixelShuffle: Wrapped,
    nn.ZeroPad2d: zero_pad,
    nn.MaxPool2d: MaxPool,
    nn.AvgPool2d: AveragePool,
    nn.BatchNorm1d: BatchNorm,
    nn.BatchNorm2d: BatchNorm,
}
