"""Sums of products of two weights: their density, and their mean size against the number of terms.

The overlap of two columns of free weights is a sum S_n of n products.  For normal entries its
density is |x|^m K_m(|x|) / (2^m sqrt(pi) Gamma(n/2)), m = (n-1)/2; one product of other shapes has
a Bessel K_0 too.  E|S_n| is what the mean field of the weight variance divides by.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import gammaln, kv

from lipexp.figures import page
from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.matrices import blocks
from lipexp.figures.matrices import draw as drawn
from lipexp.plots import style
from lipexp.streams import stream
from lipexp.theory import PGND, mean_absolute_overlap

BETAS = {"laplace": 1.0, "normal": 2.0, "uniform": math.inf}
TERMS = range(1, 11)
SHOWN = (1, 2, 4, 10)  # of them in the plot of densities
EDGES = np.linspace(-6, 6, 121)

SETTINGS = {"small": {"samples": 100_000, "seed": 0}, "paper": {"samples": 10_000_000, "seed": 0}}


def measure(setting: Setting, context: Context) -> Tables:
    """``density``: a row per (shape, n, bin); ``mean_size``: a row per (shape, n)."""
    densities, sizes = [], []
    for shape in context.ticking(BETAS):
        generator = stream(setting["seed"], f"products {shape}")
        counts = np.zeros((len(TERMS), len(EDGES) - 1), dtype=np.int64)
        totals, squares = np.zeros(len(TERMS)), np.zeros(len(TERMS))
        for some in blocks(setting["samples"], 2 * len(TERMS)):
            left, right = (drawn(shape, (len(TERMS), some), generator) for _ in range(2))
            # S_n of one sample are partial sums: right for each n, though not independent over n
            sums = np.cumsum(left * right, axis=0)
            counts += np.array([np.histogram(row, EDGES)[0] for row in sums])
            totals += np.abs(sums).sum(axis=1)
            squares += np.square(sums).sum(axis=1)
        mean = totals / setting["samples"]
        error = np.sqrt((squares / setting["samples"] - mean**2) / setting["samples"])
        for index, n in enumerate(TERMS):
            law = mean_absolute_overlap(BETAS[shape], n)
            sizes.append((shape, n, mean[index], error[index], law))
            share = counts[index] / (setting["samples"] * np.diff(EDGES))
            densities.append(
                pd.DataFrame(
                    {"shape": shape, "n": n, "low": EDGES[:-1], "high": EDGES[1:], "density": share}
                )
            )
    columns = ["shape", "n", "mean_size", "error", "law"]
    return {
        "density": pd.concat(densities, ignore_index=True),
        "mean_size": pd.DataFrame(sizes, columns=columns),
    }


def normal_density(n: int, x: np.ndarray) -> np.ndarray:
    """Of a sum of n products of standard normals, x != 0."""
    m, size = (n - 1) / 2, np.abs(x)
    front = np.exp(-m * math.log(2) - gammaln(n / 2)) / math.sqrt(math.pi)
    return front * size**m * kv(m, size)


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Left: densities for normal entries and of one product; right: E|S_n| by its limit."""
    density, sizes = tables["density"], tables["mean_size"]
    figure, (left, middle, right) = page.page(
        "Sums S_n of n products of two independent unit-variance weights",
        columns=3,
        width=page.TWO,
        height=1.9,
        sharex=False,
        sharey=False,
    )
    x = np.linspace(-6, 6, 400)  # without 0
    pairs = zip(SHOWN, (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE), strict=True)
    for n, colour in pairs:
        rows = density[(density["shape"] == "normal") & (density["n"] == n)]
        left.stairs(rows["density"], EDGES, color=colour, lw=1.0, label=f"normal, n = {n}")
        left.plot(x, normal_density(n, x), "--", color="black", lw=0.7)
    looks = zip(BETAS, (style.ORANGE, style.BLUE, style.SKY), ("s", "o", "^"), strict=True)
    for shape, colour, marker in looks:
        rows = density[(density["shape"] == shape) & (density["n"] == 1)]
        name = {"normal": None}.get(shape, f"{shape}, n = 1")
        middle.stairs(rows["density"], EDGES, color=colour, lw=1.0, label=name)
        law = PGND.unit_variance(BETAS[shape]).pdf(x)
        middle.plot(x, np.where(law > 0, law, np.nan), "--", color="black", lw=0.7)
        of = sizes[sizes["shape"] == shape]
        limit = np.sqrt(2 * of["n"] / np.pi)
        look = {"color": colour, "marker": marker, "ms": 3, "ls": "none", "mfc": "none"}
        right.plot(of["n"], of["mean_size"] / limit, label=f"E|S|, {shape}", **look)
        right.plot(of["n"], of["law"] / limit, "--", color="black", lw=0.7)
    left.plot([], [], "--", color="black", lw=0.7, label="law")
    for axes in (left, middle):
        axes.set(xlabel="S_n", yscale="log", ylim=(1e-4, 5), xlim=(-6, 6))
    left.set_ylabel("density")
    right.set(xlabel="n terms", ylabel="E|S_n| by sqrt(2 n / π)")
    style.whole_numbers(right)
    note = f"{setting['samples']:,} samples, float64; left: normal, middle: one product, right: "
    page.arrange(figure, note + "mean size by that of a normal sum", height=1.9, shared=False)
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    sizes = tables["mean_size"].set_index(["shape", "n"])
    found = []
    for shape in BETAS:
        for n in (1, 2, 10):
            row = sizes.loc[(shape, n)]
            what = f"E|S_{n}|, {shape}"
            count = f"{setting['samples']:,} samples"
            found.append(Check(what, row["law"], row["mean_size"], row["error"], count))
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
