"""Activations by name, with the facts that decide where each may stand (no torch needed)."""

from __future__ import annotations

from typing import Any

from lipexp.errors import UserError
from lipexp.lazy import lazy
from lipexp.registry import Entry, Registry


def _entry(where: str, description: str, *, slope_restricted: bool, multiple: int = 1) -> Entry:
    facts = {"slope_restricted": slope_restricted, "multiple": multiple}
    return Entry(f"lipexp.activations.{where}", description, facts)


# slope_restricted: elementwise with slopes in [0, 1], which is what the proof of residual SLL
# needs; multiple: the width must be a multiple of it.
ACTIVATIONS = Registry(
    "activation",
    {
        "relu": _entry("two_slopes:ReLU", "max(x, 0)", slope_restricted=True),
        "leaky_relu": _entry(
            "two_slopes:LeakyReLU", "x above 0, 0.01 x below", slope_restricted=True
        ),
        "abs": _entry("two_slopes:Abs", "|x|; keeps gradient norms", slope_restricted=False),
        "maxmin": _entry(
            "sorting:MaxMin",
            "sorts adjacent pairs; keeps gradient norms; even width",
            slope_restricted=False,
            multiple=2,
        ),
        "identity": _entry("two_slopes:Identity", "x", slope_restricted=True),
        "tanh": _entry("tanh:Tanh", "tanh(x)", slope_restricted=True),
    },
)


def check_width(name: str, width: int) -> None:
    """Raises UserError where the activation cannot stand behind ``width`` units."""
    multiple = ACTIVATIONS.fact(name, "multiple", 1)
    if width % multiple:
        raise UserError(
            f"activation={name} needs a width that is a multiple of {multiple}; got width={width}"
        )


def _sound() -> list[str]:
    return [name for name in ACTIVATIONS if ACTIVATIONS.fact(name, "slope_restricted", False)]


def is_sound_inside_residual(module: Any) -> bool:
    """Whether a module is, by exact type, an activation that is known to have slopes in [0, 1]."""
    if not 0 <= getattr(module, "negative_slope", 0.0) <= 1:
        return False
    return any(type(module) is type(ACTIVATIONS[name]()) for name in _sound())


def check_inside_residual(name: str) -> None:
    """Raises UserError for an activation that would break a residual layer's proof."""
    if not ACTIVATIONS.fact(name, "slope_restricted", False):
        sound = ", ".join(_sound())
        raise UserError(
            f"activation={name} inside a residual layer: the layer is 1-Lipschitz only for "
            f"elementwise slopes in [0, 1] (with {name} it can stretch distances 3 times); "
            f"use one of {sound}"
        )


__getattr__, __dir__ = lazy(
    __name__,
    {**ACTIVATIONS.homes(), "Activation": "lipexp.activations.base"},
    ("ACTIVATIONS", "check_inside_residual", "check_width"),
)
