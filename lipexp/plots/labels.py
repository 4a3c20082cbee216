"""Groups of runs, and columns of numbers, in words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

CHOICES = ("task", "model", "network", "init", "activation", "dataset")  # speak for themselves
LABEL_LETTERS = 60

# A metric in words, and its unit.
METRICS = {
    "decay_per_layer_forward": ("decay of the signal per layer", "log₁₀"),
    "decay_per_layer_backward": ("decay of the gradient per layer", "log₁₀"),
    "input_variance_per_layer": ("decay of the variance over inputs per layer", "log₁₀"),
    "half_life_layers_forward": ("half-life of the signal", "layers"),
    "half_life_layers_backward": ("half-life of the gradient", "layers"),
    "seconds": ("time of a run", "seconds"),
}
LAWS = {"predicted_typical_": "typical law", "predicted_": "law"}  # prefixes of a metric


def label(by: Sequence[str], values: Sequence[Any]) -> str:
    """("model", "width", "model.rows", "init.beta"), ("aol", 64, "auto", NaN) -> "aol, width 64,
    rows auto"; in lines that fit into a legend."""
    known = [
        str(value) if key in CHOICES else f"{key.rpartition('.')[2]} {value}"
        for key, value in zip(by, values, strict=True)
        if not pd.isna(value)
    ]
    text = ", ".join(known or [f"no {key}" for key in by] or ["all runs"])
    return textwrap.fill(text, LABEL_LETTERS)


def count(points: pd.DataFrame) -> str:
    """What a group's label says of n: nothing where every marker is of one run."""
    least, most = points["n"].min(), points["n"].max()
    if most == 1:
        return ""
    n = f"{most}" if least == most else f"{least}–{most}"
    return f", n = {n} {'seeds' if points['seeds'].all() else 'runs'}"


def in_words(metric: str) -> tuple[str, str]:
    """A column of numbers in words, and its unit, "" where it is not known."""
    for prefix, law in LAWS.items():
        if metric.startswith(prefix):
            what, unit = in_words(metric.removeprefix(prefix))
            return f"{what}, {law}", unit
    return METRICS.get(metric, (metric.replace("_", " "), ""))
