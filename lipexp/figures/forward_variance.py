"""Variance of z_l against depth, zero bias: the sampled curve lies at twice the printed theory.

The paper draws cumprod(n q_mf / 2) from layer 1 on as theory, q_mf the mean field of the weight
variance, and (1/2)^l as upper curve.  The raw input meets no relu, so layer 1 has no factor 1/2:
the law is E z_l^2 = 2 (n q / 2)^l for unit inputs.
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
from lipexp.figures.signals import climbed
from lipexp.plots import style
from lipexp.theory import profile
from lipexp.theory.mean_field import mean_field_weight_variance

PAPER_WIDTH = 8192
PRINTED = {1: 1.3e-2, 15: 7e-33}  # layer: variance

_SMALL = {
    "width": 256,
    "depth": 15,
    "inputs": 200,
    "networks": 8,
    "dtype": "float64",
    "bias": "zero",
    "seed": 0,
    "histograms": [1, 2, 3, 5, 10, 15],
}
_PAPER = {"width": PAPER_WIDTH, "inputs": 10_000, "networks": 1, "dtype": "float32"}
SETTINGS = {"small": _SMALL, "paper": {**_SMALL, **_PAPER}}


def measure(setting: Setting, context: Context) -> Tables:
    """``variance`` with the laws beside it, and ``histograms``."""
    tables = dict(climbed(setting, context))
    variance = tables["variance"]
    laws = laws_of(setting["width"], setting["depth"])
    for name, law in laws.items():
        variance[name] = law[variance["layer"]]
    return tables


def laws_of(width: int, depth: int) -> dict[str, np.ndarray]:
    """log10 by layer, 0 .. depth: law and typical law for unit inputs, and the printed curves."""
    laws = profile("aol", "normal", "relu", [width] * (depth + 1))
    mean_field = math.log10(width * mean_field_weight_variance(fan_in=width, fan_out=width) / 2)
    layers = np.arange(depth + 1)
    return {
        "law": laws.log10_second_moment,
        "typical_law": laws.typical_log10_second_moment,
        "printed_theory": layers * mean_field,
        "printed_upper": layers * math.log10(0.5),
    }


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """log10 variance against the layer, and by how much it differs from the law."""
    table = tables["variance"][tables["variance"]["layer"] > 0]
    each = table.pivot(index="layer", columns="network", values="log10_variance")
    layers = each.index.to_numpy()
    laws = laws_of(setting["width"], setting["depth"])
    width, networks = setting["width"], setting["networks"]
    figure, (axes, apart) = page.page(
        "Variance of the signal z_l, AOL networks, relu, zero bias", rows=2, sharey=False
    )
    axes.plot(layers, each, color=style.BLUE, lw=0.5, alpha=0.4)
    what = f"measured, width {width}"
    axes.plot(layers, each.mean(axis=1), "o", ms=3, color=style.BLUE, label=what)
    axes.plot(layers, laws["law"][1:], "--", color="black", lw=0.9, label=f"law, width {width}")
    theory = {"color": style.ORANGE, "lw": 1.1, "label": "theory drawn in print"}
    axes.plot(layers, laws["printed_theory"][1:], "-.", **theory)
    axes.plot(
        layers,
        laws["printed_upper"][1:],
        ":",
        color=style.GREEN,
        lw=1.1,
        label="upper in print, (1/2)ˡ",
    )
    if width != PAPER_WIDTH:
        of_paper = laws_of(PAPER_WIDTH, setting["depth"])["law"][1:]
        axes.plot(
            layers, of_paper, "--", color=style.GREY, lw=0.7, label=f"law, width {PAPER_WIDTH}"
        )
    marks = {"ls": "none", "marker": "D", "mfc": "none", "mec": style.VERMILION, "ms": 5}
    read = np.log10(list(PRINTED.values()))
    axes.plot(list(PRINTED), read, **marks, label=f"read off plot, {PAPER_WIDTH}")
    axes.set_ylabel("log₁₀ variance of z")
    law = laws["law"][1:, None]
    apart.plot(layers, each.to_numpy() - law, color=style.BLUE, lw=0.5, alpha=0.4)
    apart.plot(layers, each.mean(axis=1) - law[:, 0], "o", ms=3, color=style.BLUE)
    apart.axhline(0, ls="--", color="black", lw=0.9)
    apart.plot(
        layers,
        (laws["typical_law"] - laws["law"])[1:],
        ":",
        color="black",
        lw=1.1,
        label="typical law",
    )
    apart.plot(layers, (laws["printed_theory"] - laws["law"])[1:], "-.", color=style.ORANGE, lw=1.1)
    apart.set(xlabel="layer l", ylabel="less the law, decades")
    style.whole_numbers(apart)
    page.arrange(
        figure, f"{networks} networks, {setting['inputs']} inputs, {setting['dtype']}", height=1.9
    )
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table, width = tables["variance"], setting["width"]
    n = f"{setting['networks']} networks, {setting['inputs']} inputs each"
    at_print = laws_of(PAPER_WIDTH, setting["depth"])
    found = []
    for layer, printed in PRINTED.items():
        rows = table[table["layer"] == layer]
        ours, error = geometric_mean(rows["log10_variance"], layer, width)
        law = 10 ** rows["typical_law"].iloc[0]
        print_law = 10 ** at_print["law"][layer]
        what = f"variance of z_{layer}, width "
        measured = {"law": law, "ours": ours, "error": error, "n": n}
        of_print = {"printed": printed, "source": READ, "printed_law": print_law}
        if width == PAPER_WIDTH:
            found.append(Check(what + str(PAPER_WIDTH), **of_print, **measured))
        else:
            found.append(Check(what + str(PAPER_WIDTH), **of_print, law=print_law))
            found.append(Check(what + f"{width}, geometric mean", **measured))
    for layer in (1, setting["depth"]):
        rows = table[table["layer"] == layer]
        theory = rows["printed_theory"]
        factor, error = geometric_mean(rows["log10_variance"] - theory, layer, width)
        exact = 10 ** (rows["typical_law"] - theory).iloc[0]
        found.append(
            Check(
                f"variance of z_{layer} by the curve drawn as theory, width {width}",
                law=exact,
                ours=factor,
                error=error,
                n=n,
                erratum=6,
                shows=factor - 1 > 2 * error,
            )
        )
    return found


def geometric_mean(log10_values: pd.Series, layer: int, width: int) -> tuple[float, float]:
    """Geometric mean over networks with its standard error; of a single network the law's own,
    a relative sqrt(5 / width) per layer.
    """
    mean, error = mean_and_error(log10_values)
    if math.isnan(error):
        return 10**mean, 10**mean * math.sqrt(5 * layer / width)
    return 10**mean, 10**mean * error * math.log(10)


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
