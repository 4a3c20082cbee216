"""One style for every plot: a column of print, colours that colour-blind readers can tell apart.

Figures are made without pyplot, which keeps a global state and is slow to import, and with margins
in inches instead of a layout engine, which draws every figure twice.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lipexp.files import write_bytes

# Okabe & Ito's palette, without its yellow, which is too faint for a line on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
GREY = "#555555"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

COLUMN = 3.5  # inches, the width of one column of print
DPI = 200
# Inches.  LEFT holds the tick label -12000 and the axis label beside it.
LEFT, RIGHT, BOTTOM, EDGE, GAP = 0.68, 0.12, 0.42, 0.08, 0.1
TITLE_LINE, NOTE_LINE, LEGEND_LINE = 0.14, 0.12, 0.145
TITLE_LETTERS, NOTE_LETTERS = 64, 80  # of a line
LEGEND_LETTERS = 30  # of an entry that has another beside it

_SETTINGS = {
    "font.size": 8,
    "figure.titlesize": 7.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.parse_math": False,  # labels are Unicode: parsing formulas costs 0.1 s
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],  # ships with matplotlib: the same picture on every machine
}

# Decorates a function that makes a figure; someone's matplotlibrc is put back afterwards.
styled = matplotlib.rc_context(_SETTINGS)


def figure(title: str, *, height: float = 2.3) -> tuple[Figure, Axes]:
    """An empty figure of one column with one pair of axes, ``height`` inches high.

    Call it inside a function that is ``styled``, and ``arrange`` it when all lines are drawn.
    """
    made, (axes,) = panels(title, rows=1, columns=1, height=height)
    return made, axes


def panels(title: str, *, rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of one column with a grid of axes that share both scales, each ``height`` high."""
    made = Figure(figsize=(COLUMN, rows * (height + GAP)))
    FigureCanvasAgg(made)
    made.suptitle(textwrap.fill(title, TITLE_LETTERS), ha="left", va="top")
    grid = made.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return made, list(grid.flat)


def arrange(figure: Figure, *notes: str, bottom: float = BOTTOM) -> None:
    """Sets the margins, in inches, around axes that keep their height, and puts the legend of the
    first axes between title and axes, where it covers no data; in small under the title those of
    ``notes`` that are not empty.  ``bottom``: inches below the axes.
    """
    axes = figure.axes[0]
    grid = axes.get_subplotspec().get_gridspec()
    inside = figure.get_figheight() - grid.nrows * GAP
    entries = legend_entries([axes])
    columns = 1 if max(map(len, entries), default=0) > LEGEND_LETTERS else 2
    lines = [label.count("\n") + 1 for label in entries]  # matplotlib fills column by column
    each = -(-len(lines) // columns)
    rows = max((sum(lines[k : k + each]) for k in range(0, len(lines), each or 1)), default=0)
    note = textwrap.fill("; ".join(filter(None, notes)), NOTE_LETTERS)
    _, under_note = head(figure, note)
    top = under_note + LEGEND_LINE * rows + 1.5 * GAP
    height = top + inside + (grid.nrows - 1) * GAP + bottom
    figure.set_figheight(height)
    figure.subplots_adjust(
        left=LEFT / COLUMN,
        right=1 - RIGHT / COLUMN,
        bottom=bottom / height,
        top=1 - top / height,
        hspace=GAP * grid.nrows / inside,
        wspace=0.1,
    )
    write_head(figure, note, entries, columns)


def legend_entries(all_axes: Iterable[Axes]) -> dict[str, Artist]:
    """The labelled artists by their labels; of the same label the first."""
    entries: dict[str, Artist] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries


def head(figure: Figure, note: str) -> tuple[float, float]:
    """Inches from the upper edge to what stands under the title, and under the note."""
    title = figure.get_suptitle()
    under_title = EDGE + TITLE_LINE * (title.count("\n") + 1 if title else 0)
    return under_title, under_title + (NOTE_LINE * (note.count("\n") + 1) if note else 0)


def write_head(figure: Figure, note: str, entries: Mapping[str, Artist], columns: int) -> None:
    """Title, note in small and legend at the upper edge of a figure that has its final height."""
    width, height = figure.get_size_inches()
    left, title = EDGE / width, figure.get_suptitle()
    under_title, under_note = head(figure, note)
    if title:
        figure.suptitle(title, x=left, y=1 - EDGE / height, ha="left", va="top")
    if note:
        place = left, 1 - under_title / height
        figure.text(*place, note, ha="left", va="top", fontsize=6, color=GREY)
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="upper left",
            bbox_to_anchor=(left, 1 - (under_note + GAP / 2) / height),
            borderaxespad=0.0,
            borderpad=0.0,
            ncols=columns,
        )


def eps_label(name: str) -> str:
    """Of a perturbation size, a text such as "36/255", as it was asked for."""
    return f"ε = {name}"


def eps_colour(position: int) -> str:
    """Of the eps at that position of an ascending list: the same one in every picture of a run."""
    others = PALETTE[1:]  # the first is the clean accuracy's
    return others[position % len(others)]


def widen(axes: Axes, values: Iterable[np.ndarray], least: float = 0.5) -> None:
    """y limits around the finite values with a span of at least ``least``: rounding stays flat."""
    finite = np.concatenate([np.ravel(part) for part in values] or [np.empty(0)])
    finite = finite[np.isfinite(finite)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    middle, half = (low + high) / 2, max((high - low) * 1.08, least) / 2
    axes.set_ylim(middle - half, middle + half)


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))


def save(figure: Figure, path: str | Path) -> None:
    """Writes a PNG under a temporary name and renames it; the same figure gives the same bytes."""
    path = Path(path)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(content.getbuffer(), path)
