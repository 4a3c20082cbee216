"""Residual SLL on CIFAR-10: accuracy and certified accuracy, default against corrected bias.

The paper's network (20 convolutions of 45 channels with 5 inside, then 7 dense layers of 2048,
1,000 epochs) is none that this program builds, and its convolutions have no corrected bias.  So two
stand in for it: a dense residual SLL network under each bias mode, and the residual convolutional
network of arXiv 2311.16833 under the default bias.
"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import LATER, Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.trainings import data_named, data_of, over_seeds, said, starts, sweep
from lipexp.plots import style
from lipexp.runs.summary import plural

EPS = (0.25, 0.5, 1)
COLUMNS = ("test_accuracy", *(f"cra_{eps}" for eps in EPS))
LABELS = ("clean", *(f"CRA@{eps}" for eps in EPS))
# per cent, mean over 3 seeds and standard deviation where known: clean, CRA@0.25, @0.5, @1
IN_PRINT = {
    "default": ((71.14, 0.30), (54.63, 0.0), (39.13, 0.0), (17.62, 0.0)),
    "corrected": ((70.70, 0.18), (54.34, 0.0), (39.51, 0.0), (17.99, 0.0)),
}
_LOSS = {  # the paper's: offset 1.5 sqrt 2, temperature 1/4
    "task.loss.offset": 2.1213,
    "task.loss.temperature": 0.25,
    "task.optimizer": "adam",
    "task.schedule": "onecycle",
    "task.lr": 0.01,
    "task.augment": "crop_flip",
}

_SMALL = {
    "dense": {"width": 256, "depth": 8, "epochs": 2, "batch": 128},
    "convolutional": {"width": 8, "depth": 10, "epochs": 1, "batch": 128},
    "biases": ["zero", "default", "corrected"],
    "seeds": [0],
}
SETTINGS = {
    "small": _SMALL,
    "paper": {
        **_SMALL,
        "dense": {"width": 2048, "depth": 27, "epochs": 1000, "batch": 64},
        "convolutional": {"width": 48, "depth": 20, "epochs": 1000, "batch": 64},
        "seeds": [0, 1, 2],
    },
}


def measure(setting: Setting, context: Context) -> Tables:
    """``trained``: a row per (network, bias, seed), see `lipexp.figures.trainings.results`."""
    cases = [("dense", "mlp", bias) for bias in setting["biases"]]
    cases.append(("convolutional", "lipconvnet", "default"))
    points = [
        (
            {"network": kind, "bias": bias, "depth": setting[kind]["depth"], "seed": seed},
            _keys(network, bias, seed, setting[kind]),
        )
        for kind, network, bias in cases
        for seed in setting["seeds"]
    ]
    return {"trained": sweep(points, data_of("cifar10"), context)}


def _keys(network: str, bias: str, seed: int, size: Setting) -> dict[str, Any]:
    return {
        "model": "sll",
        "network": network,
        "init": "kaiming_normal",
        "activation": "relu",
        "bias": bias,
        **_LOSS,
        "width": size["width"],
        "depth": size["depth"],
        "batch": size["batch"],
        "task.epochs": size["epochs"],
        "task.eps": list(EPS),
        "seed": seed,
        **({"network.activation": "identity"} if network == "lipconvnet" else {}),
    }


@style.styled
def draw(tables: Tables, setting: Setting) -> Figure:
    """Bars of ours, and what is printed of another network as crosses."""
    table = tables["trained"]
    figure, (axes,) = page.page("Residual SLL on CIFAR-10: accuracy and certified accuracy")
    groups = list(dict.fromkeys(zip(table["network"], table["bias"], strict=True)))
    breadth = 0.8 / len(groups)
    places = np.arange(len(COLUMNS))
    for number, ((network, bias), colour) in enumerate(zip(groups, style.PALETTE, strict=False)):
        part = table[(table["network"] == network) & (table["bias"] == bias)]
        x = places + (number - (len(groups) - 1) / 2) * breadth
        heights = [100 * part[column].mean() for column in COLUMNS]
        axes.bar(x, heights, 0.9 * breadth, color=colour, label=f"{network}, {bias} bias")
    for bias, marker in (("default", "x"), ("corrected", "+")):
        values = [value for value, _ in IN_PRINT[bias]]
        look = {"ls": "none", "ms": 6, "color": "black"}
        axes.plot(places, values, marker=marker, label=f"in print, {bias} bias", **look)
    axes.axhline(10, ls=":", color=style.GREY, lw=1.0, label="one class of ten")
    axes.set(ylabel="share of the test set, %", ylim=(0, 80))
    axes.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(places))
    axes.set_xticks(places, LABELS)
    sizes = "; ".join(
        f"{kind}: depth {setting[kind]['depth']}, width {setting[kind]['width']}, "
        f"{plural(setting[kind]['epochs'], 'epoch')}"
        for kind in ("dense", "convolutional")
    )
    note = f"Not the paper's network, which was trained for 1,000 epochs. {sizes}. "
    page.arrange(figure, note + f"Data: {data_named(table)}", height=1.9)
    return figure


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table, found = tables["trained"], []
    for bias, values in IN_PRINT.items():
        for label, (value, _) in zip(LABELS, values, strict=True):
            what = f"SLL Small, {bias} bias: {label}, %"
            note = "this program does not build that network"
            found.append(Check(what, printed=value, source=LATER, note=note))
    for column, label in zip(COLUMNS, LABELS, strict=True):
        for row in over_seeds(table, ["network", "bias"], column).itertuples():
            size = setting[row.network]
            what = f"{row.network} residual SLL, {row.bias} bias: {label}, %"
            error = None if pd.isna(row.error) else 100 * row.error
            n = f"{plural(len(setting['seeds']), 'seed')}, {plural(size['epochs'], 'epoch')}"
            found.append(Check(what, None, 100 * row.mean, error, n))
    return [*found, *_remedy(table, setting)]


def _remedy(table: pd.DataFrame, setting: Setting) -> list[Check]:
    """Corrected less default bias, clean accuracy, dense networks: nothing is gained."""
    dense = table[table["network"] == "dense"].set_index(["bias", "seed"])["test_accuracy"]
    if not {"corrected", "default"} <= set(dense.index.get_level_values("bias")):
        return []
    gain = 100 * (dense.loc["corrected"] - dense.loc["default"])
    error = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else None
    what = "dense residual SLL: accuracy with corrected less that with default bias, points"
    n = f"{plural(len(gain), 'seed')}"
    shows = float(gain.mean()) - 3 * (error or 0.0) < 1.0
    if error is None:  # one seed's luck is as large
        return [Check(what, None, float(gain.mean()), None, n)]
    return [Check(what, None, float(gain.mean()), error, n, erratum=9, shows=bool(shows))]


def words(tables: Tables, setting: Setting) -> list[str]:
    conv = setting["convolutional"]
    return [
        said(tables["trained"]),
        "**Not the paper's network.** In print: SLL Small, 20 convolutions of 45 channels with 5 "
        "hidden ones, then 7 dense layers of 2048, 1,000 epochs, batch 64, Adam with betas .5 and "
        ".9. Here: dense residual SLL blocks behind an AOL layer that brings the image to their "
        f"width, depth {setting['dense']['depth']}; and the residual convolutional network of "
        f"arXiv 2311.16833 with {conv['width']} channels at first and {conv['depth']} "
        "convolutions. Both start from kaiming_normal weights. Betas are .9 "
        "and .999. The corrected bias is known for dense layers alone. "
        "Loss (offset 1.5 sqrt 2, temperature 1/4) and learning rate (up to .01) are the paper's. "
        "The values for noise and attacks (PGD, AutoAttack) are not repeated.",
        starts(tables["trained"], ["network", "bias"]),
    ]


FIGURE = PaperFigure(SETTINGS, measure, draw, checks, words)
