"""Both gradient figures in one, labelled rightly: zero bias is the upper curve.

In print the legend of the two sampled curves is exchanged: the plotting function takes (zero bias,
bias) and calls them "sampled" and "sampled (b = 0)" in that order.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.gradient_variance import PAPER_WIDTH, SETTINGS, quotient_check, ratios
from lipexp.figures.gradients import rate
from lipexp.plots import style

SOURCES = {"zero": "gradient_variance", "N(0, 1)": "gradient_variance_bias"}
LABELLED_IN_PRINT = {"zero": "sampled", "N(0, 1)": "sampled (b = 0)"}


def measure(setting: Setting, context: Context) -> Tables:
    """``variance``: both figures' tables, by ``bias``."""
    parts = [context.tables(name)["variance"].assign(bias=b) for b, name in SOURCES.items()]
    return {"variance": pd.concat(parts, ignore_index=True).drop(columns="law")}


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Variance / g^k against l under both biases, for shared and for fresh matrices."""
    table, depth = tables["variance"], setting["depth"]
    labels = np.arange(2, depth + 1)
    theory = (depth + 1 - labels) * math.log10(rate(setting["width"]))
    figure, grid = page.page("Gradient under zero bias and bias N(0, 1), cotangent of ones", rows=2)
    for axes, matrices in zip(grid, ("shared", "fresh"), strict=True):
        for bias, colour, marker in (("zero", style.BLUE, "o"), ("N(0, 1)", style.VERMILION, "s")):
            rows = table[(table["bias"] == bias) & (table["matrices"] == matrices)]
            rows = rows[rows["cotangent"] == "ones"]
            mean = (10 ** rows["log10_variance"]).groupby(rows["label"]).mean()
            label = f"bias {bias}; in print “{LABELLED_IN_PRINT[bias]}”"
            look = {"color": colour, "marker": marker, "ms": 3, "mfc": "none", "lw": 0.9}
            axes.plot(labels, np.log10(mean) - theory, label=label, **look)
        axes.axhline(0, ls="--", color="black", lw=0.9, label="theory in print, gᵏ")
        what = f"{matrices} matrices"
        axes.text(0.97, 0.95, what, ha="right", va="top", transform=axes.transAxes, fontsize=7)
        axes.set_ylabel("log₁₀ variance / gᵏ")
    marks = {"ls": "none", "marker": "X", "ms": 6, "zorder": 3}
    for bias, value, colour in (("zero", 5e-26, style.BLUE), ("N(0, 1)", 6e-27, style.VERMILION)):
        ratio = math.log10(value) - (depth - 1) * math.log10(rate(PAPER_WIDTH))
        label = f"read off plot, width {PAPER_WIDTH}, bias {bias}"
        grid[0].plot(2, ratio, color=colour, label=label, **marks)
    grid[-1].set_xlabel("l")
    style.whole_numbers(grid[-1])
    note = f"width {setting['width']}, {setting['networks']} networks (mean), "
    note += f"{setting['inputs']} inputs, {setting['dtype']}; k = {depth + 1} - l"
    page.arrange(figure, note, height=1.6)
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["variance"]
    n = f"{setting['networks']} networks, {setting['inputs']} inputs each"
    found = []
    for matrices in ("shared", "fresh"):
        zero, biased = (
            ratios(table[table["bias"] == bias], setting, 2)[matrices, "ones"] for bias in SOURCES
        )
        what = f"variance of dL/dx_2, zero bias by bias N(0, 1), {matrices} matrices, ones, "
        note = "zero bias is the upper curve; print calls the upper one the biased"
        found.append(
            quotient_check(
                what + f"width {setting['width']}",
                zero,
                biased,
                n,
                erratum=3,
                note=note if zero[0] > biased[0] else "",
            )
        )
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
