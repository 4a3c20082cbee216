"""The second moment of an effective weight's entries, by model and init."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from lipexp.theory.convolution import convolution_weight_variance
from lipexp.theory.gaussian import (
    gaussian_weight_variance,
    random_q_shares,
    random_q_weight_variance,
)
from lipexp.theory.inits import free_weight_variance, shape_of_entries
from lipexp.theory.mean_field import delta_corrected_weight_variance
from lipexp.theory.orthogonal import orthogonal_weight_variance
from lipexp.theory.overlaps import mean_norm
from lipexp.theory.spectral import SMALLEST_WIDTH, spectral_weight_variance

GAUSSIAN_INITS = ("normal", "kaiming_normal", "xavier_normal")
IID_INITS = (*GAUSSIAN_INITS, "gnd", "uniform", "laplace", "kaiming_uniform", "xavier_uniform")
UNIFORM_INITS = ("uniform", "kaiming_uniform", "xavier_uniform")
AOL_MODELS = ("aol", "sll_feedforward")
CONVOLUTION_MODELS = (*AOL_MODELS, "linear")
SMALLEST_CHANNELS = 4
"""An AOL kernel of iid weights has a law if it has so many inputs or outputs: right to 0.5 % then,
1.6 % low at 2 x 2 and 6 % at 1 x 1."""
SMALLEST_TYPICAL = 8
"""The least fan_in and fan_out for which rescaled Gaussian weights have a typical rate: the
expansion in 1/width is right to 0.01 (log10, relu) there, and useless at 4."""
SMALLEST_BETA = 0.5
"""The least beta of gnd entries that has a law at every size."""
HEAVY_TAILS = {0.25: 16, 0.2: 48}
"""The least fan_in and fan_out from which AOL of gnd entries of that beta or more has a law."""
SMALLEST_UNIFORM = 48
"""The least fan_in and fan_out for which spectral layers of uniform entries have a law: 1.6 % low
there, 1.4 % at 64; 2.5 % at 32, 4 % at 16 and 6 % at 8."""
FEEDFORWARD_MODELS = (*AOL_MODELS, "linear", "orthogonal", "spectral")


class Shape(Enum):
    """How the effective weight is distributed, apart from its size."""

    GAUSSIAN = "iid Gaussian entries"
    IID = "iid entries that are not Gaussian"
    RESCALED = "iid entries, rescaled by AOL"
    RANDOM_Q = "iid entries, rescaled by AOL with random q"
    SPECTRAL = "iid Gaussian entries, divided by the largest singular value"
    SPECTRAL_IID = "iid uniform entries, divided by the largest singular value"
    KERNEL = "a kernel of iid entries, as it is or rescaled by AOL"
    HAAR = "Haar semi-orthogonal, or such a matrix rescaled by AOL"
    IDENTITY = "the identity; an embedding with orthonormal columns where the layer widens"


@dataclass(frozen=True)
class WeightLaw:
    """Mean square of the effective weight's entries, and the shape of its distribution.

    ``taps``: how many taps of a kernel carry entries; 1 for a matrix, also at a kernel's centre.
    ``norm_variance``, ``norm_third``: second and third central moments of the squared norms of what
    AOL rescaled, relative to powers of their mean; ``by_rows``: that is the rows.
    ``typical_from``: the least fan_in and fan_out for which rescaled weights have a typical rate.
    """

    variance: float
    shape: Shape
    taps: int = 1
    norm_variance: float = 0.0
    norm_third: float = 0.0
    by_rows: bool = False
    typical_from: float = SMALLEST_TYPICAL


def rescales_rows(rows: bool | str, *, fan_in: int, fan_out: int) -> bool:
    """Whether an AOL layer rescales its rows; "auto": where it narrows, and there alone.

    Raises ValueError for anything but True, False and "auto".
    """
    if rows == "auto":
        return fan_out < fan_in
    if rows in (True, False):
        return bool(rows)
    raise ValueError(f'rows must be True, False or "auto". Got {rows!r} instead.')


def _gnd_keys(init: str, init_keys: Mapping | None) -> Mapping:
    """The keys that a law needs: the scale and shape of gnd; an init's name tells the others'."""
    return (init_keys or {}) if init == "gnd" else {}


def has_shape_law(beta: float, *, fan_in: int, fan_out: int) -> bool:
    """Whether the delta-corrected mean field is right for entries GND(beta) of so many units.

    Measured within 0.4 % for beta >= 1/2 from 10 units on, and within 0.9 % for 0.25 to 0.4 from
    16 on.  At beta = 0.2 0.5 % low at 64 x 64 and 0.8 % at 48 x 48, but 2 % at 32 x 32 and 16 x 64,
    5 % at 16 x 16 and 8 % at 10 x 10; at 0.1 wrong by its own size.
    """
    narrow = min(fan_in, fan_out)
    heavy = any(beta >= least and narrow >= width for least, width in HEAVY_TAILS.items())
    return beta >= SMALLEST_BETA or heavy


def _aol_law(
    init: str, init_keys: Mapping | None, random_q: bool, n: int, d: int, by_rows: bool
) -> WeightLaw | None:
    """Columns rescaled, n inputs, d outputs; the caller swaps them for rows."""
    if init == "orthogonal":
        # Orthonormal columns have no overlaps that q could weigh; elsewhere random q has no law.
        lawless = random_q and d < n
        variance = orthogonal_weight_variance(fan_in=n, fan_out=d)
        return None if lawless else WeightLaw(variance, Shape.HAAR)
    beta = shape_of_entries(init, init_keys)
    if random_q and beta < SMALLEST_BETA:
        return None
    if random_q:
        first, second, third = random_q_shares(fan_in=n, fan_out=d)
        relative = second / first**2
        return WeightLaw(
            random_q_weight_variance(fan_in=n, fan_out=d),
            Shape.RANDOM_Q,
            norm_variance=relative - 1,
            norm_third=third / first**3 - 3 * relative + 2,
            by_rows=by_rows,
        )
    # T grows with the norm itself, so |w_j|^2 varies like R instead of R^2: 1/(2d), not 2/d.
    variance, spread = gaussian_weight_variance(fan_in=n, fan_out=d), 1 / (2 * d)
    if beta != 2:
        if not has_shape_law(beta, fan_in=n, fan_out=d):
            return None
        variance = delta_corrected_weight_variance(fan_in=n, fan_out=d, beta=beta)
        spread = d / mean_norm(beta, d) ** 2 - 1
    return WeightLaw(
        variance,
        Shape.RESCALED,
        norm_variance=spread,
        by_rows=by_rows,
        typical_from=_typical_from(beta),
    )


def _typical_from(beta: float) -> float:
    """From which size on the typical rate is right to 0.01 (log10, relu); infinity: from none.

    Its expansion takes z as normal.  Of other shapes than the Gaussian z has a kurtosis: 0.005 at
    17 units for Laplace and uniform, 0.006 at 65 for gnd with beta = 1/2, 0.026 there with 1/4.
    """
    if beta == 2:
        return SMALLEST_TYPICAL
    return 16 if beta >= 1 else 64 if beta >= SMALLEST_BETA else math.inf


def _spectral_law(init: str, n: int, d: int) -> WeightLaw | None:
    """Gaussian entries; uniform ones approach their law as 1/width, from `SMALLEST_UNIFORM` on.

    Entries with heavier tails move the largest singular value too far from it: no law.
    """
    smallest = {GAUSSIAN_INITS: SMALLEST_WIDTH, UNIFORM_INITS: SMALLEST_UNIFORM}
    if not any(init in inits and min(n, d) >= least for inits, least in smallest.items()):
        return None
    shape = Shape.SPECTRAL if init in GAUSSIAN_INITS else Shape.SPECTRAL_IID
    return WeightLaw(spectral_weight_variance(fan_in=n, fan_out=d), shape)


def kernel_law(
    model: str,
    init: str,
    *,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    rows: bool | str = False,
    q: str = "one",
    init_keys: Mapping | None = None,
) -> WeightLaw | None:
    """The law of a convolution's effective kernel, keywords of `weight_law`; None where none is.

    The variance is of the entries at the taps that carry any: all of them for iid inits; the
    centre tap for orthogonal and identity, which is a matrix with the law of `weight_law`.
    """
    if model not in CONVOLUTION_MODELS:
        return None
    if kernel_size == 1 or init not in IID_INITS:
        return weight_law(
            model,
            init,
            fan_in=in_channels,
            fan_out=out_channels,
            rows=rows,
            q=q,
            init_keys=init_keys,
        )
    taps = kernel_size**2
    if model == "linear":
        fans = {"fan_in": in_channels * taps, "fan_out": out_channels * taps}
        variance = free_weight_variance(init, **fans, **_gnd_keys(init, init_keys))
        known = variance is not None and 0 < variance < math.inf
        return WeightLaw(variance, Shape.KERNEL, taps) if known else None
    if q != "one" or max(in_channels, out_channels) < SMALLEST_CHANNELS:
        return None
    if shape_of_entries(init, init_keys) < SMALLEST_BETA:
        return None
    n, d = in_channels, out_channels
    if rescales_rows(rows, fan_in=n, fan_out=d):
        n, d = d, n
    variance = convolution_weight_variance(in_channels=n, out_channels=d, kernel_size=kernel_size)
    return WeightLaw(variance, Shape.KERNEL, taps)


def weight_law(
    model: str,
    init: str,
    *,
    fan_in: int,
    fan_out: int,
    rows: bool | str = False,
    q: str = "one",
    init_keys: Mapping | None = None,
) -> WeightLaw | None:
    """The law of a feedforward layer's effective weight; None where none is known.

    ``rows`` is for AOL and feedforward SLL, ``q`` ("one" or "normal") for feedforward SLL,
    ``init_keys`` for an init that has keys of its own (gnd: alpha, beta).  The identity init
    has a law where fan_out >= fan_in.
    """
    if model not in FEEDFORWARD_MODELS or init not in (*IID_INITS, "orthogonal", "identity"):
        return None
    if init == "identity":
        return WeightLaw(1 / fan_out, Shape.IDENTITY) if fan_out >= fan_in else None
    if model in AOL_MODELS:
        if q not in ("one", "normal"):
            return None
        by_rows = rescales_rows(rows, fan_in=fan_in, fan_out=fan_out)
        sizes = (fan_out, fan_in) if by_rows else (fan_in, fan_out)
        random_q = model == "sll_feedforward" and q == "normal"
        return _aol_law(init, init_keys, random_q, *sizes, by_rows)
    if init == "orthogonal" or model == "orthogonal":
        return WeightLaw(1 / max(fan_in, fan_out), Shape.HAAR)
    if model == "spectral":
        return _spectral_law(init, fan_in, fan_out)
    if model == "linear":
        keys = _gnd_keys(init, init_keys)
        variance = free_weight_variance(init, fan_in=fan_in, fan_out=fan_out, **keys)
        known = variance is not None and 0 < variance < math.inf
        shape = Shape.GAUSSIAN if init in GAUSSIAN_INITS else Shape.IID
        return WeightLaw(variance, shape) if known else None
    return None
