"""Approximations of the weight variance, bounds of it, and what has been printed as bounds."""

from __future__ import annotations

import math

from lipexp.theory.activations import LEAKY_SLOPE, residual_activation_law
from lipexp.theory.gaussian import check_sizes, gaussian_weight_variance
from lipexp.theory.overlaps import mean_absolute_overlap, mean_norm


def mean_field_weight_variance(*, fan_in: int, fan_out: int, beta: float = 2.0) -> float:
    """1 / (d + (n-1) E|S_d|): the ratio of expectations in the place of the expectation.

    d = ``fan_out``, n = ``fan_in``, entries GND(beta) of any scale, E|S_d| of
    `mean_absolute_overlap`.  The curve that arXiv 2503.00240 draws as its law; neither exact nor a
    bound.  Against `gaussian_weight_variance` at beta = 2: +7.0 % at 2 x 2, +1.4 % at 10 x 10,
    +0.09 % at 64 x 64, -0.003 % at 1024 x 1024, +0.7 % at 64 x 784, -0.3 % at 784 x 64.  Other
    shapes are further off at small d (Laplace +6 % at 10 x 10, +1.2 % at 64 x 64; beta = 1/2 +22 %
    and +6 %; uniform within 2 %).
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    return 1 / (fan_out + (fan_in - 1) * mean_absolute_overlap(beta, fan_out))


def delta_corrected_weight_variance(*, fan_in: int, fan_out: int, beta: float = 2.0) -> float:
    """The mean field with the variances of R and H: E[R/(R+H)]/d to second order.

        d q = R0/(R0+H0) + (R0 vH - H0 vR)/(R0+H0)^3
        R0 = E R,  vR = d - R0^2,  H0 = (n-1) h,  vH = (n-1)(1 - h^2),  h = E|S_d| / R0

    R is the norm of a column of d = ``fan_out`` entries GND(beta) of unit variance (`mean_norm`),
    H the sum of its overlaps with the n - 1 others, each over R; n = ``fan_in``.
    Against `gaussian_weight_variance`: +0.14 % at 2 x 2, -0.05 % at 10 x 10, -0.005 % at 64 x 64.
    Against simulation of Laplace, uniform and beta = 1/2 (standard errors 0.05 %): within 0.15 %
    from 10 x 10 on (beta = 1/2: +0.4 % at 10 x 10, +0.1 % at 64 x 64) and within 0.5 % at 2 x 2.
    Tails heavier than beta = 1/2 were not measured.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    d, n = fan_out, fan_in
    r = mean_norm(beta, d)
    overlap = mean_absolute_overlap(beta, d) / r
    h = (n - 1) * overlap
    r_variance, h_variance = d - r * r, (n - 1) * (1 - overlap**2)
    total = r + h
    return (r / total + (r * h_variance - h * r_variance) / total**3) / d


def weight_variance_bound(*, fan_in: int, fan_out: int) -> float:
    """1/max(d, n): no 1-Lipschitz matrix, random or trained, has a larger mean square entry.

    |W|_F^2 <= min(d, n) |W|^2.  Attained by orthonormal columns or rows.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    return 1 / max(fan_in, fan_out)


def square_asymptote(width: int) -> float:
    """sqrt(pi/2) width^(-3/2), the limit of `gaussian_weight_variance` for square layers.

    The ratio to it tends to 1 slowly, as 1 - sqrt(pi/2)/sqrt(width): 0.879 at 64, 0.963 at 1024.
    """
    check_sizes(width=width)
    return math.sqrt(math.pi / 2) * width**-1.5


def printed_bounds(*, fan_in: int, fan_out: int) -> dict[str, float]:
    """The three formulas printed as upper bounds of the weight variance; they are NOT upper bounds.

    n = ``fan_in``, d = ``fan_out``; "normal", "laplace" and "uniform" are the shapes of the free
    weights they are printed for.  The true variance at 10 x 10 is 0.0307 for all three shapes
    within 1 %; printed are 0.0260, 0.0134 and 0.0313.  The normal's lies below the truth for all
    d, n >= 2: it divides by sqrt d >= E|v_1.v_2| / |v|, so the inequality points the other way.

    Source: the plotting script beside arXiv 2503.00240.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    n, d = fan_in, fan_out
    root = math.sqrt(d)
    return {
        "normal": 1 / (root * (root + n - 1)),
        "laplace": 2 / (2 * root * (n - 1) + d * (d - 1) + 2),
        "uniform": (1 + d) / (d**1.5 * (n - 1) + root * (n - 1) + 4 * d - 2),
    }


def mean_field_residual_gain(
    *, features: int, hidden: int, activation: str, slope: float = LEAKY_SLOPE
) -> float:
    """`residual_gain` with T = n + (h-1) sqrt(2/pi) E chi_n in the place of the random row sums.

        1 - 4 K1 h q(n, h) + 4 K2 h n/T^2 + 4 K1^2 h (h-1)/T^2

    n = ``features``, h = ``hidden``.  Against `residual_gain`: 1e-4 high at 64 x 64, 8e-4 at
    32 x 32, 12 % off at 8 x 8.  Raises ValueError for an activation that has no place inside.
    """
    check_sizes(features=features, hidden=hidden)
    phi = residual_activation_law(activation, slope)
    n, h = features, hidden
    total = n + (h - 1) * mean_absolute_overlap(2, n)
    off = 4 * phi.overlap * h * gaussian_weight_variance(fan_in=h, fan_out=n)
    across = 4 * h * (phi.second_moment * n + phi.overlap**2 * (h - 1)) / total**2
    return 1 - off + across
