"""What a probe saw, layer by layer: the signal on its way up, the gradient on its way down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lipexp.plots import style
from lipexp.plots.densities import draw_densities

VISIBLE = 0.004  # share of the y range below which two lines are one to the eye
COVERED = 0.01  # share of the y range within which a thin line lies beneath a thick one
FAR = 1.5  # spans beyond which a second line would squeeze the first to nothing
LEAST_SPAN = 2.0  # decades; a flat line cannot be squeezed


@dataclass(frozen=True)
class _Curve:
    """One column of layers.csv: hidden layers and head apart.

    ``each``: (layers, replicates); ``mean``: over replicates, of the logarithms, which is what the
    law of one typical network speaks of, and finite where one of many networks dominates a mean.
    """

    layers: np.ndarray
    each: np.ndarray
    mean: np.ndarray
    head: tuple[int, float] | None

    @property
    def drawn(self) -> np.ndarray:
        """The mean with gaps where there is nothing to draw."""
        return _gaps(self.mean)

    @property
    def known(self) -> bool:
        """Something is known of it beyond where it starts, which a law without a rate has too."""
        return np.isfinite(self.mean).sum() >= min(3, self.mean.size)

    def range(self) -> np.ndarray:
        head = [] if self.head is None else [self.head[1]]
        return np.concatenate([_gaps(self.each).ravel(), self.drawn, head])


def _gaps(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _curve(table: pd.DataFrame, column: str) -> _Curve:
    """A column by layer and replicate; of a training, at the last epoch of the table."""
    table = table[table["epoch"] == table["epoch"].max()]
    each = table.pivot(index="layer", columns="replicate", values=column).astype(float)
    mean = each.mean(axis=1)
    heads = sorted(set(table.loc[table["name"] == "head", "layer"]))
    head = None
    if heads and np.isfinite(mean[heads[0]]):
        head = int(heads[0]), float(mean[heads[0]])
    body = ~each.index.isin(heads)
    return _Curve(each.index.to_numpy()[body], each.to_numpy()[body], mean.to_numpy()[body], head)


def _draw(axes: Axes, curve: _Curve, label: str, colour: str, thin: bool = False) -> None:
    """The mean, each network as a faint line behind it, and the head as a hollow marker."""
    if curve.each.shape[1] > 1:
        lines = [np.column_stack([curve.layers, one]) for one in _gaps(curve.each).T]
        axes.add_collection(
            LineCollection(lines, colors=colour, linewidths=0.5, alpha=0.35, zorder=1.5)
        )
    dead = curve.layers[np.isneginf(curve.mean)]
    if dead.size:
        label += f" (0 at {dead[0]})" if dead.size == 1 else f" (0 at {dead[0]}–{dead[-1]})"
    marker = "o" if curve.mean.size <= 12 else None
    look = {"lw": 0.9, "zorder": 1.8} if thin else {}
    axes.plot(curve.layers, curve.drawn, color=colour, marker=marker, ms=2.5, label=label, **look)
    if curve.head is not None:
        axes.plot(*curve.head, "D", mfc="white", mec=colour, ms=4, mew=1.0, zorder=3, label="head")


def _draw_laws(axes: Axes, table: pd.DataFrame, quantity: str, span: float) -> list[np.ndarray]:
    """The law in expectation dashed, of one typical network dotted; one line where they agree."""
    expected = _curve(table, f"predicted_{quantity}")
    typical = _curve(table, f"predicted_typical_{quantity}")
    agree = False
    if expected.known and typical.known:
        agree = _distance(expected, typical) <= VISIBLE * span
    drawn = []
    if expected.known:
        label = "law" if agree else "law (expectation)"
        axes.plot(expected.layers, expected.drawn, "--", color="black", lw=0.9, label=label)
        drawn.append(expected.drawn)
    if typical.known and not agree:
        label = "law (typical network)"
        axes.plot(typical.layers, typical.drawn, ":", color="black", lw=1.1, label=label)
        drawn.append(typical.drawn)
    return drawn


def _distance(first: _Curve, second: _Curve) -> float:
    """The largest vertical distance of two lines; infinite where only one of them is."""
    a, b = np.isfinite(first.mean), np.isfinite(second.mean)
    if not np.array_equal(a, b):
        return np.inf
    return float(np.abs(first.mean[a] - second.mean[a]).max(initial=0.0))


def _beside(second: _Curve, first: _Curve) -> tuple[str, bool]:
    """The label of ∂/∂W beside ∂/∂z, and whether the y range is to hold it."""
    low, high = _ends(first)
    span = max(high - low, LEAST_SPAN)
    lowest, highest = _ends(second)
    if max(low - lowest, highest - high) > FAR * span:
        return f"∂/∂W near 1e{np.nanmedian(second.drawn):+.0f}, not shown", False
    apart = np.abs(second.drawn - first.drawn)
    apart = apart[np.isfinite(apart)]
    covered = apart.size > 0 and apart.max() <= COVERED * span
    return "∂/∂W, beneath ∂/∂z" if covered else "∂/∂W, measured", True


def _ends(curve: _Curve) -> tuple[float, float]:
    """The lowest and the highest finite value; (0, 0) where there is none."""
    values = curve.range()
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _measured(curve: _Curve) -> str:
    count = curve.each.shape[1]
    return "measured" if count == 1 else f"measured, {count} networks"


def _span(*curves: _Curve) -> float:
    lows, highs = zip(*map(_ends, curves), strict=True)
    return max(highs) - min(lows)


def _finish(axes: Axes, values: list[np.ndarray], label: str, note: str) -> None:
    axes.set_xlabel("layer")
    axes.set_ylabel(label)
    style.whole_numbers(axes)
    style.widen(axes, values)
    style.arrange(axes.figure, note)


@style.styled
def forward(table: pd.DataFrame, title: str, note: str = "") -> Figure:
    """log10 second moment of z_l against the layer l, with its laws; layer 0 is the input.

    ``table`` has the columns of layers.csv.  The line is the mean of the logarithm over replicates.
    The variance over inputs is drawn where it can be told from the second moment; the head, where
    it took part, is a hollow marker.  A moment of 0 (log10 -inf) leaves a gap; the legend says so.
    ``note`` stands in small under the title.
    """
    moment = _curve(table, "log10_second_moment")
    variance = _curve(table, "log10_variance")
    span = _span(moment, variance)
    both = variance.known and not _distance(moment, variance) <= max(VISIBLE * span, 0.005)
    figure, axes = style.figure(title)
    _draw(axes, moment, "signal z, " + _measured(moment), style.BLUE)
    values = [moment.range()]
    if both:
        _draw(axes, variance, "variance over inputs", style.VERMILION)
        values.append(variance.range())
    values += _draw_laws(axes, table, "log10_second_moment", span)
    _finish(axes, values, "log₁₀ mean square", note)
    return figure


@style.styled
def backward(table: pd.DataFrame, title: str, note: str = "") -> Figure:
    """log10 second moment of the gradient at z_l against the layer l, with its laws.

    Beside it, thin, that of the gradient with respect to the layer's free weight, summed over
    inputs; where that is so far off that it would flatten the rest, the legend says where it is.
    Otherwise as `forward`.
    """
    gradient = _curve(table, "log10_gradient_second_moment")
    weights = _curve(table, "log10_weight_gradient_second_moment")
    figure, axes = style.figure(title)
    _draw(axes, gradient, "∂/∂z, " + _measured(gradient), style.BLUE)
    values = [gradient.range()]
    if weights.known:
        label, shown = _beside(weights, gradient)
        _draw(axes, weights, label, style.GREEN, thin=True)
        values += [weights.range()] if shown else []
    values += _draw_laws(axes, table, "log10_gradient_second_moment", _span(gradient))
    _finish(axes, values, "log₁₀ mean square of gradient", note)
    return figure


@style.styled
def histograms(histograms: Sequence[Any], title: str, note: str = "") -> Figure:
    """Densities of z / rms(z), one panel per histogram, with the standard normal density dashed.

    Each histogram has ``layer``, ``edges`` (bins + 1) and ``counts`` (networks, bins); a density is
    of what lies within the edges.  Raises ValueError where there is none.
    """
    if not histograms:
        raise ValueError("histograms must hold at least one histogram. Got none.")
    columns = min(len(histograms), 2 if len(histograms) == 4 else 3)
    rows = -(-len(histograms) // columns)
    figure, grid = style.panels(title, rows=rows, columns=columns, height=1.0)
    densities = [(histogram.edges, _density(histogram)) for histogram in histograms]
    peak = draw_densities(grid, columns, densities, "z / rms(z)")
    for axes, histogram in zip(grid, histograms, strict=False):
        axes.text(0.04, 0.96, f"layer {histogram.layer}", va="top", transform=axes.transAxes)
    grid[0].set_ylim(0, 1.25 * peak)
    style.arrange(figure, note)
    figure.supxlabel("z / rms(z)", fontsize=8, y=0.02)
    figure.supylabel("density", fontsize=8, x=0.02)
    return figure


def _density(histogram: Any) -> np.ndarray:
    widths = np.diff(histogram.edges)
    counts = np.atleast_2d(histogram.counts).sum(0)
    total = counts.sum()
    return counts / (widths * total) if total else np.zeros(len(widths))
