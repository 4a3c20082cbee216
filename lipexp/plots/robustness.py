"""Clean and certified accuracy of many trained runs against depth, width or init."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp import rationals
from lipexp.plots import abscissae, groups, style
from lipexp.plots.panels import stacked
from lipexp.plots.series import series

PANEL = 1.0  # inches, its height
MOST_EPS = 5  # panels for so many radii
EDGE = 0.05  # share of the y range that keeps markers from the ends of a panel
LEAST_SPAN = 1.0  # per cent; what differs by a tenth of it is noise


@style.styled
def robustness(
    runs: pd.DataFrame,
    by: Sequence[str] = ("model", "init"),
    note: str = "",
) -> Figure:
    """A panel for test accuracy and one for each cra_<eps>, in per cent, against what varies.

    ``runs`` has one row per trained run, ``by`` names columns of it; what varies is depth, width or
    init.  A marker is the mean over a group's runs, bar and band one standard deviation to each
    side where there are several; of a radius that not all of a marker's runs have there is none, as
    in `lipexp.runs.collect.tables.accuracies`.  Of many eps the ends and some between them are
    drawn.  Raises ValueError where no run has a test accuracy.
    """
    runs = runs[runs["test_accuracy"].notna()]
    if runs.empty:
        raise ValueError("at least one run must have a test accuracy. Got none.")
    against = abscissae.abscissa(runs)
    runs = _of_all(runs, list(dict.fromkeys([*by, *abscissae.told(runs, against)])))
    some = runs.select_dtypes("number").dropna(axis="columns", how="all")
    known = rationals.suffixes(some, "cra_")
    places = np.linspace(0, len(known) - 1, min(len(known), MOST_EPS)).round().astype(int)
    metrics = {"test_accuracy": "clean, %"}
    metrics |= {f"cra_{known[place]}": f"CRA at {known[place]}, %" for place in places}
    title = f"accuracy, clean and certified, against {against}"
    figure, panels = stacked(title, [PANEL] * len(metrics))
    every = series(runs, by, "test_accuracy", against)
    numbers = {group.name: number for number, group in enumerate(every.groups)}
    several = False
    for axes, (metric, label) in zip(panels, metrics.items(), strict=True):
        shown = series(runs, by, metric, against)
        reach = []
        for group in shown.groups:
            number = numbers[group.name]
            name = group.label if number < groups.NAMED_GROUPS else None
            per_cent = group.points.assign(
                mean=100 * group.points["mean"], spread=100 * group.points["spread"]
            )
            reach += groups.draw(axes, per_cent, name, number, joined=not every.ticks)
            several |= bool((per_cent["n"] > 1).any())
        style.widen(axes, reach, LEAST_SPAN)
        low, high = axes.get_ylim()
        axes.set_ylim(low - EDGE * (high - low), high + EDGE * (high - low))
        axes.set_ylabel(label)
    groups.name_the_rest(panels[0], len(every.groups))
    bottom = groups.name_axis(panels[-1], every)
    undrawn = len(known) - len(places)
    style.arrange(
        figure,
        note,
        "bars: one standard deviation" if several else "",
        f"{undrawn} more ε not drawn" if undrawn else "",
        bottom=bottom,
    )
    figure.align_ylabels()
    return figure


def _of_all(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The runs; what not all that agree in ``keys`` have is missing in each of them."""
    at = runs.groupby(list(keys), dropna=False)
    shares = [column for column in runs if column.startswith("cra_")]
    n = at["test_accuracy"].transform("count")
    whole = {column: at[column].transform("count") == n for column in shares}
    return runs.assign(**{column: runs[column].where(kept) for column, kept in whole.items()})
