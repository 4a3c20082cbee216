"""Runs in groups against depth or width: a marker per abscissa and group, its label, its spread."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from lipexp.plots import style

CHOICES = ("task", "model", "network", "init", "activation", "dataset")  # speak for themselves
LABEL_LETTERS = 60
NAMED_GROUPS = 16  # beyond which the legend would be larger than the plot
LOGARITHMIC = 8  # ratio of the largest to the smallest abscissa from which the axis is logarithmic
MARGIN = 0.08  # share of the x axis on each side of the markers
LISTED_TICKS = 7  # up to so many depths or widths, each has its own tick


def abscissa(table: pd.DataFrame) -> str:
    """What varies over the runs: depth, else width, else depth."""
    varies = [key for key in ("depth", "width") if table[key].nunique() > 1]
    return varies[0] if varies else "depth"


def split(table: pd.DataFrame, by: Sequence[str]) -> list[tuple[Any, pd.DataFrame]]:
    """(values of ``by``, runs) of every group; a missing value is a value."""
    return list(table.groupby(list(by), dropna=False)) if by else [((), table)]


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


def points(group: pd.DataFrame, against: str, metric: str) -> pd.DataFrame:
    """Of the runs at each abscissa: mean, spread, n, and whether n is a number of seeds."""
    at = group.groupby(group[against].astype(float))
    found = at[metric].agg(mean="mean", spread="std", n="count")
    found["seeds"] = at["seed"].nunique() == found["n"] if "seed" in group else False
    return found


def count(points: pd.DataFrame) -> str:
    """What a group's label says of n: nothing where every marker is of one run."""
    least, most = points["n"].min(), points["n"].max()
    if most == 1:
        return ""
    n = f"{most}" if least == most else f"{least}–{most}"
    return f", n = {n} {'seeds' if points['seeds'].all() else 'runs'}"


def draw(axes: Axes, points: pd.DataFrame, label: str | None, number: int) -> list[np.ndarray]:
    """Draws group ``number``, one standard deviation to each side of a mean; what y must hold."""
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


def name_the_rest(axes: Axes, groups: int) -> None:
    """An entry in the legend for the groups that have none of their own."""
    if groups > NAMED_GROUPS:
        axes.plot([], [], " ", label=f"and {groups - NAMED_GROUPS} more")


def scale(axes: Axes, x: np.ndarray) -> None:
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
