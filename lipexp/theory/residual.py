"""Gain of the residual SLL block with iid Gaussian free weights."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from lipexp.theory.activations import LEAKY_SLOPE, activation_law
from lipexp.theory.gaussian import check_sizes, gaussian_weight_variance
from lipexp.theory.weights import IID_INITS


def _chi_mean(d: int) -> float:
    return float(np.sqrt(2) * np.exp(gammaln((d + 1) / 2) - gammaln(d / 2)))


@lru_cache(maxsize=4096)
def residual_gain(
    *, features: int, hidden: int, activation: str, slope: float = LEAKY_SLOPE
) -> float:
    """Factor of the second moment across y = x - 2 W T^-1 phi(W^T x), W features x hidden, q = 1.

        1 - 4 K1 h q(n, h) + 4 K2 h n / T^2 + 4 K1^2 h (h - 1) / T^2

    with n features, h hidden, T = n + (h-1) sqrt(2/pi) E chi_n, K1 = E u phi(u) / E u^2,
    K2 = E phi(u)^2 / E u^2 and q(n, h) of `gaussian_weight_variance` at fan_in = hidden.  Forward
    and backward alike (the Jacobian is symmetric), for one network as in expectation (the gain is
    self-averaging: standard deviation 0.011 at 64, 0.003 at 256).  tanh: small arguments W^T x
    only, the identity's gain.

    The second term is exact in expectation; in the last two T stands for its mean, which is right
    to 0.4 % of the gain at 16 features and to 0.1 % at 64 (measured).

    Raises ValueError for sizes below 1, and for an activation that has no place inside the block.
    Source: the block of arXiv 2303.03169; derivation in NOTES.md.
    """
    check_sizes(features=features, hidden=hidden)
    phi = activation_law(activation, slope)
    if phi is None or not phi.residual:
        raise ValueError(
            f"activation must be elementwise with slopes in [0, 1]. Got {activation!r} instead."
        )
    n, h = features, hidden
    rescaling = n + (h - 1) * np.sqrt(2 / np.pi) * _chi_mean(n)
    off = 4 * phi.overlap * h * gaussian_weight_variance(fan_in=h, fan_out=n)
    back = 4 * h * (phi.second_moment * n + phi.overlap**2 * (h - 1)) / rescaling**2
    return float(1 - off + back)


def residual_steps(
    init: str,
    activation: str,
    *,
    features: int,
    hidden: int,
    q: str = "one",
    slope: float = LEAKY_SLOPE,
) -> tuple[float, float] | None:
    """log10 of the gain of the first block and of every later one, zero bias; None without a law.

    W with orthonormal columns (hidden <= features): T = 1 whatever q, and with a = slope
    |y|^2 = |x|^2 - 4 a (1-a) |u_-|^2, u_- the negative part of W^T x: nothing is lost for relu and
    for the identity.  Fresh Haar W spread u evenly, so 1 - 2 a (1-a) h/n at every block.  W = I
    keeps the coordinates: the first block makes every entry of an input that is symmetric about 0
    negative, the later ones multiply all of them by 1 - 2a (a < 1/2; for larger a no law).
    tanh has no law here: the argument W^T x grows with the scale of W and is not small.
    """
    phi = activation_law(activation, slope)
    if phi is None or not phi.residual or phi.small_signals:
        return None
    if init in IID_INITS:
        if q != "one":
            return None
        gain = residual_gain(features=features, hidden=hidden, activation=activation, slope=slope)
        return math.log10(gain), math.log10(gain)
    if init not in ("orthogonal", "identity") or hidden > features or q not in ("one", "normal"):
        return None
    loss = 2 * phi.slope * (1 - phi.slope)
    if init == "orthogonal" or loss == 0:
        step = math.log10(1 - loss * hidden / features)
        return step, step
    if hidden == features and phi.slope < 0.5:
        return math.log10(1 - loss), 2 * math.log10(1 - 2 * phi.slope)
    return None
