"""A signal on its way up a network, for R networks and a batch of inputs at once.

``Plain`` is x itself.  Under a bias all inputs soon agree to more digits than a float has, so
``Referenced`` carries one input x_0 and the deviations x_i - x_0 with a scale of their own: the
bias acts on x_0 alone, the differences pass through W exactly linearly and through an activation by
its ``difference``.  Shapes: (R, inputs, units) for mantissas, (R,) for exponents.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipexp.activations.base import Activation
from lipexp.probing.scale import drift, log10_square, power, rms


def _matmul(x: Tensor, weight: Tensor) -> Tensor:
    return torch.matmul(x, weight.mT)


def renormalised(x: Tensor, exponent: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(x, exponent, size) with a drifted power of two moved from x to the exponent, exactly."""
    shift = drift(size, x.dtype)
    if shift is None:
        return x, exponent, size
    # In two halves: 2^-shift alone may overflow where the mantissa is subnormal.
    half = (shift / 2).round()
    factors = power(-half).to(x.dtype), power(half - shift).to(x.dtype)
    return x * factors[0] * factors[1], exponent + shift, size * torch.exp2(-shift)


def variance_over_inputs(x: Tensor, size: Tensor) -> Tensor:
    """Population variance over axis 1, mean over units: (R, inputs, units) -> (R,), float64.

    mean square - mean^2 where that is safe, else the two-pass form.
    """
    centre = x.mean(dim=1, keepdim=True)
    share = 1 - (rms(centre) / torch.where(size > 0, size, 1.0)).square()
    if bool((share > 1e-4).all()):
        return share * size.square()
    return rms(x - centre).square()


@dataclass(frozen=True)
class Plain:
    """x = mantissa 2^exponent.  Without a bias, or where inputs stay apart."""

    mantissa: Tensor
    exponent: Tensor
    size: Tensor  # root mean square of the mantissa

    @staticmethod
    def of(x: Tensor, exponent: Tensor | None = None) -> Plain:
        if exponent is None:
            exponent = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        return Plain(*renormalised(x, exponent, rms(x)))

    def measured(self) -> Plain:
        """The same signal with its size taken and a drifted scale moved into the exponent."""
        return Plain.of(self.mantissa, self.exponent)

    def affine(self, weight: Tensor, bias: Tensor | None) -> Plain:
        """W x + b; weight: (R, out, in), bias: (R, 1, out) or None."""
        product = _matmul(self.mantissa, weight)
        if bias is not None:
            product = product + bias * power(-self.exponent).to(bias.dtype)
        return Plain(product, self.exponent, self.size)

    def activated(self, activation: Activation) -> Plain:
        phi = activation.at_scale(power(self.exponent))
        return Plain(phi(self.mantissa), self.exponent, self.size)

    def minus(self, other: Plain) -> Plain:
        """self - other, both of one exponent (the two ends of a residual block)."""
        return Plain(self.mantissa - other.mantissa, self.exponent, self.size)

    def full(self) -> Tensor:
        """The mantissas of x itself."""
        return self.mantissa

    def log10_variance(self) -> Tensor:
        variance = variance_over_inputs(self.mantissa, self.size)
        return log10_square(variance.sqrt(), self.exponent)


@dataclass(frozen=True)
class Referenced:
    """x_i = reference 2^exponent + deviation_i 2^(exponent + lag); input 0 is the reference."""

    reference: Tensor
    deviation: Tensor
    exponent: Tensor
    lag: Tensor
    size: Tensor  # root mean square of x's mantissas

    @staticmethod
    def of(x: Tensor) -> Referenced:
        zero = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        return Referenced(x[:, :1], x - x[:, :1], zero, zero, rms(x)).measured()

    def measured(self) -> Referenced:
        size = rms(self.full())
        reference, exponent, size = renormalised(self.reference, self.exponent, size)
        lag = self.lag - (exponent - self.exponent)
        deviation, lag, _ = renormalised(self.deviation, lag, rms(self.deviation))
        return Referenced(reference, deviation, exponent, lag, size)

    def _ratio(self) -> Tensor:
        return power(self.lag).to(self.reference.dtype)

    def affine(self, weight: Tensor, bias: Tensor | None) -> Referenced:
        reference = _matmul(self.reference, weight)
        if bias is not None:
            reference = reference + bias * power(-self.exponent).to(bias.dtype)
        deviation = _matmul(self.deviation, weight)
        return Referenced(reference, deviation, self.exponent, self.lag, self.size)

    def activated(self, activation: Activation) -> Referenced:
        phi = activation.at_scale(power(self.exponent))
        deviation = phi.difference(self.reference, self.deviation, self._ratio())
        return Referenced(phi(self.reference), deviation, self.exponent, self.lag, self.size)

    def minus(self, other: Referenced) -> Referenced:
        return Referenced(
            self.reference - other.reference,
            self.deviation - other.deviation,
            self.exponent,
            self.lag,
            self.size,
        )

    def full(self) -> Tensor:
        return self.reference + self.deviation * self._ratio()

    def log10_variance(self) -> Tensor:
        variance = variance_over_inputs(self.deviation, rms(self.deviation))
        return log10_square(variance.sqrt(), self.exponent + self.lag)


Signal = Plain | Referenced


def log10_second_moment(signal: Signal) -> Tensor:
    """log10 of the mean of x^2 over inputs and units, (R,)."""
    return log10_square(signal.size, signal.exponent)


def mean_over_rms(signal: Signal) -> Tensor:
    """The mean of x divided by its root mean square, (R,); 0 for a zero signal."""
    mean = signal.full().double().mean(dim=(1, 2))
    return mean / torch.where(signal.size > 0, signal.size, 1.0)
