"""A signal on its way up a network, for R networks and a batch of inputs at once.

``Plain`` is x itself.  Under a bias all inputs soon agree to more digits than a float has, so
``Referenced`` carries one input x_0 and the deviations x_i - x_0 with a scale of their own: the
bias acts on x_0 alone, the differences pass through W exactly linearly and through an activation by
its ``difference``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from lipexp.activations.base import Activation
from lipexp.probing.maps import Maps, through
from lipexp.probing.scale import (
    deviation_over_inputs,
    log10_square,
    power,
    renormalised,
    rms,
)

LOWEST = -400  # the exponent of a signal to which a bias of ordinary size is added


def at_scale(activation: Activation, exponent: np.ndarray, like: Tensor) -> Activation:
    """The activation as it acts on mantissas of that exponent."""
    return activation if activation.homogeneous else activation.at_scale(power(exponent, like))


def affine(x: Tensor, weight: Maps, bias: Tensor | None, exponent: np.ndarray) -> Tensor:
    """W x + b 2^-exponent; bias: (R, 1, out) or (R, 1, out, 1, 1), or None."""
    product = weight(x)
    return product if bias is None else product + bias * power(-exponent, bias)


@dataclass(frozen=True)
class Plain:
    """x = mantissa 2^exponent.  Without a bias, or where inputs stay apart."""

    mantissa: Tensor
    exponent: np.ndarray
    size: np.ndarray  # root mean square of the mantissa

    @staticmethod
    def of(x: Tensor, exponent: np.ndarray | None = None) -> Plain:
        if exponent is None:
            exponent = np.zeros(x.shape[0])
        return Plain(*renormalised(x, exponent, rms(x)))

    def measured(self) -> Plain:
        """The same signal with its size taken and a drifted scale moved into the exponent."""
        return Plain.of(self.mantissa, self.exponent)

    def affine(self, weight: Maps, bias: Tensor | None) -> Plain:
        mantissa = affine(self.mantissa, weight, bias, self.exponent)
        return Plain(mantissa, self.exponent, self.size)

    def activated(self, activation: Activation, shift: np.ndarray | float = 0.0) -> Plain:
        """phi behind a scale of 2^shift: phi(2^shift x) / 2^shift."""
        phi = at_scale(activation, self.exponent + shift, self.mantissa)
        return Plain(phi(self.mantissa), self.exponent, self.size)

    def through(self, maps: Sequence[nn.Module]) -> Plain:
        """Behind parameter-free linear maps."""
        return Plain(through(maps, self.mantissa), self.exponent, self.size)

    def minus(self, other: Plain) -> Plain:
        """self - other, both of one exponent (the two ends of a residual block)."""
        return Plain(self.mantissa - other.mantissa, self.exponent, self.size)

    def full(self) -> Tensor:
        """The mantissas of x itself."""
        return self.mantissa

    def log10_variance(self) -> np.ndarray:
        return log10_square(deviation_over_inputs(self.mantissa, self.size), self.exponent)


@dataclass(frozen=True)
class Referenced:
    """x_i = reference 2^exponent + deviation_i 2^(exponent + lag); input 0 is the reference."""

    reference: Tensor
    deviation: Tensor
    exponent: np.ndarray
    lag: np.ndarray
    size: np.ndarray  # root mean square of x's mantissas
    total: Tensor | None = None  # the mantissas of x, once they are computed

    @staticmethod
    def of(x: Tensor) -> Referenced:
        zero = np.zeros(x.shape[0])
        return Referenced(x[:, :1], x - x[:, :1], zero, zero, rms(x)).measured()

    def measured(self) -> Referenced:
        total = self.full()
        size = rms(total)
        total, _, _ = renormalised(total, self.exponent, size)
        reference, exponent, size = renormalised(self.reference, self.exponent, size)
        lag = self.lag - (exponent - self.exponent)
        deviation, lag, _ = renormalised(self.deviation, lag, rms(self.deviation))
        return Referenced(reference, deviation, exponent, lag, size, total)

    def affine(self, weight: Maps, bias: Tensor | None) -> Referenced:
        if bias is not None and (self.exponent < LOWEST).any():
            return self._lifted().affine(weight, bias)
        return self._with(
            affine(self.reference, weight, bias, self.exponent),
            affine(self.deviation, weight, None, self.exponent),
        )

    def activated(self, activation: Activation, shift: np.ndarray | float = 0.0) -> Referenced:
        phi = at_scale(activation, self.exponent + shift, self.reference)
        ratio = power(self.lag, self.reference)
        return self._with(
            phi(self.reference), phi.difference(self.reference, self.deviation, ratio)
        )

    def through(self, maps: Sequence[nn.Module]) -> Referenced:
        return self._with(through(maps, self.reference), through(maps, self.deviation))

    def minus(self, other: Referenced) -> Referenced:
        return self._with(self.reference - other.reference, self.deviation - other.deviation)

    def _lifted(self) -> Referenced:
        """The same signal with exponents of at least LOWEST, for a bias to be added to it."""
        exponent = np.maximum(self.exponent, LOWEST)
        reference = self.reference * power(self.exponent - exponent, self.reference)
        lag = self.lag + self.exponent - exponent
        return Referenced(reference, self.deviation, exponent, lag, self.size)

    def _with(self, reference: Tensor, deviation: Tensor) -> Referenced:
        return Referenced(reference, deviation, self.exponent, self.lag, self.size)

    def full(self) -> Tensor:
        if self.total is not None:
            return self.total
        if (self.lag < -1074).all():  # nothing of the deviations is left beside the reference
            return self.reference.expand_as(self.deviation)
        return self.reference + self.deviation * power(self.lag, self.reference)

    def log10_variance(self) -> np.ndarray:
        spread = deviation_over_inputs(self.deviation, rms(self.deviation))
        return log10_square(spread, self.exponent + self.lag)


Signal = Plain | Referenced


def log10_second_moment(signal: Signal) -> np.ndarray:
    """log10 of the mean of x^2 over inputs and units, (R,)."""
    return log10_square(signal.size, signal.exponent)


def mean_over_rms(signal: Signal) -> np.ndarray:
    """The mean of x divided by its root mean square, (R,); 0 for a zero signal."""
    full = signal.full()
    mean = full.mean(dim=tuple(range(1, full.dim()))).double().cpu().numpy()
    return mean / np.where(signal.size > 0, signal.size, 1.0)
