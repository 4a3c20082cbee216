"""The printed upper bounds on an AOL weight's variance for three shapes, and the truth beside them.

Laplace, normal and uniform, over d outputs and n inputs, 1 to 10 each.  The printed surfaces differ
13-fold at (10, 1); the true variances lie within a few per cent of each other, and above most of
the "bounds".  What bounds them all is 1/max(d, n), whatever the weights.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import (
    FORMULA,
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
from lipexp.theory.mean_field import (
    mean_field_weight_variance,
    printed_bounds,
    weight_variance_bound,
)

SHAPES = ("laplace", "normal", "uniform")
GRID = range(1, 11)
ALSO = 64  # a square size of use, beside the plotted grid

SETTINGS = {
    "small": {"matrices": 4_000, "matrices_also": 200, "seed": 0},
    "paper": {"matrices": 40_000, "matrices_also": 2_000, "seed": 0},
}


def measure(setting: Setting, context: Context) -> Tables:
    """``variance``: a row per (shape, d, n): measured with its error, printed bound, 1/max."""
    sizes = [(d, n) for d in GRID for n in GRID] + [(ALSO, ALSO)]
    rows = []
    for shape, (d, n) in context.ticking([(shape, size) for shape in SHAPES for size in sizes]):
        count = setting["matrices_also" if d == ALSO else "matrices"]
        generator = stream(setting["seed"], f"weights {shape}", d, n)
        measured = mean_and_error(mean_square_weights(shape, d, n, count, generator))
        law = gaussian_weight_variance(fan_in=n, fan_out=d) if shape == "normal" else math.nan
        size = {"fan_in": n, "fan_out": d}
        bounds = printed_bounds(**size)[shape], weight_variance_bound(**size)
        rows.append((shape, d, n, count, *measured, law, *bounds))
    columns = ["shape", "d", "n", "matrices", "variance", "error", "law", "printed_bound"]
    return {"variance": pd.DataFrame(rows, columns=[*columns, "one_by_max"])}


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Printed bound by measured variance over (n, d), log10, for each shape; purple: violated."""
    table = tables["variance"]
    figure, grid = page.page(
        "Printed “upper bounds” on the variance of an AOL weight, by the measured variance",
        columns=3,
        width=page.TWO,
        height=1.75,
    )
    norm = TwoSlopeNorm(0.0, -0.7, 0.7)
    for axes, shape in zip(grid, SHAPES, strict=True):
        rows = table[(table["shape"] == shape) & (table["d"] <= max(GRID))]
        ratio = np.log10(rows["printed_bound"] / rows["variance"])
        cells = ratio.to_numpy().reshape(len(GRID), len(GRID))  # d down, n across
        edges = np.arange(len(GRID) + 1) + 0.5
        # "PuOr" is safe for colour-blind readers; the sign is written too.
        axes.pcolormesh(edges, edges, -cells, cmap="PuOr", norm=norm)
        allowed = (
            4
            * rows["error"].to_numpy().reshape(cells.shape)
            / rows["variance"].to_numpy().reshape(cells.shape)
        )
        for d, n in np.argwhere(10**cells < 1 - allowed - 1e-9):
            colour = "white" if cells[d, n] < -0.3 else "black"
            axes.text(n + 1, d + 1, "–", ha="center", va="center", fontsize=6, color=colour)
        axes.set(title=shape, xlabel="n inputs", xticks=(1, 5, 10), yticks=(1, 5, 10))
        axes.title.set_fontsize(8)
        axes.grid(False)
    grid[0].set_ylabel("d outputs")
    note = f"{setting['matrices']} matrices of each size, float64. A dash: below the truth by more "
    note += "than 4 standard errors, so no upper bound. Colour: log₁₀ (truth / printed), ± 0.7."
    page.arrange(figure, note, height=1.75)
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["variance"].set_index(["shape", "d", "n"])
    found = [_origin(table), *_bound_checks(table), *_mean_field_checks(table)]
    near = table.loc[table.index.get_level_values("d") > 1]
    spread = near["variance"].unstack("shape")
    spread = spread[spread.index.get_level_values("n") > 1]
    widest = float((spread.max(axis=1) / spread.min(axis=1)).loc[:10].max())
    printed = table["printed_bound"].unstack("shape")
    ratio = float((printed.max(axis=1) / printed.min(axis=1)).max())
    what = "widest ratio of two shapes' variances on the grid, d, n in 2..10"
    note = f"the printed surfaces differ {ratio:.1f}-fold at most"
    found.append(Check(what, ours=widest, n=_n(setting), note=note))
    over = table["variance"] / table["one_by_max"] - 4 * table["error"] / table["one_by_max"]
    what = "largest variance by 1/max(d, n), less 4 standard errors: 1 at most"
    found.append(Check(what, ours=float(over.max()), n=_n(setting), note="a bound for any weights"))
    return found


def _n(setting: Setting) -> str:
    return f"{setting['matrices']} matrices of each size"


def _origin(table: pd.DataFrame) -> Check:
    row = table.loc[("normal", 1, 1)]
    return Check("variance of W at (1, 1)", 1.0, row["variance"], printed=1.0, source=FORMULA)


def _bound_checks(table: pd.DataFrame) -> list[Check]:
    """Of the three printed bounds at three sizes; the first error in print."""
    found = []
    for shape in SHAPES:
        for d, n in ((2, 2), (10, 10), (ALSO, ALSO)):
            row = table.loc[(shape, d, n)]
            bound, ours, error = row["printed_bound"], row["variance"], row["error"]
            below = bound < ours - 4 * error - 1e-9
            # uniform: it holds where n is small against sqrt d
            expected = shape != "uniform" or (d, n) != (10, 10)
            found.append(
                Check(
                    f"{shape}: variance of W at (d, n) = ({d}, {n}), beside the “upper bound”",
                    law=None if math.isnan(row["law"]) else row["law"],
                    ours=ours,
                    error=error,
                    n=f"{row['matrices']:.0f} matrices",
                    printed=bound,
                    source=FORMULA,
                    erratum=1 if expected else None,
                    shows=below if expected else None,
                    bound=True,
                )
            )
    return found


def _mean_field_checks(table: pd.DataFrame) -> list[Check]:
    """q_mf against the measured variance; the second error in print."""
    found = []
    for d, n in ((2, 2), (10, 10)):
        row = table.loc[("normal", d, n)]
        ratio = mean_field_weight_variance(fan_in=n, fan_out=d) / row["variance"]
        error = ratio * row["error"] / row["variance"]
        exact = mean_field_weight_variance(fan_in=n, fan_out=d) / row["law"]
        what = f"q_mf, drawn as theory, by the variance of W at (d, n) = ({d}, {n})"
        shows = abs(ratio - 1) > 4 * error
        n_ = f"{row['matrices']:.0f} matrices"
        found.append(Check(what, exact, ratio, error, n_, erratum=2, shows=shows))
    for d, n in ((64, 784), (784, 64), (1024, 1024)):
        exact = gaussian_weight_variance(fan_in=n, fan_out=d)
        ratio = mean_field_weight_variance(fan_in=n, fan_out=d) / exact
        what = f"q_mf by the law at (d, n) = ({d}, {n})"
        shows = abs(ratio - 1) > 1e-6
        found.append(Check(what, ours=ratio, n="computed", erratum=2, shows=shows))
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
