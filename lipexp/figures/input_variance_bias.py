"""What is left of the input in the signal: its variance over inputs, under each bias mode.

The corrected bias holds the second moment at 1 and nothing else: it is common to all inputs, whose
differences lose the factor n q c per layer as under zero bias.  Relu; maxmin and abs beside it.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import (
    LATER,
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

BIASES = ("zero", "default", "normal", "corrected")
ACTIVATIONS = ("relu", "maxmin", "abs")
HEAD = 50  # layers of zero bias in which the inputs become parallel, left out of the slopes

# The authors' later run: CIFAR-10, three seeds, corrected bias, from 2.1e-3 at layer 1 to between
# 1.0e-23 and 2.0e-23 at layer 15.  Here with Gaussian inputs.
LATER_WIDTH, LATER_DEPTH = 256, 15
LATER_RATE = math.log10(math.sqrt(1.0e-23 * 2.0e-23) / 2.1e-3) / (LATER_DEPTH - 1)

_SMALL = {
    "width": 64,
    "depth": 300,
    "networks": 4,
    "inputs": 64,
    "seed": 0,
    "later": {"width": LATER_WIDTH, "depth": LATER_DEPTH, "networks": 8},
}
SETTINGS = {"small": _SMALL, "paper": {**_SMALL, "depth": 1000}}


def measure(setting: Setting, context: Context) -> Tables:
    """``layers``: mean log10 over networks by (activation, bias, layer); ``slopes`` of each."""
    layers, rates = [], []
    size = {key: value for key, value in setting.items() if key != "later"}
    cases = [(activation, bias) for activation in ACTIVATIONS for bias in BIASES]
    for activation, bias in context.ticking(cases):
        table = probed(**size, activation=activation, bias=bias)
        about = {"activation": activation, "bias": bias}
        columns = ["log10_second_moment", "log10_variance"]
        layers.append(table.groupby("layer")[columns].mean().reset_index().assign(**about))
        last = setting["depth"]
        of = {name: slopes(table, name, min(HEAD, last // 2), last) for name in columns}
        rates.append(pd.DataFrame(of).reset_index().assign(**about))
    return {
        "layers": pd.concat(layers, ignore_index=True),
        "slopes": pd.concat(rates, ignore_index=True),
        "later": _later({**size, **setting["later"]}),
    }


def _later(size: Setting) -> pd.DataFrame:
    """Slopes at the size of the authors' later run, a row per network."""
    table = probed(**size, bias="corrected")
    return slopes(table, "log10_variance", 1, size["depth"]).rename("log10_variance").reset_index()


def _typical(width: int, activation: str) -> float:
    size = {"fan_in": width, "fan_out": width}
    return decay_per_layer("aol", "normal", activation, typical=True, **size)


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Second moment (thin) and input variance (thick) against depth, by bias and activation."""
    table, depth = tables["layers"], setting["depth"]
    figure, grid = page.page(
        f"What is left of the input, AOL networks, width {setting['width']}",
        rows=2,
        columns=3,
        width=page.TWO,
        height=1.5,
        sharey="row",
    )
    layers = np.arange(depth + 1)
    colours = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION)
    for (above, below), activation in zip(
        zip(grid[:3], grid[3:], strict=True), ACTIVATIONS, strict=True
    ):
        law = _typical(setting["width"], activation) * layers
        for bias, colour in zip(BIASES, colours, strict=True):
            rows = table[(table["activation"] == activation) & (table["bias"] == bias)]
            moment = rows["log10_second_moment"]
            above.plot(layers, rows["log10_variance"], color=colour, lw=1.4)
            above.plot(layers, moment, color=colour, lw=0.8, ls=(0, (4, 1, 1, 1)))
            below.plot(
                layers,
                rows["log10_variance"] - law,
                color=colour,
                label=f"bias {bias}",
                lw=2.4 if bias == "normal" else 1.2,
            )
        above.plot(layers, law, "--", color="black", lw=0.9, label="typical law, zero bias")
        below.axhline(0, ls="--", color="black", lw=0.9)
        above.text(0.95, 0.75, activation, ha="right", transform=above.transAxes)
        below.set_xlabel("layer l")
        style.whole_numbers(below)
    grid[0].plot([], [], color=style.GREY, lw=1.4, label="variance over inputs")
    dashes = {"color": style.GREY, "lw": 0.8, "ls": (0, (4, 1, 1, 1))}
    grid[0].plot([], [], label="second moment of z", **dashes)
    grid[0].set_ylabel("log₁₀ mean square")
    grid[3].set_ylabel("variance less law")
    note = f"{setting['networks']} networks, {setting['inputs']} Gaussian inputs, float64 with "
    note += "carried scales; mean of the logarithm over networks; below: decades above the law"
    page.arrange(figure, note, height=1.5)
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table, steps = tables["slopes"], setting["depth"] - min(HEAD, setting["depth"] // 2)
    n = f"{setting['networks']} networks x {steps} layers"
    found = [_later_check(tables["later"], setting["later"]["width"])]
    for (activation, bias), rows in table.groupby(["activation", "bias"], sort=False):
        mean, _ = mean_and_error(rows["log10_variance"])
        # of a layer's gain: relative variance c / width, c = 5 for relu, 2 where norms are kept
        spread = math.sqrt((5 if activation == "relu" else 2) / setting["width"]) / math.log(10)
        error = spread / math.sqrt(steps * setting["networks"])
        law = _typical(setting["width"], activation)
        what = f"input variance, log10 per layer, {activation}, bias {bias}, width "
        bears = (activation, bias) == ("relu", "corrected")
        moment = rows["log10_second_moment"].mean()
        found.append(
            Check(
                what + str(setting["width"]),
                law,
                mean,
                error,
                n,
                erratum=9 if bears else None,
                shows=bool(mean < -1 and abs(moment) < 0.01) if bears else None,
                note=f"second moment {moment:+.4f} per layer",
                approximate=2e-3,
            )
        )
    return found


def _later_check(table: pd.DataFrame, width: int) -> Check:
    mean, error = mean_and_error(table["log10_variance"])
    return Check(
        f"input variance, log10 per layer, relu, bias corrected, width {width}, 15 layers",
        _typical(width, "relu"),
        mean,
        error,
        f"{len(table)} networks",
        printed=LATER_RATE,
        source=LATER,
        erratum=9,
        shows=mean < -1,
        note="theirs: CIFAR-10; ours: Gaussian inputs",
    )


FIGURE = PaperFigure(SETTINGS, measure, draw, checks)
