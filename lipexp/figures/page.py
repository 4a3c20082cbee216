"""Pages of print: figures of one column or two, margins in inches, legend above the axes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lipexp.plots import style

ONE, TWO = style.COLUMN, 7.0  # inches: the widths of one column of print and of two
LETTER = 0.05  # inches, of the legend's text
HANDLE = 0.42  # inches, of a line and the gaps beside it in the legend
LABELLED = 0.36  # inches between panels where the lower has tick labels or the upper an axis label
BESIDE = 0.72  # inches between panels side by side that have y axes of their own


def page(
    title: str,
    *,
    rows: int = 1,
    columns: int = 1,
    width: float = ONE,
    height: float = 2.2,
    sharex: bool = True,
    sharey: bool = True,
) -> tuple[Figure, list[Axes]]:
    """An empty figure ``width`` inches wide with a grid of axes, each ``height`` inches high.

    Call it inside a function that is ``style.styled``, and `arrange` it when all is drawn.
    """
    figure = Figure(figsize=(width, rows * height))
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, int(style.TITLE_LETTERS * width / ONE)))
    grid = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    return figure, list(grid.flat)


def arrange(figure: Figure, note: str = "", *, height: float = 2.2, shared: bool = True) -> None:
    """Title, note in small, legend of all axes, then the axes, each ``height`` inches high.

    ``shared``: panels have the axes' labels in common and stand close.
    """
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    width = figure.get_figwidth()
    entries = _legend_entries(figure.axes)
    columns = _legend_columns(list(entries), width - 2 * style.EDGE)
    title = figure.get_suptitle()
    note = textwrap.fill(note, int(style.NOTE_LETTERS * width / ONE))
    below_title = style.EDGE + style.TITLE_LINE * (title.count("\n") + 1)
    head = below_title + (style.NOTE_LINE * (note.count("\n") + 1) if note else 0)
    top = head + style.LEGEND_LINE * -(-len(entries) // columns) + 1.8 * style.GAP
    between = style.GAP if shared else LABELLED
    total = top + grid.nrows * height + (grid.nrows - 1) * between + style.BOTTOM
    inside = (width - style.LEFT - style.RIGHT - (grid.ncols - 1) * (0.1 if shared else BESIDE)) / (
        grid.ncols
    )
    figure.set_figheight(total)
    figure.subplots_adjust(
        left=style.LEFT / width,
        right=1 - style.RIGHT / width,
        bottom=style.BOTTOM / total,
        top=1 - top / total,
        hspace=between / height,
        wspace=(0.1 if shared else BESIDE) / inside,
    )
    left = style.EDGE / width
    figure.suptitle(title, x=left, y=1 - style.EDGE / total, ha="left", va="top")
    if note:
        place = left, 1 - below_title / total
        figure.text(*place, note, ha="left", va="top", fontsize=6, color=style.GREY)
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            loc="upper left",
            bbox_to_anchor=(left, 1 - (head + style.GAP / 2) / total),
            borderaxespad=0.0,
            borderpad=0.0,
            ncols=columns,
        )


def _legend_entries(all_axes: Sequence[Axes]) -> dict[str, object]:
    entries: dict[str, object] = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return entries


def _legend_columns(labels: list[str], width: float) -> int:
    """As many as there is room for beside each other."""
    if not labels:
        return 1
    widest = HANDLE + LETTER * max(map(len, labels))
    return max(1, min(len(labels), int(width / widest)))
