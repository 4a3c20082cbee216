"""The second moment of an effective weight's entries, by model and init."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from lipexp.theory.gaussian import gaussian_weight_variance, random_q_weight_variance
from lipexp.theory.inits import free_weight_variance
from lipexp.theory.orthogonal import orthogonal_weight_variance

GAUSSIAN_INITS = ("normal", "kaiming_normal", "xavier_normal")
IID_INITS = (*GAUSSIAN_INITS, "gnd", "uniform", "laplace", "kaiming_uniform", "xavier_uniform")
AOL_MODELS = ("aol", "sll_feedforward")
FEEDFORWARD_MODELS = (*AOL_MODELS, "linear", "orthogonal", "spectral")


class Shape(Enum):
    """How the effective weight is distributed, apart from its size."""

    GAUSSIAN = "iid Gaussian entries"
    IID = "iid entries that are not Gaussian"
    RESCALED = "iid entries, rescaled by AOL"
    RANDOM_Q = "iid entries, rescaled by AOL with random q"
    HAAR = "Haar semi-orthogonal, or such a matrix rescaled by AOL"
    IDENTITY = "the identity; an embedding with orthonormal columns where the layer widens"


@dataclass(frozen=True)
class WeightLaw:
    """Mean square of the effective weight's entries, and the shape of its distribution."""

    variance: float
    shape: Shape


def rescales_rows(rows: bool | str, *, fan_in: int, fan_out: int) -> bool:
    """Whether an AOL layer rescales its rows; "auto": where it narrows, and there alone.

    Raises ValueError for anything but True, False and "auto".
    """
    if rows == "auto":
        return fan_out < fan_in
    if rows in (True, False):
        return bool(rows)
    raise ValueError(f'rows must be True, False or "auto". Got {rows!r} instead.')


def _aol_law(init: str, random_q: bool, n: int, d: int) -> WeightLaw | None:
    """Columns rescaled, n inputs, d outputs; the caller swaps them for rows."""
    if init == "orthogonal":
        # Orthonormal columns have no overlaps that q could weigh; elsewhere random q has no law.
        lawless = random_q and d < n
        variance = orthogonal_weight_variance(fan_in=n, fan_out=d)
        return None if lawless else WeightLaw(variance, Shape.HAAR)
    if random_q:
        return WeightLaw(random_q_weight_variance(fan_in=n, fan_out=d), Shape.RANDOM_Q)
    return WeightLaw(gaussian_weight_variance(fan_in=n, fan_out=d), Shape.RESCALED)


def weight_law(
    model: str,
    init: str,
    *,
    fan_in: int,
    fan_out: int,
    rows: bool | str = False,
    q: str = "one",
    init_variance: float | None = None,
) -> WeightLaw | None:
    """The law of a feedforward layer's effective weight; None where none is known.

    ``rows`` is for AOL and feedforward SLL, ``q`` ("one" or "normal") for feedforward SLL,
    ``init_variance`` for ``linear`` (default: `free_weight_variance`).  The identity init
    has a law where fan_out >= fan_in.
    """
    if model not in FEEDFORWARD_MODELS or init not in (*IID_INITS, "orthogonal", "identity"):
        return None
    if init == "identity":
        return WeightLaw(1 / fan_out, Shape.IDENTITY) if fan_out >= fan_in else None
    if model in AOL_MODELS:
        if q not in ("one", "normal"):
            return None
        sizes = (fan_in, fan_out)
        if rescales_rows(rows, fan_in=fan_in, fan_out=fan_out):
            sizes = (fan_out, fan_in)
        return _aol_law(init, model == "sll_feedforward" and q == "normal", *sizes)
    if init == "orthogonal" or model == "orthogonal":
        return WeightLaw(1 / max(fan_in, fan_out), Shape.HAAR)
    if model == "linear":
        if init_variance is None:
            init_variance = free_weight_variance(init, fan_in=fan_in, fan_out=fan_out)
        known = init_variance is not None and 0 < init_variance < math.inf
        shape = Shape.GAUSSIAN if init in GAUSSIAN_INITS else Shape.IID
        return WeightLaw(init_variance, shape) if known else None
    return None
