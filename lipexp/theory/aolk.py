"""AOL-k: the almost-orthogonal rescaling of a Gram-iterated matrix.  No closed form is known."""

from __future__ import annotations

import math

import numpy as np

from lipexp.theory.gaussian import check_sizes


def aol_k(v: np.ndarray, k: int) -> np.ndarray:
    """W = V diag(d), d_j = (sum_i |(G^p)_ij|)^(-1/(2p)), G = V^T V, p = 2^(k-1); k = 1 is AOL.

    |W| <= 1: G^p <= diag(sums) by diagonal dominance, and x -> x^(1/p) is operator monotone
    (Loewner-Heinz), so G <= diag(d)^-2.  G^p by repeated squaring with its scale carried as a
    logarithm, so that V of any scale gives the same W.  A zero column stays 0.  V: (d, n).

    Raises ValueError for k below 1.
    Source: k = 1: arXiv 2208.03160; Gram iteration: arXiv 2305.16173.
    """
    check_sizes(k=k)
    size = np.abs(v).max(initial=0.0)
    if size == 0:
        return np.zeros_like(v, dtype=float)
    v = v / 2.0 ** math.floor(math.log2(size))
    power = v.T @ v
    log_scale = 0.0  # the power of G is power * exp(log_scale)
    for _ in range(k - 1):
        largest = np.abs(power).max()
        power = power / largest
        log_scale = 2 * (log_scale + math.log(largest))
        power = power @ power
    sums = np.abs(power).sum(0)
    live = sums > 0
    logs = np.log(np.where(live, sums, 1.0)) + log_scale
    return v * np.where(live, np.exp(-logs / 2**k), 0.0)


def sample_aol_k_variance(
    generator: np.random.Generator, *, fan_in: int, fan_out: int, k: int, matrices: int
) -> np.ndarray:
    """Mean squares of the entries of so many AOL-k weights, free weights iid N(0, 1): (matrices,).

    Their mean is the q of a layer's gain n q c_phi.  There is no closed form: k = 1 is
    `gaussian_weight_variance`, k -> inf divides by the largest singular value.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out, matrices=matrices)
    draws = (generator.standard_normal((fan_out, fan_in)) for _ in range(matrices))
    return np.array([np.mean(aol_k(v, k) ** 2) for v in draws])
