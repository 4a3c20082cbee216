"""Perturbation sizes: eps is a text such as "0.3" or "36/255" and stands for an exact rational."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from lipexp.errors import UserError
from lipexp.plots import style
from lipexp.rationals import next_above, parse_eps

COLOURS = style.PALETTE[1:]  # the first is the clean accuracy's


def value(name: str) -> Fraction:
    """Raises UserError for what is no positive number."""
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


def in_words(name: str) -> str:
    return f"ε = {name}"


def colour(position: int) -> str:
    """Of the eps at that position of an ascending list: the same one in every picture of a run."""
    return COLOURS[position % len(COLOURS)]
