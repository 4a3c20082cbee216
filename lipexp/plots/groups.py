"""Runs in groups on a pair of axes: a marker per abscissa and group, its label, its spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from lipexp.plots import style
from lipexp.plots.series import Series

NAMED_GROUPS = 16  # beyond which the legend would be larger than the plot
LOGARITHMIC = 8  # ratio of the largest to the smallest abscissa from which the axis is logarithmic
MARGIN = 0.08  # share of the x axis on each side of the markers
LISTED_TICKS = 7  # up to so many depths or widths, each has its own tick
BAND = 0.15  # opacity of a spread
TILT = 35  # degrees, of an init's name below the axis
LETTER = 0.055  # inches, of such a name


def draw(
    axes: Axes, points: pd.DataFrame, label: str | None, number: int, joined: bool = True
) -> list[np.ndarray]:
    """Draws group ``number`` and returns what y must hold: one standard deviation to each side of a
    mean, as a bar, and as a band from one abscissa to the next.

    ``joined``: the abscissae are numbers, between which a line means something.
    """
    colour = style.PALETTE[number % len(style.PALETTE)]
    marker = style.MARKERS[number % len(style.MARKERS)]
    look = {"marker": marker, "ms": 4.5, "mfc": "none", "mew": 1.0}  # what lies below shows through
    line = "-" if joined else "none"
    axes.plot(points.index, points["mean"], ls=line, color=colour, lw=0.8, label=label, **look)
    several = points[points["n"] > 1]
    if len(several):
        bars = {"fmt": "none", "ecolor": colour, "elinewidth": 0.8, "capsize": 2}
        axes.errorbar(several.index, several["mean"], several["spread"], **bars)
    spread = points["spread"].fillna(0.0)
    ends = [(points["mean"] - spread).to_numpy(), (points["mean"] + spread).to_numpy()]
    spreads = (points["n"] > 1).to_numpy()
    if joined and (spreads[:-1] & spreads[1:]).any():
        band = {"color": colour, "alpha": BAND, "lw": 0, "zorder": 1}
        axes.fill_between(points.index, *ends, where=spreads, **band)
    return ends


def name_the_rest(axes: Axes, groups: int) -> None:
    """An entry in the legend for the groups that have none of their own."""
    if groups > NAMED_GROUPS:
        axes.plot([], [], " ", label=f"and {groups - NAMED_GROUPS} more")


def name_axis(axes: Axes, series: Series) -> float:
    """Label, limits and ticks of the x axis; inches that the ticks' names need below it."""
    axes.set_xlabel(series.against)
    if not series.ticks:
        scale(axes, series.x)
        return style.BOTTOM
    names = [name.replace("\n", " ") for name in series.ticks]
    turned = {"rotation": TILT, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, **turned)
    axes.set_xlim(-0.5, len(names) - 0.5)
    deep = np.sin(np.radians(TILT)) * LETTER * max(map(len, names))
    return style.BOTTOM + deep


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
