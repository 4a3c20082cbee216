"""Decay per layer against width: the law in expectation, and what one network shows.

After L layers the mean over networks is carried by rare lucky ones; the logarithm of one network
falls faster, by 5 / (2 n ln 10) per layer under relu.  Beside AOL with normal weights: orthogonal
weights, which lose 0.30 per relu and nothing under maxmin, and the layer as the paper trained it.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from lipexp.figures import page
from lipexp.figures.figure import (
    Check,
    Context,
    PaperFigure,
    Setting,
    Tables,
    mean_and_error,
)
from lipexp.figures.probes import probed, slopes
from lipexp.plots import style
from lipexp.theory import decay_per_layer

HEAD = 40  # layers in which the inputs become parallel, left out of the slopes

# name: model, init, activation, and the layer's keys
CASES = {
    "normal, relu": ("aol", "normal", "relu", {}),
    "normal, maxmin": ("aol", "normal", "maxmin", {}),
    "orthogonal, relu": ("aol", "orthogonal", "relu", {}),
    "orthogonal, maxmin": ("aol", "orthogonal", "maxmin", {}),
    "as trained in print": ("sll_feedforward", "normal", "relu", {"q": "normal", "rows": True}),
}
EVERYWHERE = ("normal, relu", "normal, maxmin")  # the others at one width

_SMALL = {
    "layers": {"16": 4000, "32": 4000, "64": 4000, "128": 2000, "256": 1000},
    "networks": 4,
    "inputs": 8,
    "other_width": 64,
    "seed": 0,
}
_MORE = {"16": 80_000, "32": 80_000, "64": 60_000, "128": 20_000, "256": 8_000}
SETTINGS = {
    "small": _SMALL,
    "paper": {**_SMALL, "layers": {**_MORE, "512": 2_000, "1024": 800}},
}


def measure(setting: Setting, context: Context) -> Tables:
    """``rates``: a row per (case, width, network): both slopes and log10 of the mean gain.

    ``layers`` of a width are those of all networks together.
    """
    parts = []
    cases = [
        (name, int(width), layers)
        for width, layers in setting["layers"].items()
        for name in CASES
        if name in EVERYWHERE or int(width) == setting["other_width"]
    ]
    for name, width, layers in context.ticking(cases):
        model, init, activation, keys = CASES[name]
        depth = HEAD + layers // setting["networks"]
        kind = {"model": model, "init": init, "activation": activation, **keys}
        common = {key: setting[key] for key in ("networks", "inputs", "seed")}
        table = probed(width=width, depth=depth, **kind, **common)
        rates = pd.DataFrame(
            {
                "forward": slopes(table, "log10_second_moment", HEAD, depth),
                "backward": -slopes(table, "log10_gradient_second_moment", 0, depth - HEAD),
                "log10_mean_gain": _mean_gain(table),
            }
        )
        about = {"case": name, "width": width, "depth": depth}
        parts.append(rates.reset_index().assign(**about))
    return {"rates": pd.concat(parts, ignore_index=True)}


def _mean_gain(table: pd.DataFrame) -> pd.Series:
    """log10 of the mean over layers of m_(l+1) / m_l, which the law in expectation speaks of."""
    steps = table.set_index(["network", "layer"])["log10_second_moment"].unstack("layer")
    gains = 10 ** np.diff(steps.loc[:, HEAD:], axis=1)
    return pd.Series(np.log10(gains.mean(axis=1)), index=steps.index)


def law_of(case: str, width: int, *, typical: bool) -> float | None:
    """log10 per layer; None where no law is known."""
    model, init, activation, keys = CASES[case]
    size = {"fan_in": width, "fan_out": width}
    return decay_per_layer(model, init, activation, typical=typical, **size, **keys)


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Rates against width, and how far below the law in expectation the measured ones lie."""
    table = tables["rates"]
    figure, (rates, below) = page.page(
        "Decay per layer of AOL networks, zero bias", rows=2, sharey=False
    )
    widths = sorted(set(table["width"]))
    grid = np.unique(np.geomspace(min(widths), max(widths), 60).round().astype(int))
    for case, colour, marker in zip(CASES, style.PALETTE, style.MARKERS, strict=False):
        rows = table[table["case"] == case].groupby("width")["forward"]
        mean, error = rows.mean(), rows.std() / np.sqrt(rows.count())
        look = {"color": colour, "marker": marker, "ms": 4, "mfc": "none", "ls": "none"}
        rates.plot(mean.index, mean, label=case, **look)
        expected = np.array([law_of(case, width, typical=False) for width in grid], dtype=float)
        typical = np.array([law_of(case, width, typical=True) for width in grid], dtype=float)
        rates.plot(grid, expected, "--", color=colour, lw=0.8)
        if case in EVERYWHERE:
            law = np.array([law_of(case, width, typical=False) for width in mean.index])
            bars = {"fmt": marker, "ms": 4, "mfc": "none", "color": colour, "elinewidth": 0.7}
            below.errorbar(mean.index, mean - law, error, **bars)
            below.plot(grid, typical - expected, ":", color=colour, lw=1.2)
    rates.plot([], [], "--", color="black", lw=0.8, label="law (expectation)")
    rates.plot([], [], ":", color="black", lw=1.2, label="law (typical)")
    below.axhline(0, ls="--", color="black", lw=0.8)
    rates.set_ylabel("log₁₀ per layer")
    below.set(xscale="log", xlabel="width", ylabel="less law (expectation)")
    below.xaxis.set_major_locator(FixedLocator(widths))
    below.xaxis.set_major_formatter(ScalarFormatter())
    below.xaxis.set_minor_locator(NullLocator())
    note = f"{setting['networks']} networks each, mean of the logarithm, float64; dashed: law in "
    page.arrange(
        figure, note + "expectation, dotted: of one network; bars: standard error", height=1.7
    )
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["rates"]
    found = []
    for (case, width), rows in table.groupby(["case", "width"], sort=False):
        layers = int((rows["depth"] - HEAD).sum())
        n = f"{len(rows)} networks, {layers} layers in all"
        for way in ("forward", "backward"):
            found.append(_rate_check(case, width, way, rows, layers, n))
        if case == "normal, relu":
            mean, _ = mean_and_error(rows["log10_mean_gain"])
            what = f"{case}, width {width}: log10 of the mean gain of a layer"
            law = law_of(case, width, typical=False)
            error = _spread(case, width) / math.sqrt(layers)
            found.append(Check(what, law, mean, error, n, approximate=1e-3))
    return found


