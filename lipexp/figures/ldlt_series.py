"""The LDLT paper's moment series, cut off, against the truth: it converges for s <= 1/4 alone."""

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
from lipexp.plots import style
from lipexp.streams import stream
from lipexp.theory.ldlt import ldlt_limit_variance, ldlt_series, ldlt_variance, sample_ldlt_variance

TERMS = 10  # at most, in print
RADIUS = 0.25
CHECKED = (0.05, 0.2, 0.25, 1.0)

_SMALL = {"width": 64, "matrices": 400, "points": 49, "low": 0.01, "high": 4.0, "seed": 0}
SETTINGS = {"small": _SMALL, "paper": {**_SMALL, "width": 512, "matrices": 40}}


def measure(setting: Setting, context: Context) -> Tables:
    """``series``: truth and partial sums on a grid of s; ``measured``: at a few s."""
    s = np.geomspace(setting["low"], setting["high"], setting["points"])
    series = {"s": s, "limit": [ldlt_limit_variance(s=x) for x in s]}
    for terms in range(1, TERMS + 1):
        series[f"terms_{terms}"] = [ldlt_series(s=x, terms=terms) for x in s]
    rows = []
    for value in context.ticking(CHECKED):
        found = sample_ldlt_variance(
            stream(setting["seed"], "weights", setting["width"]),
            outputs=setting["width"],
            inputs=setting["width"],
            s=value,
            matrices=setting["matrices"],
        )
        law, limit = ldlt_variance(width=setting["width"], s=value), ldlt_limit_variance(s=value)
        cut = ldlt_series(s=value, terms=TERMS)
        rows.append((value, *mean_and_error(found), law, limit, cut))
    columns = ["s", "variance", "error", "law", "limit", f"terms_{TERMS}"]
    return {"series": pd.DataFrame(series), "measured": pd.DataFrame(rows, columns=columns)}


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Variance against s = n sigma^2 / alpha: measured, limit, and partial sums."""
    series, measured = tables["series"], tables["measured"]
    figure, (axes,) = page.page("LDLT: the moment series cut off, against the output variance")
    axes.plot(series["s"], series["limit"], "--", color="black", lw=0.9, label="law, wide layers")
    look = {"ls": "none", "marker": "o", "ms": 4, "color": style.BLUE}
    axes.plot(
        measured["s"], measured["variance"], label=f"measured, width {setting['width']}", **look
    )
    colours = (style.ORANGE, style.GREEN, style.PURPLE, style.VERMILION)
    for terms, colour in zip((1, 2, 5, TERMS), colours, strict=True):
        label = f"series, {terms} term" + "s" * (terms > 1)
        axes.plot(series["s"], series[f"terms_{terms}"], color=colour, lw=1.0, label=label)
    axes.axvline(RADIUS, color=style.GREY, ls=":", lw=0.9, label="radius, s = 1/4")
    axes.set(xscale="log", ylim=(-0.1, 0.7), xlabel="s = n σ² / α", ylabel="variance of y")
    page.arrange(figure, f"{setting['matrices']} matrices for each s, float64")
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    found = []
    n = f"{setting['matrices']} matrices, width {setting['width']}"
    for row in tables["measured"].itertuples():
        what = f"output variance at s = {row.s:g}, square"
        cut = getattr(row, f"terms_{TERMS}")
        note = f"the series with {TERMS} terms gives {cut:.6g}, the limit is {row.limit:.6g}"
        # the correction for the width is of first order
        open_ = 5 / setting["width"] ** 2
        check = Check(what, row.law, row.variance, row.error, n, note=note, approximate=open_)
        found.append(check)
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
