"""Inits with independent, identically and symmetrically distributed entries.

Each is ``init(shape, generator, **keys) -> float64 array`` with shape (out, in)
or, for kernels, (out, in, side, side); every tap counts as an input and as an output.
"""

from __future__ import annotations

import math

import numpy as np

from lipexp.errors import UserError


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a free weight."""
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """N(0, 1) entries."""
    return generator.standard_normal(shape)


def gnd(
    shape: tuple[int, ...], generator: np.random.Generator, alpha: float = 1.0, beta: float = 0.5
) -> np.ndarray:
    """Generalised normal entries, density beta / (2 alpha Gamma(1/beta)) exp(-(|x|/alpha)^beta).

    beta = 1 is Laplace, 2 normal with variance alpha^2 / 2, inf uniform on (-alpha, alpha).
    Sampled as alpha sign Gamma(1/beta, 1)^(1/beta).  Raises UserError for alpha, beta <= 0 or NaN.
    """
    if not alpha > 0 or math.isinf(alpha):
        raise UserError(f"init.alpha={alpha}: must be positive and finite")
    if not beta > 0:
        raise UserError(f"init.beta={beta}: must be positive (inf is uniform)")
    if math.isinf(beta):
        return generator.uniform(-alpha, alpha, shape)
    sign = np.where(generator.random(shape) < 0.5, -1.0, 1.0)
    return alpha * sign * generator.standard_gamma(1 / beta, shape) ** (1 / beta)


def uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform entries on (-1, 1)."""
    return generator.uniform(-1.0, 1.0, shape)


def laplace(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Laplace entries with scale 1, variance 2."""
    return generator.laplace(0.0, 1.0, shape)


def _uniform_of_variance(shape, generator, variance: float) -> np.ndarray:
    bound = math.sqrt(3 * variance)
    return generator.uniform(-bound, bound, shape)


def kaiming_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """N(0, 2 / fan_in): keeps the second moment of a plain relu network (He et al. 2015)."""
    return math.sqrt(2 / fans(shape)[0]) * generator.standard_normal(shape)


def kaiming_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform with variance 2 / fan_in."""
    return _uniform_of_variance(shape, generator, 2 / fans(shape)[0])


def xavier_normal(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    return math.sqrt(2 / sum(fans(shape))) * generator.standard_normal(shape)


def xavier_uniform(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform with variance 2 / (fan_in + fan_out)."""
    return _uniform_of_variance(shape, generator, 2 / sum(fans(shape)))
