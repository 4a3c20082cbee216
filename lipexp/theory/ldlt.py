"""Output variance of the LDLT layer with iid Gaussian free weights."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erfcx

from lipexp.theory.gaussian import check_sizes


def _check(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive float. Got {value} instead.")


def ldlt_limit_variance(*, s: float, aspect: float = 1.0) -> float:
    """1 - H, the output variance per unit of gamma^2 of a wide layer; exact as n -> inf.

    M = gamma W0 (alpha I + W0^T W0)^(-1/2), W0 m x n with iid N(0, sigma^2), s = n sigma^2 / alpha,
    ``aspect`` y = m/n, unit inputs of identity covariance: Var y = |M|_F^2 / m = gamma^2 (1 - H),
    H = (1/m) E tr (I + W0 W0^T / alpha)^(-1), which by the Marchenko-Pastur law solves

        s y H^2 + (1 + s - s y) H - 1 = 0;   square: 1 - H = 1 - (sqrt(1+4s) - 1) / (2s).

    The same for every iid law of the entries with a finite fourth moment.
    Source: the layer and 1 - H are those of arXiv 2601.08253; the solution is in NOTES.md.
    """
    _check(s=s, aspect=aspect)
    b = 1 + s - s * aspect
    root = math.sqrt(b * b + 4 * s * aspect)
    # the positive root, without cancellation for either sign of b
    h = 2 / (b + root) if b > 0 else (root - b) / (2 * s * aspect)
    return 1 - h if h < 0.5 else _kept(s, aspect, h)


def _kept(s: float, aspect: float, h: float) -> float:
    """1 - H where H is near 1: from the equation, (1 - H)(1 + s y H) = s H."""
    return s * h / (1 + s * aspect * h)


def ldlt_variance(*, width: int, s: float) -> float:
    """The same for a square layer of finite width: exact at 1, else to first order in 1/width.

        (1 - H) - [ (1 + 1/(1+4s))/4 - 1/(2 sqrt(1+4s)) ] / n + O(n^-2)
        n = 1:  1 - sqrt(pi/(2s)) exp(1/(2s)) erfc(1/sqrt(2s))

    What is left out is below 0.05/n^2 at s = 1 and about 0.8/n^2 at s = 100 (simulated, n = 4 to
    32): there the formula is 4 % low at n = 4, 0.3 % at 16.
    """
    check_sizes(width=width)
    _check(s=s)
    if width == 1:
        x = 1 / math.sqrt(2 * s)
        return 1 - math.sqrt(math.pi) * x * float(erfcx(x))
    root = math.sqrt(1 + 4 * s)
    return ldlt_limit_variance(s=s) - (1 - 1 / root) ** 2 / (4 * width)


def ldlt_series(*, s: float, terms: int) -> float:
    """The moment series of the square limit, sum_(k=1)^terms (-1)^(k+1) C_k s^k, C_k Catalan.

    Converges for s <= 1/4 only: at s = 1 ten terms give -13,035 instead of 0.38.
    """
    _check(s=s)
    check_sizes(terms=terms)
    total = 0.0
    for k in range(1, terms + 1):
        total -= math.comb(2 * k, k) / (k + 1) * (-s) ** k
    return total


def sample_ldlt_variance(
    generator: np.random.Generator, *, outputs: int, inputs: int, s: float, matrices: int
) -> np.ndarray:
    """1 - (1/m) tr (I + W0 W0^T / alpha)^(-1) of so many drawn matrices, shape (matrices,)."""
    check_sizes(outputs=outputs, inputs=inputs, matrices=matrices)
    _check(s=s)
    found = np.empty(matrices)
    for index in range(matrices):
        w = generator.standard_normal((outputs, inputs)) * math.sqrt(s / inputs)
        squares = np.linalg.svd(w, compute_uv=False) ** 2
        found[index] = np.sum(squares / (1 + squares)) / outputs
    return found
