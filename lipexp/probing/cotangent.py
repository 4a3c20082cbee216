"""A cotangent on its way down: the gradient of a loss with respect to a layer's output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipexp.activations.base import Activation
from lipexp.probing.scale import log10_square, power, rms
from lipexp.probing.signal import renormalised, variance_over_inputs


@dataclass(frozen=True)
class Cotangent:
    """delta_i = (reference + deviation_i) 2^exponent; (R, inputs, units).

    ``reference`` (R, 1, units) is None where the inputs' cotangents are unrelated.  Where they start
    equal (cotangent of ones) they stay equal as long as the inputs pass the same slopes, to the last
    digit only if the common part is kept apart.  Input 0 is the reference.
    """

    deviation: Tensor
    reference: Tensor | None
    exponent: Tensor

    @staticmethod
    def of(delta: Tensor, *, common: bool = False) -> Cotangent:
        exponent = torch.zeros(delta.shape[0], dtype=torch.float64, device=delta.device)
        if not common:
            return Cotangent(delta, None, exponent)
        return Cotangent(torch.zeros_like(delta), delta[:, :1].clone(), exponent)

    def full(self) -> Tensor:
        return self.deviation if self.reference is None else self.deviation + self.reference

    def _each(self, function) -> Cotangent:
        reference = None if self.reference is None else function(self.reference)
        return Cotangent(function(self.deviation), reference, self.exponent)

    def through(self, weight: Tensor) -> Cotangent:
        """W^T delta; weight: (R, out, in)."""
        return self._each(lambda part: torch.matmul(part, weight))

    def plus(self, other: Cotangent) -> Cotangent:
        reference = None if self.reference is None else self.reference + other.reference
        return Cotangent(self.deviation + other.deviation, reference, self.exponent)

    def negated(self) -> Cotangent:
        return self._each(torch.neg)

    def pulled_back(self, activation: Activation, x: Tensor, exponent: Tensor) -> Cotangent:
        """J(x)^T delta for the activation at the inputs x (mantissas, with their exponent)."""
        phi = activation.at_scale(power(exponent))
        deviation = phi.pullback(x, self.deviation)
        if self.reference is None:
            return Cotangent(deviation, None, self.exponent)
        reference = phi.pullback(x[:, :1], self.reference)
        spread = phi.pullback(x, self.reference.expand_as(self.deviation)) - reference
        return Cotangent(deviation + spread, reference, self.exponent)

    def measured(self) -> tuple[Cotangent, Tensor, Tensor]:
        """(the cotangent with a drifted scale taken out, log10 second moment, log10 variance)."""
        full = self.full()
        size = rms(full)
        if self.reference is None:
            variance = variance_over_inputs(full, size)
        else:
            variance = variance_over_inputs(self.deviation, rms(self.deviation))
        moments = log10_square(size, self.exponent), log10_square(variance.sqrt(), self.exponent)
        deviation, exponent, _ = renormalised(self.deviation, self.exponent, size)
        reference = self.reference
        if reference is not None:
            reference, _, _ = renormalised(reference, self.exponent, size)
        return Cotangent(deviation, reference, exponent), *moments
