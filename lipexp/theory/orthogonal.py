"""Second moment of an effective AOL weight whose free weights are Haar semi-orthogonal."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import expit, gammaln, log_expit

from lipexp.theory.gaussian import check_sizes


def _beta_log_odds(a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds y of G ~ Beta(a, b) and weights w (sum 1): sum w f(y) = E f(ln(G / (1 - G))).

    Trapezoid rule in y, whose density is proportional to G^a (1 - G)^b: analytic in a strip, tails
    exponential with rates a and b.
    """
    centre, width = np.log(a / b), np.sqrt(1 / a + 1 / b)
    y = np.arange(centre - 9 * width - 45 / a, centre + 9 * width + 45 / b, 0.25 * min(width, 1.0))
    log_density = a * log_expit(y) + b * log_expit(-y)
    weights = np.exp(log_density - log_density.max())
    return y, weights / weights.sum()


def _sphere_l1(size: int) -> tuple[float, float]:
    """Mean and variance of |u_1| + ... + |u_size|, u uniform on the unit sphere."""
    mean = size / np.sqrt(np.pi) * np.exp(gammaln(size / 2) - gammaln((size + 1) / 2))
    return mean, 1 + (size - 1) * 2 / np.pi - mean * mean


@lru_cache(maxsize=4096)
def orthogonal_weight_variance(*, fan_in: int, fan_out: int) -> float:
    """Mean square of an entry of an AOL weight with Haar semi-orthogonal free weights.

    With d = ``fan_out``, n = ``fan_in``: d >= n has orthonormal columns, nothing is rescaled, 1/d
    exactly.  d < n: V^T V is a projector; its entry G_jj = g is Beta(d/2, (n-d)/2), the rest of
    column j has norm sqrt(g (1-g)) and a uniform direction u in n - 1 dimensions, so

        E W_ij^2 = (1/d) E[1 / (1 + sqrt((1-g)/g) S)],   S = |u_1| + ... + |u_(n-1)|

    by quadrature over g and to second order in S about its mean (exact mean and variance).  Right
    to 4e-4 for n < 10 and to 1e-4 from there on (measured against the exact law of S by Monte
    Carlo); d = 1 gives 1/n exactly.  Swap the arguments for
    a layer that rescales rows.

    Raises ValueError for sizes below 1.
    Source: the layer of arXiv 2208.03160; derivation in NOTES.md.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    d, n = fan_out, fan_in
    if d >= n or d == 1:
        return 1 / max(d, n)
    log_odds, weights = _beta_log_odds(d / 2, (n - d) / 2)
    mean, variance = _sphere_l1(n - 1)
    ratio = np.exp(-log_odds / 2)
    kept = expit(-np.log(mean) + log_odds / 2)  # 1 / (1 + ratio * mean) without overflow
    curvature = (ratio * kept) ** 2 * kept  # half the second derivative in S
    return float(np.sum(weights * (kept + variance * curvature)) / d)
