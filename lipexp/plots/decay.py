"""A headline number of many runs against depth or width, the law beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from lipexp.plots import style

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
CHOICES = ("task", "model", "network", "init", "activation", "dataset")  # speak for themselves
NAMED_GROUPS = 16  # beyond which the legend would be larger than the plot
LOGARITHMIC = 8  # ratio of the largest to the smallest abscissa from which the axis is logarithmic
MARGIN = 0.08  # share of the x axis on each side of the markers
AXIS_LETTERS = 46  # of a line of the y axis' label
ONE_LAW = 1e-3  # laws nearer than this are one: where a signal starts depends on the inputs drawn
LISTED_TICKS = 7  # up to so many depths or widths, each has its own tick


def abscissa(table: pd.DataFrame) -> str:
    """What varies over the runs: depth, else width, else depth."""
    varies = [key for key in ("depth", "width") if table[key].nunique() > 1]
    return varies[0] if varies else "depth"


@style.styled
def decay(
    table: pd.DataFrame,
    against: str | None = None,
    by: Sequence[str] = ("model", "init"),
    metric: str = "decay_per_layer_forward",
    title: str | None = None,
) -> Figure:
    """``metric`` against depth or width: a marker per abscissa and group, the law dashed.

    ``table`` has one row per run, ``by`` names its columns; ``against`` is depth or width, None the
    one that varies.  A marker is the mean over a group's runs, its bar one standard deviation to
    each side where there are several.  The law is that of a typical network where the table has it,
    else the one in expectation, and is drawn where all runs of a marker have the same one.  Runs
    without the metric are left out; raises ValueError if that is all of them.
    """
    laws = {name: _numbers(table, prefix + metric) for prefix, name in LAWS.items()}
    table = table.assign(_metric=_numbers(table, metric), **laws)
    table = table[np.isfinite(table["_metric"])]
    if table.empty:
        raise ValueError(f"at least one run must have {metric}. Got none.")
    against = against or abscissa(table)
    by = [key for key in by if key != against]
    what, unit = in_words(metric)
    figure, axes = style.figure(f"{what} against {against}" if title is None else title)
    groups = list(table.groupby(by, dropna=False)) if by else [((), table)]
    reach, drawn = [], set()
    for number, (values, group) in enumerate(groups):
        points = _points(group, against)
        label = group_label(by, values) + _count(points) if number < NAMED_GROUPS else None
        reach += _draw_points(axes, points, label, number)
        for name in LAWS.values():
            if np.isfinite(points[name]).any():
                _draw_law(axes, points[name], number)
                reach.append(points[name].to_numpy())
                drawn.add(name)
                break
    if len(groups) > NAMED_GROUPS:
        axes.plot([], [], " ", label=f"and {len(groups) - NAMED_GROUPS} more")
    if drawn:
        axes.plot([], [], "--", color="black", lw=1.1, label=" or ".join(sorted(drawn)))
    _scale(axes, np.unique(table[against].to_numpy(dtype=float)))
    axes.set_xlabel(against)
    axes.set_ylabel(textwrap.fill(f"{what}, {unit}" if unit else what, AXIS_LETTERS))
    style.widen(axes, reach, least=0.02)
    style.arrange(figure)
    return figure


def in_words(metric: str) -> tuple[str, str]:
    """A column of numbers in words, and its unit, "" where it is not known."""
    for prefix, law in LAWS.items():
        if metric.startswith(prefix):
            what, unit = in_words(metric.removeprefix(prefix))
            return f"{what}, {law}", unit
    return METRICS.get(metric, (metric.replace("_", " "), ""))


def group_label(by: Sequence[str], values: Sequence[Any]) -> str:
    """("model", "width", "init.beta"), ("aol", 64, NaN) -> "aol, width 64"."""
    known = [
        str(value) if key in CHOICES else f"{key} {value}"
        for key, value in zip(by, values, strict=True)
        if not pd.isna(value)
    ]
    return ", ".join(known or [f"no {key}" for key in by] or ["all runs"])


def _numbers(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    return pd.to_numeric(table[column]).astype(float)


def _points(group: pd.DataFrame, against: str) -> pd.DataFrame:
    """Of the runs at each abscissa: mean, spread, n, whether n seeds, and the laws."""
    at = group.groupby(group[against].astype(float))
    points = at["_metric"].agg(mean="mean", spread="std", n="count")
    points["seeds"] = at["seed"].nunique() == points["n"] if "seed" in group else False
    for name in LAWS.values():
        points[name] = at[name].apply(_one)
    return points


def _one(laws: pd.Series) -> float:
    """The law of runs that all have the same one; else NaN, for a mean of laws is no law."""
    values = laws.to_numpy()
    return values[0] if np.ptp(values) <= ONE_LAW else np.nan


def _count(points: pd.DataFrame) -> str:
    """What a group's label says of n: nothing where every marker is of one run."""
    least, most = points["n"].min(), points["n"].max()
    if most == 1:
        return ""
    n = f"{most}" if least == most else f"{least}–{most}"
    return f", n = {n} {'seeds' if points['seeds'].all() else 'runs'}"


def _draw_points(
    axes: Axes, points: pd.DataFrame, label: str | None, number: int
) -> list[np.ndarray]:
    """Draws the measured values of group ``number``; returns what the y axis must hold."""
    colour = style.PALETTE[number % len(style.PALETTE)]
    marker = style.MARKERS[number % len(style.MARKERS)]
    look = {"marker": marker, "ms": 4.5, "mfc": "none", "mew": 1.0}  # what lies below shows through
    axes.plot(points.index, points["mean"], color=colour, lw=0.8, label=label, **look)
    several = points[points["n"] > 1]
    if len(several):
        bars = {"fmt": "none", "ecolor": colour, "elinewidth": 0.8, "capsize": 2}
        axes.errorbar(several.index, several["mean"], several["spread"], **bars)
    spread = points["spread"].fillna(0.0)
    return [(points["mean"] - spread).to_numpy(), (points["mean"] + spread).to_numpy()]


def _draw_law(axes: Axes, law: pd.Series, number: int) -> None:
    """Dashed; where the law is known at one abscissa alone, a dash."""
    colour = style.PALETTE[number % len(style.PALETTE)]
    if np.isfinite(law).sum() > 1:
        axes.plot(law.index, law, "--", color=colour, lw=1.1, zorder=3)
    else:
        axes.plot(law.index, law, "_", color=colour, ms=9, zorder=3)


def _scale(axes: Axes, x: np.ndarray) -> None:
    """Limits around the abscissae x, ascending; logarithmic for a sweep over decades."""
    first, last = x[0], x[-1]
    if last >= LOGARITHMIC * first > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        margin = (last / first) ** MARGIN
        axes.set_xlim(first / margin, last * margin)
    else:
        style.whole_numbers(axes)
        margin = (last - first) * MARGIN or 1.0
        axes.set_xlim(first - margin, last + margin)
    if len(x) <= LISTED_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(x))
