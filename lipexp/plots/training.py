"""A training epoch by epoch: loss, accuracy, learning rate, and the signal in the layers."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lipexp import rationals
from lipexp.plots import panels, style

LOSS, ACCURACY, RATE, MOMENT = 0.9, 1.7, 0.32, 1.4  # inches, the heights of panels
MARKED_POINTS = 12  # up to so many points of a line have a marker
LOGARITHMIC = 10  # ratio of the largest to the smallest loss from which its axis is logarithmic
LEAST_SPAN = 1.0  # per cent; what differs by a tenth of it is noise
ALL_EPOCHS, SOME_EPOCHS = 9, 6  # so many probed epochs are all in the legend, of more so many
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # no power of ten apart from its number
LIGHTEST = 0.35  # of the colour map's [0, 1], the first epoch's

# A split, its columns in metrics.csv, and its dashes.
SPLITS = (
    ("test", "test_accuracy", "estimated_cra_", "-"),
    ("validation", "validation_accuracy", "validation_estimated_cra_", ":"),
)


@style.styled
def learning_curves(metrics: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Training loss, accuracies in per cent, and the learning rate against the epoch.

    ``metrics`` has the columns of metrics.csv, one row per epoch.  Colours tell clean accuracy from
    the certified accuracy estimated at each eps, and are named at the ends of the lines; dashes
    tell training (means over an epoch's batches, while the network learns) from test and
    validation.  Values that are missing or not finite are left out.
    """
    figure, (loss, accuracy, rate) = panels.stacked(title, (LOSS, ACCURACY, RATE))
    learning = {"ls": "--", "mfc": "white"}
    losses = _draw(loss, metrics, "train_loss", color=style.BLACK, label="training", **learning)
    _scale_loss(loss, losses)
    names = rationals.suffixes(metrics, "estimated_cra_")
    reach = [_draw(accuracy, metrics, "train_accuracy", 100, color=style.BLUE, **learning)]
    ends = {}
    for split, clean, cra, dashes in SPLITS:
        columns = {"clean": clean} | {style.eps_label(name): cra + name for name in names}
        for position, (label, column) in enumerate(columns.items()):
            if column not in metrics:
                continue
            colour = style.eps_colour(position - 1) if position else style.BLUE
            values = _draw(accuracy, metrics, column, 100, color=colour, ls=dashes)
            reach.append(values)
            if values.size:
                ends.setdefault(label, (values.iloc[-1], values.index[-1], colour))
        if clean in metrics:
            loss.plot([], [], ls=dashes, lw=1.2, color=style.BLACK, label=split)
    style.widen(accuracy, reach, LEAST_SPAN)
    marker = "" if len(metrics) > 1 else "o"
    _draw(rate, metrics, "lr", color=style.GREY, lw=0.9, marker=marker)
    rate.set_ylim(0, None)
    rate.yaxis.set_major_locator(MaxNLocator(2))
    rate.yaxis.set_major_formatter(PLAIN)
    for axes, label in ((loss, "loss"), (accuracy, "accuracy, %"), (rate, "lr")):
        axes.set_ylabel(label)
    _scale_epochs(rate, metrics["epoch"].to_numpy(dtype=float))
    told = "at ε: certified accuracy as estimated while training" if names else ""
    style.arrange(figure, note, told)
    figure.align_ylabels()
    panels.label_ends(accuracy, ends)
    return figure


@style.styled
def layers_over_training(layers: pd.DataFrame, title: str, note: str = "") -> Figure:
    """log10 second moments of z_l and of its gradient against the layer, a line per probed epoch.

    ``layers`` has the columns of layers.csv with one or more epochs; a line is the mean over
    replicates and the darker the later.  The head, where it takes part, is a hollow marker.  A
    moment of 0 (log10 -inf) leaves a gap; the note says so.
    """
    figure, both = panels.stacked(title, (MOMENT, MOMENT))
    epochs = sorted(layers["epoch"].unique())
    shades = np.linspace(LIGHTEST, 1, len(epochs)) if len(epochs) > 1 else [1.0]
    colours = matplotlib.colormaps["Blues"](shades)
    named = len(epochs) if len(epochs) <= ALL_EPOCHS else SOME_EPOCHS
    listed = set(np.linspace(0, len(epochs) - 1, named).round().astype(int))
    columns = ("log10_second_moment", "log10_gradient_second_moment")
    dead = False
    for axes, column in zip(both, columns, strict=True):
        reach = []
        for number, epoch in enumerate(epochs):
            body, head = _moments(layers[layers["epoch"] == epoch], column)
            dead |= bool(np.isneginf([*body, *head]).any())
            body, head = (part.where(np.isfinite(part)) for part in (body, head))
            marker = "o" if body.size <= MARKED_POINTS else ""
            look = {"color": colours[number], "lw": 1.2, "marker": marker, "ms": 2.5}
            label = f"epoch {epoch}" if number in listed else None
            axes.plot(body.index, body, label=label, **look)
            look = {"ls": "", "marker": "D", "mfc": "white", "mec": colours[number], "ms": 3.5}
            axes.plot(head.index, head, **look)
            reach += [body.to_numpy(), head.to_numpy()]
        style.widen(axes, reach)
    both[0].set_ylabel("log₁₀ mean z²")
    both[1].set_ylabel("log₁₀ mean (∂/∂z)²")
    both[1].set_xlabel("layer")
    style.whole_numbers(both[1])
    if (layers["name"] == "head").any():
        both[0].plot([], [], "D", mfc="white", mec=colours[-1], ms=3.5, label="head")
    style.arrange(figure, note, "gaps: exactly 0" if dead else "")
    figure.align_ylabels()
    return figure


def _draw(axes: Axes, metrics: pd.DataFrame, column: str, factor: float = 1.0, **look) -> pd.Series:
    """Draws the finite values of a column against the epoch, and returns them."""
    values = factor * metrics.set_index("epoch")[column].astype(float)
    values = values[np.isfinite(values)]
    marker = "o" if len(metrics) <= MARKED_POINTS else ""
    axes.plot(values.index, values, **{"lw": 1.2, "marker": marker, "ms": 2.5, **look})
    return values


def _scale_loss(axes: Axes, losses: pd.Series) -> None:
    """From 0, or logarithmic where the loss falls over a decade."""
    low, high = losses.min(), losses.max()
    if not (low > 0 and high >= LOGARITHMIC * low):
        if not low < 0:
            axes.set_ylim(0, None)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return
    axes.set_yscale("log")
    digits = (1, 3) if high < 100 * low else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=digits))
    axes.yaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_minor_locator(NullLocator())


def _scale_epochs(axes: Axes, epochs: np.ndarray) -> None:
    first, last = (epochs.min(), epochs.max()) if epochs.size else (0.0, 1.0)
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.set_xlabel("epoch")
    style.whole_numbers(axes)


def _moments(layers: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    """(body, head) of one epoch: the column by layer, means over replicates."""
    is_head = layers["name"] == "head"
    body, head = (
        part.groupby("layer")[column].mean() for part in (layers[~is_head], layers[is_head])
    )
    return body.astype(float), head.astype(float)
