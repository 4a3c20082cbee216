"""Trained networks against depth: accuracy, certified accuracy, and the signal they start with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lipexp.figures import page
from lipexp.figures.trainings import over_seeds
from lipexp.plots import style

SPREAD = 0.5  # of the room between two depths, over which cases stand side by side

START = "log₁₀ of the signal"
VARIANCE = "log10_start_variance"  # what training starts with
HOW = (
    "The signal: variance over inputs at the last hidden layer before training; dash: law of its "
    "second moment."
)


@style.styled
def against_depth(
    table: pd.DataFrame,
    title: str,
    note: str,
    *,
    by: str,
    columns: Sequence[str],
    labels: Sequence[str],
    printed: pd.DataFrame | None = None,
    width: float = page.ONE,
) -> Figure:
    """Panels one above the other, a column of ``table`` each; cases ``by`` side by side.

    Shares are drawn in per cent, with the commonest class's share as a level under the accuracy.
    ``printed``: rows (``by``, depth, column, value) drawn as crosses.  VARIANCE has the
    second moment's law beside it.
    """
    depths = sorted(set(table["depth"]))
    cases = list(dict.fromkeys(table[by]))
    figure, grid = page.page(title, rows=len(columns), width=width, sharey=False)
    offsets = np.linspace(-SPREAD / 2, SPREAD / 2, len(cases)) if len(cases) > 1 else [0.0]
    for axes, column, label in zip(grid, columns, labels, strict=True):
        scale = 1.0 if column == VARIANCE else 100.0
        for case, offset, (colour, marker) in zip(cases, offsets, _looks(), strict=False):
            part = table[table[by] == case]
            found = over_seeds(part, ["depth"], column)
            x = np.array([depths.index(d) for d in found["depth"]]) + offset
            look = {"color": colour, "ms": 4.5, "lw": 0.7}
            errors = scale * found["error"].fillna(0.0)
            axes.errorbar(
                x, scale * found["mean"], errors, fmt=f"{marker}-", label=case, **look, alpha=0.95
            )
            if column == VARIANCE:
                law = part.groupby("depth")["log10_start_law"].mean().reindex(found["depth"])
                axes.plot(x, law, ls="none", marker="_", ms=11, mew=1.2, color="black")
            _draw_printed(axes, printed, by, case, column, depths, offset, colour)
        if column == "test_accuracy":
            level = 100 * table["commonest"].mean()
            axes.axhline(level, ls=":", lw=1.0, color=style.GREY, label="commonest class")
        if column == VARIANCE:
            axes.plot(
                [], [], ls="none", marker="_", ms=9, color="black", label="law, second moment"
            )
        else:
            top = max(axes.dataLim.y1, 1.0)
            axes.set_ylim(-0.05 * top, 1.08 * top)
        axes.set_ylabel(label)
    if printed is not None and len(printed):
        grid[0].plot([], [], ls="none", marker="x", ms=5, color=style.GREY, label="in print")
    grid[-1].set(xlabel="hidden layers", xlim=(-0.6, len(depths) - 0.4))
    grid[-1].set_xticks(range(len(depths)), [str(depth) for depth in depths])
    grid[-1].xaxis.set_minor_locator(NullLocator())
    page.arrange(figure, note, height=1.45)
    return figure


def _looks():
    colours = (*style.PALETTE, style.GREY)
    return zip(colours, style.MARKERS, strict=False)


def _draw_printed(axes, printed, by, case, column, depths, offset, colour) -> None:
    if printed is None:
        return
    rows = printed[(printed[by] == case) & (printed["column"] == column)]
    rows = rows[rows["depth"].isin(depths)]
    x = [depths.index(depth) + offset for depth in rows["depth"]]
    axes.plot(x, rows["value"], ls="none", marker="x", ms=5, mew=1.2, color=colour)
