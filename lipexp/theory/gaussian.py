"""Second moment of an effective AOL weight whose free weights are iid Gaussian."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import erf, erfcx

_ROOT2 = np.sqrt(2.0)
_U_STEP = 0.05
_U = np.arange(-72, 73) * _U_STEP  # nodes of the exp-sinh rule: -3.6 ... 3.6
_T = np.exp(np.pi / 2 * np.sinh(_U))  # t / scale
_DT = _T * np.pi / 2 * np.cosh(_U) * _U_STEP


def check_sizes(**sizes: int) -> None:
    """Raises ValueError for the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be an int in the range [1, inf). Got {size} instead.")


def chi_nodes(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes r and weights w (sum 1) with sum w f(r) = E f(R), R chi-distributed, d degrees.

    Trapezoid rule in ln r, normalised by its own sum.  The left tail is long (the density of ln r
    falls like r^d there) because the integrands tilt R towards 0.
    """
    step = 0.35 / np.sqrt(2.0 * (d + 1))
    low = np.log(d) / 2 - 9 / np.sqrt(2.0 * d) - 45 / (d + 1)
    high = np.log(d) / 2 + np.log1p(9 / np.sqrt(d)) + 0.1 / d
    y = np.arange(low, high + step, step)
    r = np.exp(y)
    log_density = d * y - r * r / 2
    weights = np.exp(log_density - log_density.max())
    return r, weights / weights.sum()


def _log_erfcx(x: np.ndarray) -> np.ndarray:
    """ln erfcx, relatively exact near 0 too, where ln of a rounded 1 - 2x/sqrt(pi) is not."""
    small = np.minimum(x, 0.5)
    near = np.log1p(np.expm1(small**2) - np.exp(small**2) * erf(small))
    return np.where(x < 0.5, near, np.log(erfcx(x)))


def _scale(d: int, n: int) -> float:
    """Where the integrand over t lives: 1 / E[R + H], to leading order."""
    return 1 / (np.sqrt(d) + (n - 1) * np.sqrt(2 / np.pi))


def overlap_nodes(d: int, overlaps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t and weights w with sum w f(t) = int_0^inf f(t) E exp(-t H) dt.

    H is the sum of so many |g_k|, g_k standard normal; f decays like exp(-t sqrt d).
    """
    scale = _scale(d, overlaps + 1)
    t = _T * scale
    return t, _DT * scale * np.exp(overlaps * _log_erfcx(t / _ROOT2))


def overlap_product_nodes(
    d: int, scales: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`overlap_nodes` for H a sum of counts_k variables scales_k |g|; counts may be fractions."""
    scale = 1 / (np.sqrt(d) + np.sqrt(2 / np.pi) * (counts @ scales))
    t = _T * scale
    logs = _log_erfcx(np.multiply.outer(t, scales) / _ROOT2) @ counts
    return t, _DT * scale * np.exp(logs)


@lru_cache(maxsize=4096)
def gaussian_weight_variance(*, fan_in: int, fan_out: int) -> float:
    """Mean square of an entry of an AOL weight with iid Gaussian free weights of any scale.

        q(d, n) = E[R / (R + |g_1| + ... + |g_(n-1)|)] / d
                = (1/d) int_0^inf E[R exp(-t R)] erfcx(t / sqrt 2)^(n-1) dt

    with d = ``fan_out``, n = ``fan_in``, R chi-distributed with d degrees of freedom and g_k
    standard normal.  Exact in expectation over the weights (the mean is 0, so this is the
    variance); n = 1 gives 1/d and d = 1 gives 1/n.  Swap the arguments for a layer that rescales
    rows.  Relative error below 1e-12 for 1 <= fan_in, fan_out <= 1e5 against 32-digit quadrature.

    Raises ValueError for sizes below 1.
    Source: the law of arXiv 2503.00240 for the layer of arXiv 2208.03160; derivation in NOTES.md.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    d, n = fan_out, fan_in
    if n == 1 or d == 1:
        return 1 / (d * n)
    r, weights = chi_nodes(d)
    t, overlaps = overlap_nodes(d, n - 1)
    return float(overlaps @ np.exp(-np.outer(t, r)) @ (weights * r) / d)


def log_normal_nodes(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes e^x and weights (sum 1) for x ~ N(0, sigma^2).

    The trapezoid rule converges geometrically for a Gaussian; 9 standard deviations hold 1e-18.
    """
    z = np.arange(-36, 37) * 0.25
    density = np.exp(-z * z / 2)
    return np.exp(sigma * z), density / density.sum()


def random_q_overlap_nodes(d: int, overlaps: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """`overlap_nodes` for H a sum of e^(x_k) |g_k|, x_k ~ N(0, sigma^2)."""
    scale = _scale(d, overlaps + 1) * np.exp(-sigma * sigma / 2)
    factor, density = log_normal_nodes(sigma)
    t = _T * scale
    logs = np.log(erfcx(np.outer(t, factor) / _ROOT2) @ density)
    return t, _DT * scale * np.exp(overlaps * logs)


@lru_cache(maxsize=1024)
def random_q_shares(*, fan_in: int, fan_out: int, sigma: float = 1.0) -> tuple[float, float, float]:
    """(E s, E s^2, E s^3) of a column's squared norm s = R e^x / (R e^x + H); columns rescaled."""
    d, n = fan_out, fan_in
    r, weights = chi_nodes(d)
    factor, density = log_normal_nodes(sigma)
    t, overlaps = random_q_overlap_nodes(d, n - 1, sigma)
    powers = (weights * np.array([r, r**2, r**3])).T
    moments = np.zeros((len(t), 3))
    for f, p in zip(factor, density, strict=True):
        moments += p * f ** np.arange(1, 4) * (np.exp(-f * np.outer(t, r)) @ powers)
    # 1/y^k = int t^(k-1) exp(-t y) dt / (k-1)!
    shares = np.array([overlaps, overlaps * t, overlaps * t * t / 2])
    return tuple(float(share @ moment) for share, moment in zip(shares, moments.T, strict=True))


@lru_cache(maxsize=1024)
def random_q_weight_variance(*, fan_in: int, fan_out: int, sigma: float = 1.0) -> float:
    """Mean square of an entry of a feedforward SLL weight with q_j = exp(sigma N(0, 1)).

        (1/d) int_0^inf E[R e^x exp(-t R e^x)] (E erfcx(t e^x / sqrt 2))^(n-1) dt

    with d = ``fan_out``, n = ``fan_in``, x ~ N(0, sigma^2) and R as in `gaussian_weight_variance`,
    which is the case sigma = 0.  Columns rescaled; swap the arguments for rows.

    Raises ValueError for sizes below 1 or a negative sigma.
    Source: the feedforward layer of arXiv 2503.00240; derivation in NOTES.md.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma must be a float in the range [0, inf). Got {sigma} instead.")
    d, n = fan_out, fan_in
    if sigma == 0 or n == 1:
        return gaussian_weight_variance(fan_in=n, fan_out=d)
    return random_q_shares(fan_in=n, fan_out=d, sigma=sigma)[0] / d
