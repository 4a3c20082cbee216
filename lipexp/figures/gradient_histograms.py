"""Histograms of dL/dx_l, zero bias, shared matrices, a cotangent of ones, as in the paper."""

from __future__ import annotations

from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.gradient_variance import SETTINGS
from lipexp.figures.histograms import kurtosis_checks, panels, with_scale


def measure(setting: Setting, context: Context) -> Tables:
    """Of all the cases that the figure of variances has, its histograms are of this one."""
    tables = context.tables("gradient_variance")
    table = tables["variance"]
    table = table[(table["matrices"] == "shared") & (table["cotangent"] == "ones")]
    return with_scale({**tables, "variance": table}, "label")


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
