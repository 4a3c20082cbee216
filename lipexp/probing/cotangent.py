"""A cotangent on its way down: the gradient of a loss with respect to a layer's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lipexp.activations.base import Activation
from lipexp.probing.maps import Maps, pulled_through
from lipexp.probing.scale import deviation_over_inputs, log10_square, renormalised, rms
from lipexp.probing.signal import at_scale


@dataclass(frozen=True)
class Cotangent:
    """delta_i = (reference + deviation_i) 2^exponent; (R, inputs, *shape).

    ``reference`` (R, 1, *shape) is None where the inputs' cotangents are unrelated.  Where they
    start equal (cotangent of ones) they stay equal as long as the inputs pass the same slopes, to
    the last digit only if the common part is kept apart.  Input 0 is the reference.
    """

    deviation: Tensor
    reference: Tensor | None
    exponent: np.ndarray

    @staticmethod
    def of(delta: Tensor, *, common: bool = False) -> Cotangent:
        exponent = np.zeros(delta.shape[0])
        if not common:
            return Cotangent(delta, None, exponent)
        return Cotangent(torch.zeros_like(delta), delta[:, :1].clone(), exponent)

    def full(self) -> Tensor:
        return self.deviation if self.reference is None else self.deviation + self.reference

    def _each(self, function: Callable[[Tensor], Tensor]) -> Cotangent:
        reference = None if self.reference is None else function(self.reference)
        return Cotangent(function(self.deviation), reference, self.exponent)

    def through(self, weight: Maps, shape: Sequence[int]) -> Cotangent:
        """W^T delta, for inputs of that shape."""
        return self._each(lambda part: weight.transposed(part, shape))

    def pulled_through(self, maps: Sequence[nn.Module], shape: Sequence[int]) -> Cotangent:
        """M^T delta for parameter-free maps M, of inputs of that shape."""
        return self._each(lambda part: pulled_through(maps, part, shape))

    def plus(self, other: Cotangent) -> Cotangent:
        reference = None if self.reference is None else self.reference + other.reference
        return Cotangent(self.deviation + other.deviation, reference, self.exponent)

    def negated(self) -> Cotangent:
        return self._each(torch.neg)

    def pulled_back(self, activation: Activation, x: Tensor, exponent: np.ndarray) -> Cotangent:
        """J(x)^T delta for the activation at the inputs x (mantissas, with their exponent)."""
        phi = at_scale(activation, exponent, x)
        deviation = phi.pullback(x, self.deviation)
        if self.reference is None:
            return Cotangent(deviation, None, self.exponent)
        reference = phi.pullback(x[:, :1], self.reference)
        spread = phi.pullback(x, self.reference.expand_as(self.deviation)) - reference
        return Cotangent(deviation + spread, reference, self.exponent)

    def measured(self) -> tuple[Cotangent, np.ndarray, np.ndarray]:
        """(the cotangent with a drifted scale taken out, log10 second moment, log10 variance)."""
        size = rms(self.full())
        deviation, exponent, level = renormalised(self.deviation, self.exponent, size)
        reference = self.reference
        if reference is not None:
            reference, _, _ = renormalised(reference, self.exponent, size)
        own = level if reference is None else rms(deviation)
        spread = deviation_over_inputs(deviation, own)
        return (
            Cotangent(deviation, reference, exponent),
            log10_square(level, exponent),
            log10_square(spread, exponent),
        )
