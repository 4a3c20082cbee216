"""Numbers with their scale carried apart: mantissa x 2^exponent, one exponent per network.

At depth 10,000 a signal stands at 1e-6,000.  Its mantissas stay near 1 and the exponents are whole
numbers, so taking a scale out is exact: a carried computation gives the very digits of a plain one
wherever the plain one does not underflow.  One exponent for all inputs of a network, never one per
input: the differences between inputs are part of what is measured.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG10_2 = math.log10(2.0)


def power(exponent: Tensor) -> Tensor:
    """2^exponent, broadcastable against mantissas (R, inputs, units); exponent: (R,) whole numbers."""
    return torch.exp2(exponent)[:, None, None]


def rms(x: Tensor) -> Tensor:
    """Root mean square of mantissas (R, inputs, units) -> (R,), float64."""
    count = x[0].numel()
    return torch.linalg.vector_norm(x, dim=(1, 2)).double() / math.sqrt(count)


def drift(size: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The whole exponents to take out of mantissas of root mean square ``size``; None for none.

    Taken out only when they have drifted by 2^64 (float32: 2^20), so that most layers cost nothing.
    """
    limit = 64.0 if dtype == torch.float64 else 20.0
    level = torch.where(size > 0, size, 1.0).log2().round()
    shift = torch.where(level.abs() > limit, level, 0.0)
    return shift if bool(shift.any()) else None


def log10_square(size: Tensor, exponent: Tensor | float) -> Tensor:
    """log10 of (size 2^exponent)^2; -inf for 0."""
    return 2 * (size.log10() + LOG10_2 * exponent)
