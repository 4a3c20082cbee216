"""A headline number of many runs against depth, width or init, the law beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipexp.plots import groups, style
from lipexp.plots.labels import in_words
from lipexp.plots.series import series

AXIS_LETTERS = 46  # of a line of the y axis' label


@style.styled
def decay(
    table: pd.DataFrame,
    by: Sequence[str] = ("model", "init"),
    metric: str = "decay_per_layer_forward",
    against: str | None = None,
) -> Figure:
    """``metric`` against depth, width or init: a marker per group, its spread, the law dashed.

    ``table`` has one row per run, ``by`` names its columns, ``against`` is what varies unless it is
    given.  A marker is the mean over a group's runs, bar and band one standard deviation to each
    side where there are several.  The law is that of `lipexp.plots.series`.  Runs without the
    metric are left out; raises ValueError if that is all of them.
    """
    shown = series(table, by, metric, against)
    what, unit = in_words(metric)
    figure, axes = style.figure(f"{what} against {shown.against}")
    reach = []
    for number, group in enumerate(shown.groups):
        label = group.label if number < groups.NAMED_GROUPS else None
        reach += groups.draw(axes, group.points, label, number, joined=not shown.ticks)
        if group.points["law"].notna().any():
            _draw_law(axes, group.points["law"], number, joined=not shown.ticks)
            reach.append(group.points["law"].to_numpy())
    groups.name_the_rest(axes, len(shown.groups))
    if shown.law:
        axes.plot([], [], "--", color="black", lw=1.1, label=shown.law)
    bottom = groups.name_axis(axes, shown)
    axes.set_ylabel(textwrap.fill(f"{what}, {unit}" if unit else what, AXIS_LETTERS))
    style.widen(axes, reach, least=0.02)
    style.arrange(figure, bottom=bottom)
    return figure


def _draw_law(axes: Axes, law: pd.Series, number: int, joined: bool) -> None:
    """Dashed; where the law is known at one abscissa alone, or between names, a dash."""
    colour = style.PALETTE[number % len(style.PALETTE)]
    if joined and np.isfinite(law).sum() > 1:
        axes.plot(law.index, law, "--", color=colour, lw=1.1, zorder=3)
    else:
        axes.plot(law.index, law, "_", color=colour, ms=9, zorder=3)
