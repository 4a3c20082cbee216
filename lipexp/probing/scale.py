"""Numbers with their scale carried apart: mantissa x 2^exponent, one exponent per network.

At depth 10,000 a signal stands at 1e-6,000.  Its mantissas stay near 1 and the exponents are whole
numbers, so taking a scale out is exact: a carried computation gives the very digits of a plain one
wherever the plain one does not underflow.  One exponent for all inputs of a network, never one per
input: the differences between inputs are part of what is measured.

Mantissas are tensors (R, inputs, units) or (R, inputs, channels, height, width) on the device; what
there is one of per network (sizes, exponents) are float64 arrays (R,) on the host, where small
arithmetic is cheap.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LOG10_2 = math.log10(2.0)


def power(exponent: np.ndarray, like: Tensor) -> Tensor:
    """2^exponent as a tensor (R, 1, ..., 1) of the kind of ``like``; 0 where it underflows."""
    with np.errstate(over="ignore", under="ignore"):
        factors = np.ldexp(1.0, np.clip(exponent, -5000, 5000).astype(np.int64))
    return per_network(torch.from_numpy(factors).to(like), like.dim())


def per_network(values, dimensions: int):
    """(R,) as (R, 1, ..., 1), for R of something of so many dimensions; a tensor or an array."""
    return values.reshape(-1, *[1] * (dimensions - 1))


# Norms between these are right as they are: no square has left the range.
_SAFE = {
    dtype: (torch.finfo(dtype).tiny ** 0.45, torch.finfo(dtype).tiny ** -0.45)
    for dtype in (torch.float32, torch.float64)
}


def rms(x: Tensor) -> np.ndarray:
    """Root mean square over all axes but the first, (R,), also where squares leave the range."""
    axes = tuple(range(1, x.dim()))
    sizes = torch.linalg.vector_norm(x, dim=axes).tolist()
    low, high = _SAFE[x.dtype]
    if not all(low < size < high for size in sizes):
        top = torch.linalg.vector_norm(x, math.inf, dim=axes, keepdim=True)
        scale = torch.where((top > 0) & (top < math.inf), top, 1.0)
        inner = torch.linalg.vector_norm(x / scale, dim=axes).double()
        sizes = (inner * scale.flatten().double()).tolist()
    return np.array(sizes) / math.sqrt(x[0].numel())


def drift(size: np.ndarray, dtype: torch.dtype) -> np.ndarray | None:
    """The whole exponents to take out of mantissas of root mean square ``size``; None for none.

    Taken out only when they have drifted by 2^64 (float32: 2^20), so that most layers cost nothing.
    """
    limit = 64 if dtype == torch.float64 else 20
    level = np.frexp(size)[1].astype(np.float64)
    beyond = (np.abs(level) > limit) & (size > 0)
    return np.where(beyond, level, 0.0) if beyond.any() else None


def renormalised(
    x: Tensor, exponent: np.ndarray, size: np.ndarray
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """(x, exponent, size) with a drifted power of two moved from x to the exponent, exactly."""
    shift = drift(size, x.dtype)
    if shift is None:
        return x, exponent, size
    half = np.round(shift / 2)  # 2^-shift alone may overflow where the mantissa is subnormal
    x = x * power(-half, x) * power(half - shift, x)
    return x, exponent + shift, size * 2.0 ** (-half) * 2.0 ** (half - shift)


def log10_square(size: np.ndarray, exponent: np.ndarray | float) -> np.ndarray:
    """log10 of (size 2^exponent)^2; -inf for 0."""
    with np.errstate(divide="ignore"):
        return 2 * (np.log10(size) + LOG10_2 * exponent)


def deviation_over_inputs(x: Tensor, size: np.ndarray) -> np.ndarray:
    """Standard deviation over axis 1 (population, root of the mean over units), (R,).

    mean square - mean^2 where that is safe, else the two-pass form.
    """
    centre = x.mean(dim=1, keepdim=True)
    variance = size**2 - rms(centre) ** 2
    if (variance > 1e-4 * size**2).all():
        return np.sqrt(variance)
    # From input 0, so that inputs which are all equal have a deviation of exactly 0.
    apart = x - x[:, :1]
    return rms(apart - apart.mean(dim=1, keepdim=True))
