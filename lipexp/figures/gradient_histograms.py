"""Histograms of dL/dx_l, zero bias, shared matrices, a cotangent of ones, as in the paper."""

from __future__ import annotations

from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.gradient_variance import SETTINGS
from lipexp.figures.histograms import kurtosis_checks, panels, with_scale

SOURCE = "gradient_variance"


def measure(setting: Setting, context: Context) -> Tables:
    """``histograms``: that of the figure of variances, and the scale of each layer."""
    tables = context.tables(SOURCE)
    table = tables["variance"]
    table = table[(table["matrices"] == "shared") & (table["cotangent"] == "ones")]
    return {"histograms": with_scale(tables["histograms"], table, "label")}


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
    return kurtosis_checks(tables["histograms"], setting, "dL/dx", (2, setting["depth"]))


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
