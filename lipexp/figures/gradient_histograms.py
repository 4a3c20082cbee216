"""Histograms of dL/dx_l, zero bias, shared matrices, a cotangent of ones, as in the paper."""

from __future__ import annotations

from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.forward_histograms import kurtosis, panels
from lipexp.figures.gradient_variance import SETTINGS

SOURCE = "gradient_variance"


def measure(setting: Setting, context: Context) -> Tables:
    """``histograms``: that of the figure of variances, and the scale of each layer."""
    tables = context.tables(SOURCE)
    table = tables["variance"]
    table = table[(table["matrices"] == "shared") & (table["cotangent"] == "ones")]
    scale = table.groupby("label")["log10_second_moment"].mean() / 2
    histograms = tables["histograms"]
    return {"histograms": histograms.assign(log10_rms=histograms["layer"].map(scale))}


def draw(tables: Tables, setting: Setting) -> Figure:
    return panels(
        tables["histograms"],
        f"Gradient dL/dx_l, AOL networks, width {setting['width']}, relu, zero bias, one matrix "
        "shared by all layers",
        f"{setting['networks']} networks, {setting['inputs']} inputs, {setting['dtype']}; each "
        "panel in units of its root mean square, which the panel states; layer: l",
        "dL/dx",
    )


def checks(tables: Tables, setting: Setting) -> list[Check]:
    n = f"{setting['networks']} networks, {setting['inputs']} inputs each"
    return [
        Check(
            f"kurtosis of dL/dx_{label}, width {setting['width']} (3: normal)",
            ours=kurtosis(tables["histograms"], label),
            n=n,
        )
        for label in (2, setting["depth"])
    ]


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
