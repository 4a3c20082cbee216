"""A headline number of many runs against depth or width, the law beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from matplotlib.transforms import offset_copy

from lipexp.plots import style

AXIS_LABELS = {
    "decay_per_layer_forward": "Δ log₁₀ mean square of z, per layer",
    "decay_per_layer_backward": "Δ log₁₀ mean square of gradient, per layer",
    "input_variance_per_layer": "Δ log₁₀ variance over inputs, per layer",
    "half_life_layers_forward": "half-life of z, in layers",
    "half_life_layers_backward": "half-life of gradient, in layers",
}
CHOICES = ("task", "model", "network", "init", "activation", "dataset")  # speak for themselves
NAMED_GROUPS = 16  # beyond which the legend would be larger than the plot
LOGARITHMIC = 8  # ratio of the largest to the smallest abscissa from which the axis is logarithmic
MARGIN = 0.08  # share of the x axis on each side of the markers
DODGE = 2.5  # points between the markers of two groups at one abscissa
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
    each side; the law is that of a typical network where the table has it, else the one in
    expectation.  Runs without the metric are left out; raises ValueError if that is all of them.
    """
    table = table.assign(_metric=_numbers(table, metric), _law=_law(table, metric))
    table = table[np.isfinite(table["_metric"])]
    if table.empty:
        raise ValueError(f"at least one run must have {metric}. Got none.")
    against = against or abscissa(table)
    by = [key for key in by if key != against]
    figure, axes = style.figure(f"{metric} against {against}" if title is None else title)
    groups = list(table.groupby(by, dropna=False)) if by else [((), table)]
    reach, laws = [], []
    for number, (values, group) in enumerate(groups):
        label = group_label(by, values) if number < NAMED_GROUPS else None
        low, high, law = _draw_group(axes, group, against, label, number, len(groups))
        reach += [low, high, law]
        laws.append(law)
    if len(groups) > NAMED_GROUPS:
        axes.plot([], [], " ", label=f"and {len(groups) - NAMED_GROUPS} more")
    if np.isfinite(np.concatenate(laws)).any():
        axes.plot([], [], "--", color="black", lw=1.1, label="law")
    _scale(axes, np.unique(table[against].to_numpy(dtype=float)))
    axes.set_xlabel(against)
    axes.set_ylabel(AXIS_LABELS.get(metric, metric))
    style.widen(axes, reach, least=0.02)
    style.arrange(figure)
    return figure


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


def _law(table: pd.DataFrame, metric: str) -> pd.Series:
    typical = _numbers(table, f"predicted_typical_{metric}")
    return typical.fillna(_numbers(table, f"predicted_{metric}"))


def _draw_group(
    axes: Axes, group: pd.DataFrame, against: str, label: str | None, number: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws group ``number`` of ``count``; returns the bars' lower and upper ends, and the law."""
    colour = style.PALETTE[number % len(style.PALETTE)]
    marker = style.MARKERS[number % len(style.MARKERS)]
    at = group.groupby(against)
    x = np.array(sorted(at.groups), dtype=float)
    mean = at["_metric"].mean().to_numpy()
    spread = np.nan_to_num(at["_metric"].std(ddof=1).to_numpy())  # of one run: none
    # A law that only some of the runs have is not the law of their mean.
    law = at["_law"].apply(lambda laws: laws.mean(skipna=False)).to_numpy()
    shift = (number - (count - 1) / 2) * min(DODGE, 5 * DODGE / count)
    beside = offset_copy(axes.transData, axes.figure, x=shift, units="points")
    axes.plot(x, mean, color=colour, marker=marker, ms=4, lw=0.8, label=label, transform=beside)
    axes.errorbar(
        x, mean, spread, fmt="none", ecolor=colour, elinewidth=0.8, capsize=2, transform=beside
    )
    if len(x) > 1:
        axes.plot(x, law, "--", color=colour, lw=1.1, zorder=3)
    else:  # one point makes no line
        axes.plot(x, law, "_", color=colour, ms=9, zorder=3, transform=beside)
    return mean - spread, mean + spread, law


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
