"""Clean and certified accuracy of many trained runs against depth or width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp import rationals
from lipexp.plots import groups, style
from lipexp.plots.panels import stacked

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

    ``runs`` has one row per trained run, ``by`` names columns of it; what varies is depth or width.
    A marker is the mean over a group's runs, its bar one standard deviation to each side where
    there are several.  Of many eps the ends and some between them are drawn.  Raises ValueError
    where no run has a test accuracy.
    """
    runs = runs[runs["test_accuracy"].notna()]
    if runs.empty:
        raise ValueError("at least one run must have a test accuracy. Got none.")
    against = groups.abscissa(runs)
    by = [key for key in by if key != against]
    numbers = runs.select_dtypes("number").dropna(axis="columns", how="all")
    known = rationals.suffixes(numbers, "cra_")
    places = np.linspace(0, len(known) - 1, min(len(known), MOST_EPS)).round().astype(int)
    metrics = {"test_accuracy": "clean, %"}
    metrics |= {f"cra_{known[place]}": f"CRA at {known[place]}, %" for place in places}
    title = f"accuracy, clean and certified, against {against}"
    figure, panels = stacked(title, [PANEL] * len(metrics))
    found = groups.split(runs, by)
    several = False
    for axes, (metric, label) in zip(panels, metrics.items(), strict=True):
        reach = []
        for number, (values, group) in enumerate(found):
            group = group.assign(**{metric: 100 * group[metric].astype(float)}).dropna(
                subset=metric
            )
            if group.empty:
                continue
            points = groups.points(group, against, metric)
            named = number < groups.NAMED_GROUPS
            name = groups.label(by, values) + groups.count(points) if named else None
            reach += groups.draw(axes, points, name, number)
            several |= bool((points["n"] > 1).any())
        style.widen(axes, reach, LEAST_SPAN)
        low, high = axes.get_ylim()
        axes.set_ylim(low - EDGE * (high - low), high + EDGE * (high - low))
        axes.set_ylabel(label)
    groups.name_the_rest(panels[0], len(found))
    groups.scale(panels[-1], np.unique(runs[against].to_numpy(dtype=float)))
    panels[-1].set_xlabel(against)
    undrawn = len(known) - len(places)
    style.arrange(
        figure,
        note,
        "bars: one standard deviation" if several else "",
        f"{undrawn} more ε not drawn" if undrawn else "",
    )
    figure.align_ylabels()
    return figure
