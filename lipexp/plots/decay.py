"""A headline number of many runs against depth or width, the law beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipexp.plots import groups, style

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
AXIS_LETTERS = 46  # of a line of the y axis' label
ONE_LAW = 1e-3  # laws nearer than this are one: where a signal starts depends on the inputs drawn


@style.styled
def decay(
    table: pd.DataFrame,
    by: Sequence[str] = ("model", "init"),
    metric: str = "decay_per_layer_forward",
) -> Figure:
    """``metric`` against what varies, depth or width: a marker per group, the law dashed.

    ``table`` has one row per run, ``by`` names its columns.  A marker is the mean over a group's
    runs, its bar one standard deviation to each side where there are several.  The law is that of a
    typical network where the table has it, else the one in expectation, and is drawn where all runs
    of a marker have the same one.  Runs without the metric are left out; raises ValueError if that
    is all of them.
    """
    laws = {name: _numbers(table, prefix + metric) for prefix, name in LAWS.items()}
    table = table.assign(_metric=_numbers(table, metric), **laws)
    table = table[np.isfinite(table["_metric"])]
    if table.empty:
        raise ValueError(f"at least one run must have {metric}. Got none.")
    against = groups.abscissa(table)
    by = [key for key in by if key != against]
    what, unit = in_words(metric)
    figure, axes = style.figure(f"{what} against {against}")
    found = groups.split(table, by)
    reach, drawn = [], set()
    for number, (values, group) in enumerate(found):
        points = groups.points(group, against, "_metric")
        named = number < groups.NAMED_GROUPS
        label = groups.label(by, values) + groups.count(points) if named else None
        reach += groups.draw(axes, points, label, number)
        laws = _laws(group, against)
        for name in LAWS.values():
            if np.isfinite(laws[name]).any():
                _draw_law(axes, laws[name], number)
                reach.append(laws[name].to_numpy())
                drawn.add(name)
                break
    groups.name_the_rest(axes, len(found))
    if drawn:
        axes.plot([], [], "--", color="black", lw=1.1, label=" or ".join(sorted(drawn)))
    groups.scale(axes, np.unique(table[against].to_numpy(dtype=float)))
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


def _numbers(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    return pd.to_numeric(table[column]).astype(float)


def _laws(group: pd.DataFrame, against: str) -> pd.DataFrame:
    """The laws of the runs at each abscissa, by their names."""
    at = group.groupby(group[against].astype(float))
    return pd.DataFrame({name: at[name].apply(_one) for name in LAWS.values()})


def _one(laws: pd.Series) -> float:
    """The law of runs that all have the same one; else NaN, for a mean of laws is no law."""
    values = laws.to_numpy()
    return values[0] if np.ptp(values) <= ONE_LAW else np.nan


def _draw_law(axes: Axes, law: pd.Series, number: int) -> None:
    """Dashed; where the law is known at one abscissa alone, a dash."""
    colour = style.PALETTE[number % len(style.PALETTE)]
    if np.isfinite(law).sum() > 1:
        axes.plot(law.index, law, "--", color=colour, lw=1.1, zorder=3)
    else:
        axes.plot(law.index, law, "_", color=colour, ms=9, zorder=3)
