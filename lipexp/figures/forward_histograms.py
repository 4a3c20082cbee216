"""Histograms of z_l, zero bias: they narrow by half of log10(n q / 2) decades per layer."""

from __future__ import annotations

from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.forward_variance import SETTINGS
from lipexp.figures.histograms import kurtosis_checks, panels, with_scale


def measure(setting: Setting, context: Context) -> Tables:
    return with_scale(context.tables("forward_variance"))


def draw(tables: Tables, setting: Setting) -> Figure:
    return panels(
        tables["histograms"],
        f"Signal z_l of AOL networks, width {setting['width']}, relu, zero bias",
        f"{setting['networks']} networks, {setting['inputs']} inputs, {setting['dtype']}; "
        "each panel in units of its layer's root mean square, which the panel states",
        "z",
    )


def checks(tables: Tables, setting: Setting) -> list[Check]:
    """Layer 1 is normal given the input's length and the weights: kurtosis 3, nearly."""
    return kurtosis_checks(tables["histograms"], setting, "z", (1, setting["depth"]))


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
