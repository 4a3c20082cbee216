"""AOL with k - 1 Gram iterations: the operator norm and the decay per layer against k.

k = 1 is AOL; k to infinity divides by the largest singular value.  Iterating removes the growth of
the decay with width, not the decay: every width tends to a relu gain of 1/8.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import (
    Check,
    Context,
    PaperFigure,
    Setting,
    Tables,
    mean_and_error,
)
from lipexp.plots import style
from lipexp.streams import stream
from lipexp.theory import decay_per_layer
from lipexp.theory.aolk import aol_k

SETTINGS = {
    "small": {"matrices": {"64": 40, "256": 6}, "most": 6, "seed": 0},
    "paper": {"matrices": {"64": 400, "256": 40, "1024": 4}, "most": 6, "seed": 0},
}
LIMIT = math.log10(1 / 8)


def measure(setting: Setting, context: Context) -> Tables:
    """``decay``: a row per (width, k, matrix): operator norm, log10 n q / 2; k = 0: spectral."""
    rows = []
    cases = [(int(n), m) for n, count in setting["matrices"].items() for m in range(count)]
    for width, matrix in context.ticking(cases):
        v = stream(setting["seed"], "weights", width, matrix).standard_normal((width, width))
        norm = np.linalg.norm(v, 2)
        rows.append((width, 0, matrix, 1.0, _gain(v / norm)))
        for k in range(1, setting["most"] + 1):
            w = aol_k(v, k)
            # W^T W is positive: its largest eigenvalue is the square of the norm.
            norm = math.sqrt(np.linalg.eigvalsh(w.T @ w)[-1])
            rows.append((width, k, matrix, norm, _gain(w)))
    columns = ["width", "k", "matrix", "operator_norm", "log10_gain"]
    return {"decay": pd.DataFrame(rows, columns=columns)}


def _gain(w: np.ndarray) -> float:
    """log10 of n E W_ij^2 / 2, what relu and W make of the second moment."""
    return math.log10(w.shape[1] * np.mean(w * w) / 2)


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Operator norm and log10 gain against k, by width."""
    table = tables["decay"]
    widths = sorted(set(table["width"]))
    figure, (norms, gains) = page.page(
        "AOL-k, square Gaussian weights, relu: norm and decay", rows=2, sharey=False
    )
    for width, colour, marker in zip(widths, style.PALETTE, style.MARKERS, strict=False):
        rows = table[(table["width"] == width) & (table["k"] > 0)]
        mean = rows.groupby("k")[["operator_norm", "log10_gain"]].mean()
        look = {"color": colour, "marker": marker, "ms": 3, "mfc": "none", "lw": 0.8}
        norms.plot(mean.index, mean["operator_norm"], label=f"measured, width {width}", **look)
        gains.plot(mean.index, mean["log10_gain"], **look)
        law = _aol_law(width)
        label = "law, k = 1" if width == widths[0] else None
        gains.plot(1, law, "_", color="black", ms=12, label=label)
        spectral = table[(table["width"] == width) & (table["k"] == 0)]["log10_gain"].mean()
        last = mean.index.max()
        label = "spectral norm divided out" if width == widths[0] else None
        gains.plot([last - 0.3, last + 0.3], [spectral] * 2, color=colour, lw=1.2, label=label)
    gains.axhline(LIMIT, ls=":", color="black", lw=0.9, label="log₁₀ 1/8")
    norms.axhline(1, ls="--", color="black", lw=0.9, label="bound")
    norms.set_ylabel("operator norm")
    gains.set(xlabel="k", ylabel="log₁₀ gain per layer")
    style.whole_numbers(gains)
    count = ", ".join(f"{n} of width {w}" for w, n in setting["matrices"].items())
    page.arrange(figure, f"matrices: {count}; float64", height=1.5)
    return figure


def _aol_law(width: int) -> float:
    return decay_per_layer("aol", "normal", "relu", fan_in=width, fan_out=width)


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["decay"]
    found = []
    for width in sorted(set(table["width"])):
        rows = table[table["width"] == width]
        n = f"{rows['matrix'].nunique()} matrices"
        mean, error = mean_and_error(rows[rows["k"] == 1]["log10_gain"])
        what = f"AOL, width {width}: log10 gain per layer"
        # the mean of a logarithm over matrices against the logarithm of the mean
        found.append(Check(what, _aol_law(width), mean, error, n, approximate=1e-3))
        for k in (5, setting["most"]):
            gain, error = mean_and_error(rows[rows["k"] == k]["log10_gain"])
            norm = rows[rows["k"] == k]["operator_norm"].mean()
            what = f"AOL-{k}, width {width}: log10 gain per layer"
            note = f"mean operator norm {norm:.4f}"
            found.append(Check(what, ours=gain, error=error, n=n, note=note))
    top = float(table["operator_norm"].max())
    note = "holds" if top <= 1 + 1e-12 else "BROKEN"
    what = "largest operator norm less 1, all k and widths"
    found.append(Check(what, ours=top - 1, n=f"{len(table)} matrices", note=note))
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
