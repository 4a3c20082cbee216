"""Variance of z_l against depth under a bias N(0, 1): a plateau that is all bias.

m_1 = n q + 1, m_(l+1) = (n q / 2) m_l + 1, so m_l tends to 1 / (1 - n q / 2).  The scatter between
layers is that of one draw of the bias, a relative sqrt(2 / width).
"""

from __future__ import annotations

import math

import numpy as np
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
from lipexp.figures.forward_variance import PAPER_WIDTH
from lipexp.figures.forward_variance import SETTINGS as OF_ZERO_BIAS
from lipexp.figures.signals import climbed
from lipexp.plots import style
from lipexp.theory import profile

SETTINGS = {size: {**setting, "bias": "normal"} for size, setting in OF_ZERO_BIAS.items()}
LOWEST, HIGHEST, MEAN = 0.98, 1.045, 1.015  # of the layers
READING = 0.005  # of an axis that spans a few hundredths
EXTREME = 1.736  # mean of the largest of fifteen standard normal numbers


def measure(setting: Setting, context: Context) -> Tables:
    """``variance`` with the law beside it, and ``histograms``."""
    tables = dict(climbed(setting, context))
    variance = tables["variance"]
    variance["law"] = law_of(setting["width"], setting["depth"])[variance["layer"]]
    return tables


def law_of(width: int, depth: int) -> np.ndarray:
    """log10 of E z_l^2, l = 0 .. depth."""
    widths = [width] * (depth + 1)
    return profile("aol", "normal", "relu", widths, bias="normal").log10_second_moment


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Variance against the layer, each network, their mean and the law."""
    table = tables["variance"][tables["variance"]["layer"] > 0]
    each = 10 ** table.pivot(index="layer", columns="network", values="log10_variance")
    layers, width = each.index.to_numpy(), setting["width"]
    figure, (axes,) = page.page("Variance of the signal z_l, AOL networks, relu, bias N(0, 1)")
    axes.plot(layers, each, color=style.BLUE, lw=0.5, alpha=0.4)
    axes.plot(
        layers, each.mean(axis=1), "o", ms=3, color=style.BLUE, label=f"measured, width {width}"
    )
    law = 10 ** law_of(width, setting["depth"])[1:]
    axes.plot(layers, law, "--", color="black", lw=0.9, label=f"law, width {width}")
    for sign in (-1, 1):
        label = "± 2 s.d. of a bias draw" if sign > 0 else None
        spread = 1 + 2 * sign * math.sqrt(2 / width)
        axes.plot(layers, law * spread, ":", color="black", lw=0.9, label=label)
    axes.axhspan(LOWEST, HIGHEST, color=style.VERMILION, alpha=0.15, lw=0)
    if width != PAPER_WIDTH:
        at_print = 10 ** law_of(PAPER_WIDTH, setting["depth"])[1:]
        label = f"law, width {PAPER_WIDTH}"
        axes.plot(layers, at_print, "--", color=style.GREY, lw=0.7, label=label)
    label = f"read off plot, {PAPER_WIDTH}"
    axes.axhline(MEAN, color=style.VERMILION, lw=0.9, label=label)
    axes.set(xlabel="layer l", ylabel="variance of z")
    style.whole_numbers(axes)
    page.arrange(
        figure, f"{setting['networks']} networks, {setting['inputs']} inputs, {setting['dtype']}"
    )
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table, width, depth = tables["variance"], setting["width"], setting["depth"]
    n = f"{setting['networks']} networks, {depth} layers"
    variance = 10 ** table[table["layer"] > 0].pivot(
        index="network", columns="layer", values="log10_variance"
    )
    law = 10 ** law_of(width, depth)
    at_print = 10 ** law_of(PAPER_WIDTH, depth)
    found = []
    ours, _ = mean_and_error(variance.to_numpy().ravel())
    error = math.sqrt(2 / width / variance.size)
    what = "variance of z, mean over layers, width "
    of_print = {"printed": MEAN, "source": READ, "printed_law": at_print[1:].mean()}
    of_print |= {"reading": READING, "draw": math.sqrt(2 / PAPER_WIDTH / depth)}
    measured = {"law": law[1:].mean(), "ours": ours, "error": error, "n": n}
    if width == PAPER_WIDTH:
        found.append(Check(what + str(width), **of_print, **measured))
    else:
        found.append(Check(what + str(PAPER_WIDTH), **of_print, law=at_print[1:].mean()))
        found.append(Check(what + str(width), **measured))
    found += _extreme_checks(variance.to_numpy(), at_print, width, n)
    first, error = mean_and_error(variance[1])
    if math.isnan(error):
        error = math.sqrt(2 / width)
    found.append(Check(f"variance of z_1, width {width}", law[1], first, error, n))
    found += _scatter_checks(variance.to_numpy(), law, width, n)
    return found


def _extreme_checks(variance: np.ndarray, law: np.ndarray, width: int, n: str) -> list[Check]:
    """The lowest and the highest layer of one network of the paper's width."""
    found = []
    scatter = math.sqrt(2 / PAPER_WIDTH)
    of_print = {"source": READ, "reading": READING, "draw": 0.6 * scatter}
    for name, printed, sign in (("lowest", LOWEST, -1), ("highest", HIGHEST, 1)):
        ours = {}
        if width == PAPER_WIDTH:
            extremes = variance.min(axis=1) if sign < 0 else variance.max(axis=1)
            ours = {"ours": float(extremes.mean()), "error": 0.6 * scatter, "n": n}
        what = f"{name} variance of z of fifteen layers, width {PAPER_WIDTH}"
        expected = float(law[-1]) * (1 + sign * EXTREME * scatter)
        found.append(Check(what, expected, printed=printed, **of_print, **ours))
    return found


def _scatter_checks(variance: np.ndarray, law: np.ndarray, width: int, n: str) -> list[Check]:
    """Relative scatter of layers about the law: sqrt(2 / width) of one draw of the bias each."""
    relative = (variance / law[1:] - 1).ravel()
    scatter = float(np.sqrt(np.mean(relative**2)))
    law_scatter = math.sqrt(2 / width)
    error = scatter / math.sqrt(2 * relative.size)
    what = f"scatter of layers about the law, width {width}"
    note = "the scatter is that of one draw of the bias"
    # z's own spread adds to the bias', g^2 of it.
    return [Check(what, law_scatter, scatter, error, n, note=note, approximate=0.1)]


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
