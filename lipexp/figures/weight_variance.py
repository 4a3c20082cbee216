"""Variance of an AOL weight's entries against its size, d = 10 n outputs of n inputs.

The paper draws the mean field q_mf, a ratio of expectations, and 1/d; the law q is the expectation.
At these sizes the two cannot be told apart by eye: the lower panel shows their ratio.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import (
    READ,
    Check,
    Context,
    PaperFigure,
    Setting,
    Tables,
    mean_and_error,
)
from lipexp.figures.matrices import mean_square_weights
from lipexp.plots import style
from lipexp.streams import stream
from lipexp.theory import gaussian_weight_variance
from lipexp.theory.mean_field import mean_field_weight_variance

TALL = 10  # d / n
FEW, POOLED = 30, 10  # matrices; n
PRINTED = {1: 0.1, 100: 2.9e-4, 300: 6.2e-5}  # n: variance

# ``matrices`` of a size: at least so many, and the paper's floor((most n)^2 / n^2) where given.
SETTINGS = {
    "small": {"sizes": [1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 47, 60], "matrices": 40, "seed": 0},
    "paper": {"sizes": list(range(1, 301)), "matrices": 2, "total": 300**2, "seed": 0},
}


def measure(setting: Setting, context: Context) -> Tables:
    """``variance``: a row per n, over matrices; with law, mean field and 1/d.

    The error of a few matrices is that of all sizes together, see `pooled_error`.
    """
    rows = []
    for n in context.ticking(setting["sizes"]):
        d = TALL * n
        count = max(setting["matrices"], setting.get("total", 0) // n**2)
        generator = stream(setting["seed"], "weights", n)
        variance, error = mean_and_error(mean_square_weights("normal", d, n, count, generator))
        laws = (
            gaussian_weight_variance(fan_in=n, fan_out=d),
            mean_field_weight_variance(fan_in=n, fan_out=d),
        )
        rows.append((n, d, count, variance, error, *laws, 1 / d))
    columns = ["n", "d", "matrices", "variance", "error", "law", "mean_field", "one_by_d"]
    table = pd.DataFrame(rows, columns=columns)
    return {"variance": table.assign(error=pooled_error(table))}


def pooled_error(table: pd.DataFrame) -> pd.Series:
    """Standard errors, of fewer than FEW matrices by the spread of all sizes from POOLED on.

    A matrix' mean square has a relative standard deviation a / n, of n columns with about 10 n
    entries each; a is pooled over sizes, weighted by degrees of freedom.
    """
    freedom = (table["matrices"] - 1).where(table["n"] >= POOLED, 0)
    relative = table["error"] / table["variance"] * np.sqrt(table["matrices"]) * table["n"]
    if not freedom.sum():
        return table["error"]
    a = math.sqrt(np.average(relative**2, weights=freedom))
    pooled = a / table["n"] * table["variance"] / np.sqrt(table["matrices"])
    few = (table["matrices"] < FEW) & (table["n"] >= POOLED)
    return table["error"].where(~few, pooled)


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Variance against n, both axes logarithmic, and its ratio to the law."""
    table = tables["variance"]
    n, law = table["n"], table["law"]
    figure, (axes, ratio) = page.page(
        "Variance of an AOL weight, 10 n outputs, n inputs, normal", rows=2, sharey=False
    )
    look = {"ls": "none", "marker": "o", "ms": 3, "color": style.BLUE}
    axes.plot(n, table["variance"], label="measured", **look)
    grid = np.unique(np.geomspace(1, 300, 60).round().astype(int))
    q = [gaussian_weight_variance(fan_in=k, fan_out=TALL * k) for k in grid]
    field = [mean_field_weight_variance(fan_in=k, fan_out=TALL * k) for k in grid]
    axes.plot(grid, q, "--", color="black", lw=0.9, label="law q")
    curve = {"color": style.ORANGE, "lw": 1.1}
    axes.plot(grid, field, "-.", label="“bound” in print, q_mf", **curve)
    axes.plot(grid, 1 / (TALL * grid), ":", color=style.GREEN, lw=1.1, label="1/d")
    marks = {"marker": "D", "mfc": "none", "mec": style.VERMILION, "ms": 5, "ls": "none"}
    axes.plot(list(PRINTED), list(PRINTED.values()), label="read off plot", **marks)
    axes.set(yscale="log", xscale="log", ylabel="variance of W")
    bars = {"fmt": "o", "ms": 3, "color": style.BLUE, "elinewidth": 0.7}
    ratio.errorbar(n, table["variance"] / law, table["error"].fillna(0) / law, **bars)
    ratio.plot(grid, np.divide(field, q), "-.", **curve)
    ratio.axhline(1, ls="--", color="black", lw=0.9)
    ratio.set(xlabel="n", ylabel="by the law")
    least, most = table["matrices"].min(), table["matrices"].max()
    count = f"{least} matrices" if least == most else f"{least} to {most} matrices"
    page.arrange(figure, f"{count} of each size, float64; bars: one standard error", height=1.7)
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["variance"].set_index("n")
    found = []
    for n, printed in PRINTED.items():
        law = gaussian_weight_variance(fan_in=n, fan_out=TALL * n)
        ours = {}
        if n in table.index:
            row = table.loc[n]
            # n = 1: exactly 1/d in every matrix, to rounding
            error = float(row["error"]) if n > 1 else None
            ours = {"ours": row["variance"], "error": error, "n": f"{row['matrices']:.0f} matrices"}
        what = f"variance of W, n = {n}, d = {TALL * n}"
        found.append(Check(what, law=law, printed=printed, source=READ, **ours))
    wide = table.loc[60] if 60 in table.index else table.iloc[-1]
    found.append(
        Check(
            f"variance of W, n = {wide.name}, d = {wide['d']:.0f}",
            wide["law"],
            wide["variance"],
            wide["error"],
            f"{wide['matrices']:.0f} matrices",
        )
    )
    worst = float(
        ((table["variance"] - table["law"]) / table["error"])[table.index > 1].abs().max()
    )
    what = f"largest deviation from the law over {len(table) - 1} sizes, in standard errors"
    found.append(Check(what, ours=worst, note="agrees" if worst < 5 else "CONTRADICTS THE LAW"))
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
