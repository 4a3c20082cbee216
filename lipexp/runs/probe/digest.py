"""A finished probe in a screenful, read from its folder with the standard library alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lipexp.config import Request
from lipexp.runs.aligned import Column, aligned
from lipexp.runs.summary import data_name, plural, read_summary, round_numbers

# Heading and column of layers.csv; with two decimals the table fits 80 letters to depth 10,000.
COLUMNS = (
    ("forward", "log10_second_moment"),
    ("law", "predicted_log10_second_moment"),
    ("typical", "predicted_typical_log10_second_moment"),
    ("variance", "log10_variance"),
    ("active", "active_fraction"),
    ("backward", "log10_gradient_second_moment"),
    ("law", "predicted_log10_gradient_second_moment"),
    ("typical", "predicted_typical_log10_gradient_second_moment"),
)


def _means(rows: Iterable[dict[str, str]], layers: set[int]) -> dict[int, dict[str, float]]:
    """The mean over replicates of every shown column, by layer; NaN where it is empty."""
    sums: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        layer = int(row["layer"])
        if layer in layers:
            cells = sums.setdefault(layer, {})
            for _, column in COLUMNS:
                cells.setdefault(column, []).append(float(row[column] or "nan"))
    return {
        layer: {column: sum(values) / len(values) for column, values in cells.items()}
        for layer, cells in sums.items()
    }


def _number(value: float | None, decimals: int) -> str:
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "-inf" if value < 0 else "inf"
    text = f"{value:.{decimals if abs(value) < 1000 else 1}f}"
    return text[1:] if float(text) == 0 and text.startswith("-") else text


def layer_table(folder: Path, depth: int) -> str:
    """The compact table of layers 1, 2, ..., last."""
    layers = round_numbers(depth)
    with (folder / "layers.csv").open(newline="", encoding="utf-8") as file:
        means = _means(csv.DictReader(file), set(layers))
    # a law that is known at its starting layer alone is no law
    least = min(2, len(layers))
    columns = [
        (heading, column)
        for heading, column in COLUMNS
        if sum(not math.isnan(means[layer][column]) for layer in layers) >= least
    ]
    table = [Column(" layer", [str(layer) for layer in layers])]  # one letter in
    for heading, column in columns:
        table.append(Column(heading, [_number(means[layer][column], 2) for layer in layers]))
    lines = aligned(table)
    dead = [layer for layer in layers if means[layer]["log10_second_moment"] == -math.inf]
    if dead:
        lines.append(f"the signal is exactly 0 at layer {dead[0]}: no unit there is active")
    return "\n".join(lines)


def _rates(summary: dict[str, Any], way: str) -> str:
    measured = summary.get(f"decay_per_layer_{way}")
    if measured is None:
        return ""
    parts = [f"{way} {_number(measured, 4)}"]
    for key, word in (("predicted", "law"), ("predicted_typical", "typical")):
        value = summary.get(f"{key}_decay_per_layer_{way}")
        parts.append(f"{word} {_number(value, 4)}" if value is not None else f"no {word}")
    half = summary.get(f"half_life_layers_{way}")
    life = f"half-life {half:.3g} layers" if half is not None else "no decay to speak of"
    return f"  {parts[0]}  ({', '.join(parts[1:])}; {life})"


def digest(request: Request, *, notes: Sequence[str] = ()) -> str:
    """What is printed of a finished probe."""
    folder = request.folder
    summary = read_summary(folder)
    data = data_name(summary)
    lines = [
        f"{summary['name']}",
        f"{plural(summary['replicates'], 'network')}, {plural(summary['batch'], 'input')} of "
        f"{data}, {summary['dtype']}, {summary['device']}, {summary['seconds']:.1f} s",
        "log10 of mean squares over inputs and units; forward: signal z, backward: its gradient",
        "",
        layer_table(folder, summary["depth"]),
        "",
    ]
    ways = [line for line in (_rates(summary, "forward"), _rates(summary, "backward")) if line]
    if ways:
        lines += ["decay per layer (log10, fitted over layers 2 to the last):", *ways]
        spread = summary.get("input_variance_per_layer")
        if spread is not None:
            lines.append(f"  variance over inputs {_number(spread, 4)}")
    lines.append(f"law: {summary['law']}")
    lines += list(notes)
    if summary.get("warning"):
        lines += ["", f"warning: {summary['warning']}"]
    lines += ["", f"files: {folder}"]
    return "\n".join(lines)
