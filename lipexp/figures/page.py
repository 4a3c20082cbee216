"""Pages of print: figures of one column or two, margins in inches, legend above the axes."""

from __future__ import annotations

import textwrap

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
    entries = style.legend_entries(figure.axes)
    columns = _legend_columns(list(entries), width - 2 * style.EDGE)
    note = textwrap.fill(note, int(style.NOTE_LETTERS * width / ONE))
    _, under_note = style.head(figure, note)
    top = under_note + style.LEGEND_LINE * -(-len(entries) // columns) + 1.8 * style.GAP
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
    style.write_head(figure, note, entries, columns)


def _legend_columns(labels: list[str], width: float) -> int:
    """As many as there is room for beside each other."""
    if not labels:
        return 1
    widest = HANDLE + LETTER * max(map(len, labels))
    return max(1, min(len(labels), int(width / widest)))
