"""The atlas as a heat map: layer and init by row, activation by column, the rate in the cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.plots import style
from lipexp.theory.weights import GAUSSIAN_INITS, IID_INITS, UNIFORM_INITS

GAP, LABELS, EDGE = 0.14, 1.78, 0.08  # inches
# Inches, of one line of panels and of several, which have to fit on a page: a row's height, and the
# room above a panel, where the activations' names stand upright in several.
ONE_LINE, LINES = (0.155, 0.42), (0.118, 0.66)
NOTHING = "#DDDDDD"  # a combination that is not allowed
DARKEST = 1.5  # decades per layer
ALIKE = 0.02  # decades per layer: hardly more than a cell's last digit
DECAY = LinearSegmentedColormap.from_list("decay", ["#FFF3E0", "#F0B060", "#C05000", "#5A1E00"])
GROWTH = LinearSegmentedColormap.from_list("growth", ["#F4EAF1", "#CC79A7", "#6B2A50"])


@dataclass(frozen=True)
class Row:
    """One line of the map: a layer, and inits whose laws are alike."""

    layer: str
    inits: tuple[str, ...]

    @property
    def label(self) -> str:
        """The inits in a few words."""
        for names, word in _FAMILIES.items():
            if set(self.inits) == set(names):
                return f"{word} ({len(names)})"
        if set(IID_INITS) < set(self.inits):
            return f"any ({len(self.inits)})"
        return ", ".join(self.inits)


_FAMILIES = {IID_INITS: "any iid", GAUSSIAN_INITS: "Gaussian", UNIFORM_INITS: "uniform"}


@dataclass(frozen=True)
class Panel:
    """A block of columns: what is shown of which networks."""

    title: str
    width: int
    bias: str
    way: str


def panels(table: pd.DataFrame) -> list[list[Panel]]:
    """By line of the page.  Zero bias, both ways at one width, or forward at each of several;
    then, at the first width, what a bias leaves of the difference of inputs.
    """
    widths = sorted(set(table["width"]))
    if len(widths) == 1:
        ways = ("forward", "signal"), ("backward", "gradient")
        first = [Panel(f"{word}, width {widths[0]}", widths[0], "zero", way) for way, word in ways]
    else:
        first = [Panel(f"signal, width {width}", width, "zero", "forward") for width in widths]
    biases = [bias for bias in dict.fromkeys(table["bias"]) if bias not in ("zero", "none")]
    second = [
        Panel(f"bias {bias}, width {widths[0]}", widths[0], bias, "forward") for bias in biases
    ]
    return [first, second] if second else [first]


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Layers in their order, inits together whose laws agree to ALIKE for every activation."""
    first = table[(table["width"] == table["width"].iloc[0]) & (table["bias"] == "zero")]
    known = [f"{way}_{kind}" for way in ("forward", "backward") for kind in ("law", "typical")]
    found: list[tuple[str, np.ndarray, list[str]]] = []
    for (layer, init), part in first.groupby(["layer", "init"], sort=False):
        laws = part[known].to_numpy()
        for other, theirs, inits in found:
            if other == layer and _alike(laws, theirs):
                inits.append(init)
                break
        else:
            found.append((layer, laws, [init]))
    return [Row(layer, tuple(inits)) for layer, _, inits in found]


def _alike(laws: np.ndarray, others: np.ndarray) -> bool:
    """Whether there are laws, and the same ones; a typical rate may be known of one init alone."""
    if laws.shape != others.shape or np.isnan(laws).all() or np.isnan(others).all():
        return False
    return np.allclose(laws, others, rtol=0, atol=ALIKE, equal_nan=True)


def rate_text(rate: float) -> str:
    """Two digits behind the point, three where that would hide a rate; "" for what is no number."""
    if not math.isfinite(rate):
        return ""
    if abs(rate) < 5e-4:
        return "0"
    text = f"{rate:+.{3 if abs(rate) < 0.0995 else 2}f}"
    return text.replace("0.", ".", 1).replace("-", "−")


