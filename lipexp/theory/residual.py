"""Gain of the residual SLL block with iid Gaussian free weights."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from lipexp.theory.activations import (
    LEAKY_SLOPE,
    ActivationLaw,
    activation_law,
    residual_activation_law,
)
from lipexp.theory.gaussian import (
    check_sizes,
    chi_nodes,
    gaussian_weight_variance,
    overlap_nodes,
)
from lipexp.theory.residual_nodes import few_chi_nodes, squared_overlap_nodes
from lipexp.theory.residual_random_q import SMALLEST_FEATURES as SMALLEST_WITH_RANDOM_Q
from lipexp.theory.residual_random_q import random_q_residual_gain
from lipexp.theory.weights import IID_INITS

SMALLEST_FEATURES = 8
"""The least features for which a block of iid weights has a law, at any hidden size: the gain is
right to 0.3 % from there on, to 0.7 % at 4, 1.8 % at 2 and 2.5 % at 1 (measured)."""


def _diagonal_share(n: int, h: int) -> float:
    """E[(R / (R + H))^2] = int t E[R^2 exp(-t R)] E exp(-t H) dt, H of h - 1 overlaps; exact."""
    r, weights = chi_nodes(n)
    t, overlaps = overlap_nodes(n, h - 1)
    return float((overlaps * t) @ np.exp(-np.outer(t, r)) @ (weights * r**2))


def _pair_share(n: int, h: int) -> float:
    """n E[rho^2 R R' / ((R + R'|rho| + S)(R' + R|rho| + S'))] for two columns of W.

    S and S' are their overlaps with the other h - 2 columns.  Given R, R', rho they are sums of
    |g| and |g'| with corr(g, g') = rho; that correlation enters to first order.
    """
    others = max(h - 2, 0)
    r, p = few_chi_nodes(n)
    c, q = squared_overlap_nodes(n)
    t, overlaps = overlap_nodes(n, others)
    own = r[:, None, None] + r[None, :, None] * c
    decay = np.exp(-np.multiply.outer(own, t))
    inverse, slope = decay @ overlaps, decay @ (overlaps * t)  # E 1/(a+S) and E 1/(a+S)^2
    covariance = others * 2 / np.pi * (np.sqrt(np.clip(1 - c**2, 0, 1)) + c * np.arcsin(c) - 1)
    product = inverse * inverse.swapaxes(0, 1) + covariance * slope * slope.swapaxes(0, 1)
    return float(np.einsum("ijk,i,j,k", product, p * r, p * r, q))


@lru_cache(maxsize=4096)
def residual_gain(
    *, features: int, hidden: int, activation: str, slope: float = LEAKY_SLOPE
) -> float:
    """Factor of the second moment across y = x - 2 W T^-1 phi(W^T x), W features x hidden, q = 1.

        1 - 4 K1 h q(n, h) + 4 K2 (h/n) E[(R/(R+H))^2]
          + 4 K1^2 (h (h-1)/n) E[rho^2 R R' / ((R + R'|rho| + S)(R' + R|rho| + S'))]

    with n features, h hidden, K1 = E u phi(u) / E u^2, K2 = E phi(u)^2 / E u^2, q(n, h), R and H of
    `gaussian_weight_variance` at fan_in = hidden, rho the cosine between two columns, R and R'
    their norms, S and S' their overlaps with the other columns.  Forward and backward alike (the
    Jacobian is symmetric), for one network as in expectation (the gain is self-averaging: standard
    deviation 0.011 at 64, 0.003 at 256).  tanh: small arguments W^T x only, the identity's gain.

    All but the last term is exact in expectation; there S and S' are correlated to first order.
    The gain is right to 0.3 % from SMALLEST_FEATURES on (measured up to 64 x 256, relu and
    identity); with fewer features it is off by up to 0.7 % at 4, 1.8 % at 2, 2.5 % at 1.

    Raises ValueError for sizes below 1, and for an activation that has no place inside the block.
    Source: the block of arXiv 2303.03169; derivation in NOTES.md.
    """
    check_sizes(features=features, hidden=hidden)
    phi = residual_activation_law(activation, slope)
    n, h = features, hidden
    off = 4 * phi.overlap * h * gaussian_weight_variance(fan_in=h, fan_out=n)
    back = 4 * phi.second_moment * h / n * _diagonal_share(n, h)
    across = 4 * phi.overlap**2 * h * (h - 1) / n**2 * _pair_share(n, h)
    return float(1 - off + back + across)


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

    iid W: `residual_gain` at every block, from SMALLEST_FEATURES on and for any hidden size; random
    q: `random_q_residual_gain`, from 32 features on.
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
        known = {
            "one": (SMALLEST_FEATURES, residual_gain),
            "normal": (SMALLEST_WITH_RANDOM_Q, random_q_residual_gain),
        }
        if q not in known or features < known[q][0]:
            return None
        law = known[q][1]
        gain = law(features=features, hidden=hidden, activation=activation, slope=slope)
        return math.log10(gain), math.log10(gain)
    return isometric_steps(init, phi, features=features, hidden=hidden, q=q)


def isometric_steps(
    init: str, phi: ActivationLaw, *, features: int, hidden: int, q: str
) -> tuple[float, float] | None:
    """`residual_steps` where the columns of W are orthonormal by their init."""
    if init not in ("orthogonal", "identity") or hidden > features or q not in ("one", "normal"):
        return None
    loss = 2 * phi.slope * (1 - phi.slope)
    if init == "orthogonal" or loss == 0:
        step = math.log10(1 - loss * hidden / features)
        return step, step
    if hidden == features and phi.slope < 0.5:
        return math.log10(1 - loss), 2 * math.log10(1 - 2 * phi.slope)
    return None
