"""Residual SLL: second moment against depth, both ways, with its law.

The paper leaves residual layers open.  They decay too, by about 1.09 / sqrt n decades per layer, so
that wider is better; with orthogonal weights and relu not at all.
"""

from __future__ import annotations

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
from lipexp.figures.probes import probed
from lipexp.plots import style
from lipexp.theory import profile

_SMALL = {"widths": [64, 256], "depth": 100, "networks": 4, "inputs": 16, "seed": 0}
SETTINGS = {"small": _SMALL, "paper": {**_SMALL, "widths": [64, 256, 1024]}}
FORWARD, BACKWARD = "log10_second_moment", "log10_gradient_second_moment"


def measure(setting: Setting, context: Context) -> Tables:
    """``layers``: a row per (init, width, network, layer), both second moments."""
    common = {key: setting[key] for key in ("depth", "networks", "inputs", "seed")}
    cases = [("normal", width) for width in setting["widths"]]
    cases.append(("orthogonal", setting["widths"][0]))
    parts = []
    for init, width in context.ticking(cases):
        table = probed(model="sll", init=init, width=width, **common)
        kept = table[["network", "layer", FORWARD, BACKWARD]]
        parts.append(kept.assign(init=init, width=width))
    return {"layers": pd.concat(parts, ignore_index=True)}


def _law(init: str, width: int, depth: int) -> np.ndarray:
    return profile("sll", init, "relu", [width] * (depth + 1)).log10_second_moment


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """log10 second moment of the signal and of the gradient against depth."""
    table, depth = tables["layers"], setting["depth"]
    figure, grid = page.page("Residual SLL, relu, zero bias: signal and gradient", rows=2)
    cases = sorted(set(zip(table["init"], table["width"], strict=True)))
    for (init, width), colour in zip(cases, style.PALETTE, strict=False):
        rows = table[(table["init"] == init) & (table["width"] == width)]
        law = _law(init, width, depth)
        for axes, column, curve in zip(grid, (FORWARD, BACKWARD), (law, law[::-1]), strict=True):
            each = rows.pivot(index="layer", columns="network", values=column)
            axes.plot(each.index, each, color=colour, lw=0.4, alpha=0.5)
            label = f"width {width}" if init == "normal" else f"{init}, width {width}"
            axes.plot(each.index, each.mean(axis=1), color=colour, lw=1.5, label=label)
            axes.plot(each.index, curve, "--", color="black", lw=0.9, label="law")
    grid[0].set_ylabel("log₁₀ mean y²")
    grid[1].set(xlabel="block", ylabel="log₁₀ mean gradient²")
    style.whole_numbers(grid[1])
    note = f"{setting['networks']} networks each (thin), {setting['inputs']} Gaussian inputs, "
    page.arrange(
        figure, note + "float64; gradient: cotangent N(0, 1) at the last block", height=1.6
    )
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table, depth = tables["layers"], setting["depth"]
    n = f"{setting['networks']} networks, {setting['inputs']} inputs each"
    found = []
    for (init, width), rows in table.groupby(["init", "width"]):
        law = float(_law(init, width, depth)[-1] - _law(init, width, depth)[0])
        for column, end, start, way in (
            (FORWARD, depth, 0, "signal at the output"),
            (BACKWARD, 0, depth, "gradient at the input"),
        ):
            at = rows.set_index(["layer", "network"])[column]
            mean, error = mean_and_error(at.loc[end] - at.loc[start])
            lossless = init == "orthogonal"
            found.append(
                Check(
                    f"residual SLL, {init}, width {width}, depth {depth}: log10 {way}",
                    law,
                    round(mean, 9) + 0.0 if lossless else mean,
                    None if lossless else error,
                    n,
                    erratum=8 if lossless else None,
                    shows=abs(mean) < 1e-9 if lossless else None,
                    approximate=0.0 if lossless else 3e-3,
                )
            )
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