@style.styled
def heat_map(table: pd.DataFrame, title: str, note: str) -> Figure:
    """One page wide: a cell per layer, init and activation."""
    lines, rows = panels(table), rows_of(table)
    activations = list(dict.fromkeys(table["activation"]))
    row_height, head = ONE_LINE if len(lines) == 1 else LINES
    block = len(rows) * row_height
    height = EDGE + style.TITLE_LINE * 1.6
    height += style.NOTE_LINE * (note.count("\n") + 1) + len(lines) * (head + block) + EDGE
    figure = Figure(figsize=(page.TWO, height))
    FigureCanvasAgg(figure)
    top = EDGE
    left = EDGE / page.TWO
    figure.suptitle(title, x=left, y=1 - top / height, ha="left", va="top")
    top += style.TITLE_LINE * 1.3
    figure.text(left, 1 - top / height, note, ha="left", va="top", fontsize=6, color=style.GREY)
    top += style.NOTE_LINE * (note.count("\n") + 1)
    for line in lines:
        top += head
        breadth = (page.TWO - LABELS - EDGE - (len(line) - 1) * GAP) / len(line)
        for number, panel in enumerate(line):
            place = [
                (LABELS + number * (breadth + GAP)) / page.TWO,
                1 - (top + block) / height,
                breadth / page.TWO,
                block / height,
            ]
            axes = figure.add_axes(place)
            _panel(axes, table, panel, rows, activations, breadth / len(activations))
            if number == 0:
                _labels(axes, rows)
        top += block
    return figure


def _panel(axes, table, panel: Panel, rows: Sequence[Row], activations, breadth: float) -> None:
    part = table[(table["width"] == panel.width) & (table["bias"] == panel.bias)]
    cells = part.set_index(["layer", "init", "activation"])
    size = 6.0 if breadth > 0.34 else 4.6
    for y, row in enumerate(rows):
        for x, activation in enumerate(activations):
            keys = [(row.layer, init, activation) for init in row.inits]
            here = cells.loc[[key for key in keys if key in cells.index]]
            _cell(axes, x, y, here, panel.way, size)
    axes.set(xlim=(0, len(activations)), ylim=(len(rows), 0), yticks=[])
    axes.set_xticks([x + 0.5 for x in range(len(activations))])
    names = [name.replace("leaky_relu", "leaky") for name in activations]
    axes.set_xticklabels(names, rotation=0 if breadth > 0.4 else 90, fontsize=6)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=1.5)
    axes.set_title(panel.title, fontsize=7, pad=4)
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    for y in _starts(rows):
        axes.axhline(y, color="black", lw=0.5, clip_on=False)


def _cell(axes, x: int, y: int, here: pd.DataFrame, way: str, size: float) -> None:
    box = {"xy": (x, y), "width": 1, "height": 1, "lw": 0.4, "ec": "white"}
    if here.empty:
        axes.add_patch(matplotlib.patches.Rectangle(**box, fc=NOTHING))
        return
    rate = float(here[way].mean())
    carries = bool(here["carries"].all())
    face = to_rgb(style.BLUE) if carries else _colour(rate)
    axes.add_patch(matplotlib.patches.Rectangle(**box, fc=face))
    dark = carries or sum(c * w for c, w in zip(face, (0.3, 0.59, 0.11), strict=True)) < 0.5
    axes.text(
        x + 0.5,
        y + 0.53,
        rate_text(rate),
        ha="center",
        va="center",
        fontsize=size,
        color="white" if dark else "black",
        fontweight="bold" if carries else "normal",
    )


def _colour(rate: float) -> tuple[float, float, float]:
    if math.isnan(rate):
        return to_rgb(NOTHING)
    colours = DECAY if rate <= 0 else GROWTH
    return colours(math.sqrt(min(abs(rate) / DARKEST, 1.0)))[:3]


def _starts(rows: Sequence[Row]) -> list[int]:
    """Where a layer's rows begin, and the end."""
    layers = [row.layer for row in rows]
    return [y for y in range(len(rows)) if y == 0 or layers[y] != layers[y - 1]] + [len(rows)]


def _labels(axes, rows: Sequence[Row]) -> None:
    """Inits beside the rows, and each layer's name once, at its first row."""
    inch = 1 / (axes.get_position().width * page.TWO) * axes.get_xlim()[1]
    for y, row in enumerate(rows):
        axes.text(-0.05 * inch, y + 0.53, row.label, ha="right", va="center", fontsize=6)
    for y in _starts(rows)[:-1]:
        name = rows[y].layer.replace("sll_feedforward", "sll_ff")
        axes.text(
            (EDGE - LABELS) * inch, y + 0.53, name, va="center", fontsize=6.5, fontweight="bold"
        )
        axes.plot([(EDGE - LABELS) * inch, 0], [y, y], color="black", lw=0.5, clip_on=False)
