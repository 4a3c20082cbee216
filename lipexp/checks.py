"""What the value of a key may be: each check returns the value to use, or says what is allowed.

A check raises ValueError with what stands behind "key=value: " in the line for the user.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lipexp.errors import UserError
from lipexp.rationals import parse_eps
from lipexp.registry import Registry, nearest

Check = Callable[[Any], Any]


def whole(minimum: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number")
        if value < minimum:
            raise ValueError(f"must be at least {minimum}")
        return value

    return check


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return float(value)


def between(low: float, high: float) -> Check:
    """At least ``low``, less than ``high``."""

    def check(value: Any) -> float:
        if not low <= number(value) < high:
            below = "and finite" if math.isinf(high) else f"and below {high:g}"
            raise ValueError(f"must be at least {low:g} {below}")
        return float(value)

    return check


def positive(*, infinite: bool = False) -> Check:
    def check(value: Any) -> float:
        number(value)
        if not value > 0 or (math.isinf(value) and not infinite):
            raise ValueError("must be positive" + ("" if infinite else " and finite"))
        return float(value)

    return check


def one_of(*allowed: Any) -> Check:
    def check(value: Any) -> Any:
        for choice in allowed:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return value
        names = [str(choice).lower() for choice in allowed]
        near = nearest(str(value), names, 1) if isinstance(value, str) and len(names) > 4 else []
        closing = f" (nearest: {near[0]})" if near else ""
        raise ValueError(f"must be one of {', '.join(names)}{closing}")

    return check


def text(value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        raise ValueError("must be a text")
    return str(value)


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def known(registry: Registry) -> Check:
    def check(value: Any) -> str:
        registry.entry(str(value))
        return value

    return check


def list_of(check: Check) -> Check:
    def check_all(value: Any) -> list:
        return [check(item) for item in (value if isinstance(value, list) else [value])]

    return check_all


def chosen(what: str, minimum: int) -> Check:
    """auto, or a list of numbers of ``what``."""

    def check(value: Any) -> Any:
        if value != "auto" and not isinstance(value, list):
            raise ValueError(f"must be auto or a list of {what}, such as [1,10,100]")
        return value if value == "auto" else list_of(whole(minimum))(value)

    return check


def radii(value: Any) -> list[str]:
    """l2 radii as they were typed; equal ones once."""
    try:
        names = [parse_eps(item)[0] for item in (value if isinstance(value, list) else [value])]
    except UserError as error:
        raise ValueError(str(error)) from error
    if not names:
        raise ValueError("must name a radius, such as [0.3]")
    return list(dict.fromkeys(names))


def device(value: Any) -> str:
    name = text(value)
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise ValueError("must be auto, cpu, cuda, or cuda:NUMBER")
    return name