def _spread(case: str, width: int) -> float:
    """Standard deviation of log10 of a layer's gain for one input."""
    constants = {"normal, relu": 5, "normal, maxmin": 2, "orthogonal, relu": 3}
    # random q adds to relu's 5 at most 6 (e - 1)
    return math.sqrt(constants.get(case, 15.3) / width) / math.log(10)


def _rate_check(case: str, width: int, way: str, rows: pd.DataFrame, layers: int, n: str) -> Check:
    mean, _ = mean_and_error(rows[way])
    error = _spread(case, width) / math.sqrt(layers)
    what = f"{case}, width {width}: log10 per layer, {way}"
    law = law_of(case, width, typical=True)
    expected = law_of(case, width, typical=False)
    if case == "orthogonal, maxmin":
        mean = round(mean, 9) + 0.0  # no -0
        return Check(what, law, mean, None, n, erratum=8, shows=abs(mean) < 1e-9)
    if case == "normal, relu" and width == 64:
        note = f"the law in expectation is {expected:.6f}"
        shows = bool(expected - mean > 3 * error)
        return Check(what, law, mean, error, n, erratum=7, shows=shows, note=note)
    if case == "as trained in print":
        as_written = law_of("normal, relu", width, typical=True)
        shows = bool(abs(mean - as_written) > 3 * error)
        note = f"rows rescaled and q = exp N(0, 1); columns and q = 1, as written: {as_written:.4f}"
        if expected is not None:
            note += f"; the law in expectation is {expected:.4f}"
        return Check(what, law, mean, error, n, erratum=10, shows=shows, note=note)
    # typical laws at small widths are expansions: right to 0.002 at 16
    return Check(what, law, mean, error, n, approximate=0.002 if width < 32 else 5e-4)


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
