"""Mean of the logarithm against logarithm of the mean: how far one network lies below the law.

One layer's gain for one input is a random number g.  After many layers the mean of the product is
carried by rare lucky networks, its logarithm by all: a typical network decays by E ln g per layer,
the law in expectation by ln E g.  Here E ln g - ln E g, in natural logarithms, as a sum of what the
activation's mask costs (n units meet it) and what the weight's rows cost.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, psi

from lipexp.theory.activations import ActivationLaw
from lipexp.theory.spectral import spectral_spread
from lipexp.theory.weights import Shape, WeightLaw


@lru_cache(maxsize=1024)
def mask_spread(units: int, slope: float) -> float:
    """E ln s - ln E s, s = |phi(z)|^2 / |z|^2, z standard normal with so many units.

    relu: s given k positive units is Beta(k/2, (n-k)/2), so E psi(k/2) - psi(n/2) + ln 2 with
    k ~ Binomial(n, 1/2); k = 0, the end of the signal, is left out.  Other slopes a:
    E ln X = int (exp(-t) - E exp(-t X)) dt/t for X = |phi(z)|^2, by the trapezoid rule in ln t.
    """
    if slope * slope == 1:
        return 0.0
    if slope == 0:
        k = np.arange(1, units + 1)
        log_p = gammaln(units + 1) - gammaln(k + 1) - gammaln(units - k + 1) - units * math.log(2)
        p = np.exp(log_p)
        return float(p @ psi(k / 2) / p.sum() - psi(units / 2) + math.log(2))
    step = 0.05
    t = np.exp(np.arange(-40 - math.log(units), 90, step))
    laplace = (1 / np.sqrt(1 + 2 * t) + 1 / np.sqrt(1 + 2 * slope**2 * t)) / 2
    log_moment = float(np.sum(np.exp(-t) - laplace**units) * step)
    return log_moment - psi(units / 2) - math.log(2) - math.log((1 + slope**2) / 2)


def mask_unevenness(weight: WeightLaw, units: int) -> float:
    """By what factor rescaled rows, in a layer of the same size before, raise the mask's spread.

    z = W x has a variance of its own in every unit then, the row's squared norm: with relative
    variance v of these its kurtosis is kappa = 3 (1 + v) n / (n + 2) for rows of n entries (3 for
    Gaussian ones, v = 2/n), and the mask passes p with E sum p^2 = kappa / (n + kappa - 1).
    """
    if not weight.by_rows:
        return 1.0
    kurtosis = 3 * (1 + weight.norm_variance) * units / (units + 2)
    return kurtosis / (units + kurtosis - 1) * (units + 2) / 3


def row_spread(shape: Shape, *, into: int, out_of: int) -> float | None:
    """E ln |W x|^2 - ln E |W x|^2, W into x out_of and x fixed; None where no form is known.

    Gaussian entries: |W x|^2 is chi-squared with ``into`` degrees (before a common factor).  Other
    iid entries have no form: their kurtosis enters through x, at the order of the spread itself.
    Haar: the share of a sphere that a projection keeps, Beta(into/2, (out_of-into)/2); 0 where it
    keeps all.
    """
    if shape in (Shape.GAUSSIAN, Shape.RESCALED, Shape.RANDOM_Q, Shape.SPECTRAL):
        return float(psi(into / 2) - math.log(into / 2))
    if shape is Shape.HAAR:
        if into >= out_of:
            return 0.0
        return float(psi(into / 2) - psi(out_of / 2) - math.log(into / out_of))
    return None


def norm_spread(weight: WeightLaw, phi: ActivationLaw, *, fan_in: int, fan_out: int) -> float:
    """What the norms of rescaled columns (rows) add, relative to those of a Gaussian matrix.

    |W x|^2 weighs the columns' squared norms with shares p of |phi(z)|^2, the rows' with shares of
    the output.  Their relative variance v instead of the Gaussian's 2/d (2/n) gives
    (2/d - v) E sum p^2 / 2, to second order; E sum p^2 = kappa/n, kappa = E phi^4/(E phi^2)^2, 3
    for rows.  Random q has v of order 1 and needs the third and fourth order, the p of a finite
    number of units, kappa/(n + kappa - 1), and that a large q takes from all others what it gives
    to its own: only the differences of p from 1/n count.
    """
    units, others, fourth, sixth = fan_in, fan_out, phi.fourth_moment, phi.sixth_moment
    if weight.by_rows:
        units, others, fourth, sixth = fan_out, fan_in, 3.0, 15.0
    v = weight.norm_variance
    if weight.shape is Shape.RESCALED:
        return fourth * (2 / others - v) / (2 * units)
    squares = fourth / (units + fourth - 1)
    cubes = sixth / fourth**2 * squares**2
    uneven = squares - 1 / units
    third = weight.norm_third * (cubes - 3 * squares / units + 2 / units**2)
    return squares / others - v * uneven / 2 + third / 3 - 0.75 * (v * uneven) ** 2


def gain_spread(
    weight: WeightLaw, phi: ActivationLaw, *, fan_in: int, fan_out: int, backward: bool
) -> float | None:
    """E ln g - ln E g of one layer for one input; the mask is on the layer's fan_in units.

    Exact for Gaussian and for Haar weights that are not rescaled; rescaled Haar weights (AOL with
    d < n) right to 0.003 (log10) from 8 units on.  Rescaled iid weights: `norm_spread` comes on
    top; sizes of at least ``weight.typical_from``.  Random q: right to 0.006 from 16 units on,
    0.002 at 64.  Spectral: `spectral_spread` comes on top.
    """
    shape = weight.shape
    into, out_of = (fan_in, fan_out) if backward else (fan_out, fan_in)
    rows = row_spread(shape, into=into, out_of=out_of)
    if rows is None:
        return None
    spread = mask_spread(fan_in, phi.slope) * mask_unevenness(weight, fan_in) + rows
    if shape in (Shape.RESCALED, Shape.RANDOM_Q):
        if min(fan_in, fan_out) < weight.typical_from:
            return None
        spread += norm_spread(weight, phi, fan_in=fan_in, fan_out=fan_out)
    if shape is Shape.SPECTRAL:
        spread += spectral_spread(fan_in=fan_in, fan_out=fan_out)
    return spread
