"""Radii as exact rationals: "36/255" is that number, not the float next to it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from lipexp.errors import UserError

# A quotient of whole numbers or a decimal; of a longer exponent the power of ten would fill memory.
RATIONAL = re.compile(r"[+-]?(\d+/\d+|(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?)", re.ASCII | re.IGNORECASE)


def parse_eps(value: str | float) -> tuple[str, Fraction]:
    """(its text, the exact rational that the text says) of an l2 radius, pixels in [0, 1].

    Raises UserError for what is no positive number.
    """
    name = str(value).strip().replace(" ", "")
    try:
        radius = Fraction(name) if RATIONAL.fullmatch(name) else None
    except (ValueError, ZeroDivisionError):
        radius = None
    if isinstance(value, bool) or radius is None or abs(radius) > 10**300:
        raise UserError(f"{name[:40]!r} is no radius; write 0.3 or 36/255")
    if radius <= 0:
        raise UserError(f"a radius must be positive, got {name}")
    return name, radius


def next_above(radius: Fraction) -> float:
    """The smallest float64 that is not below the rational: greater than it is greater than both."""
    nearest = float(radius)
    return nearest if Fraction(nearest) >= radius else math.nextafter(nearest, math.inf)


def value(name: str) -> Fraction:
    """The radius that a text says.  Raises UserError for what is no positive number."""
    return parse_eps(name)[1]


def limit(name: str) -> float:
    """What a radius must exceed to be certified at eps, as in the columns certified_<eps>."""
    return next_above(value(name))


def suffixes(columns: Iterable[str], prefix: str) -> list[str]:
    """The eps that columns such as ``cra_36/255`` are named after, ascending."""
    found = (name.removeprefix(prefix) for name in columns if name.startswith(prefix))
    return sorted(filter(_is_known, found), key=value)


def _is_known(name: str) -> bool:
    try:
        return bool(value(name))
    except UserError:
        return False
