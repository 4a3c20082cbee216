"""Histograms of z_l under a bias N(0, 1): the bias', hardly any of it the input's."""

from __future__ import annotations

from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.forward_variance_bias import SETTINGS
from lipexp.figures.histograms import kurtosis, panels, with_scale


def measure(setting: Setting, context: Context) -> Tables:
    return with_scale(context.tables("forward_variance_bias"))


def draw(tables: Tables, setting: Setting) -> Figure:
    return panels(
        tables["histograms"],
        f"Signal z_l of AOL networks, width {setting['width']}, relu, bias N(0, 1)",
        f"{setting['networks']} networks, {setting['inputs']} inputs, {setting['dtype']}; ragged "
        "where every input gives the same z: what is seen is the draw of the bias",
        "z",
    )


def checks(tables: Tables, setting: Setting) -> list[Check]:
    """Of a layer's units, normal biases of variance 1: kurtosis 3, over width x networks draws."""
    draws = setting["width"] * setting["networks"]
    return [
        Check(
            f"kurtosis of z_{setting['depth']}, width {setting['width']} (3: normal)",
            law=3.0,
            ours=kurtosis(tables["histograms"], setting["depth"]),
            error=(24 / draws) ** 0.5,
            n=f"{draws} draws of the bias",
        )
    ]


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
