"""CIFAR-10 with feedforward networks: clean and certified accuracy against depth.

In print depth 5 learns and depth 15 and 30 stay at one class, 10.00 %; beside them the same
layers with orthogonal weights and maxmin, which lose no signal.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures.figure import LATER, Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.training_pictures import HOW, START, VARIANCE, against_depth
from lipexp.figures.trainings import PLAIN, data_named, data_of, over_seeds, said, starts, sweep
from lipexp.runs.summary import plural

_PAPERS = {"init": "kaiming_normal", "activation": "relu", "model.rows": False}
CASES: dict[str, dict[str, Any]] = {
    "AOL, zero bias": {"model": "aol", "bias": "zero", **_PAPERS},
    "AOL, corrected bias": {"model": "aol", "bias": "corrected", **_PAPERS},
    "SLL, zero bias": {"model": "sll_feedforward", "bias": "zero", **_PAPERS},
    "SLL, corrected bias": {"model": "sll_feedforward", "bias": "corrected", **_PAPERS},
    "AOL, orthogonal, maxmin": {
        "model": "aol",
        "bias": "zero",
        "init": "orthogonal",
        "activation": "maxmin",
        "model.rows": "auto",
    },
}
# per cent at depth 5 after 100 epochs, mean over 3 seeds and standard deviation: clean, CRA@0.5
IN_PRINT = {
    "AOL, zero bias": ((44.30, 0.28), (17.89, 0.68)),
    "AOL, corrected bias": ((43.65, 0.27), (16.21, 0.92)),
    "SLL, zero bias": ((44.17, 0.26), (18.10, 0.63)),
    "SLL, corrected bias": ((43.95, 0.37), (16.73, 0.86)),
}
DEEP_IN_PRINT = ((10.00, 0.0), (0.00, 0.0))  # at depth 15 and 30
EPS = 0.5
COLUMNS = ("test_accuracy", f"cra_{EPS}")

_SMALL = {
    "cases": ["AOL, zero bias", "AOL, orthogonal, maxmin"],
    "depths": [5, 15],
    "width": 256,
    "batch": 128,
    "epochs": 2,
    "seeds": [0],
}
SETTINGS = {
    "small": _SMALL,
    "paper": {
        **_SMALL,
        "cases": list(CASES),
        "depths": [5, 15, 30],
        "epochs": 100,
        "seeds": [0, 1, 2],
    },
}


def measure(setting: Setting, context: Context) -> Tables:
    """``trained``: a row per (case, depth, seed), see `lipexp.figures.trainings.results`."""
    points = [
        (
            {"case": case, "depth": depth, "seed": seed},
            {
                **PLAIN,
                **CASES[case],
                "depth": depth,
                "width": setting["width"],
                "batch": setting["batch"],
                "task.epochs": setting["epochs"],
                "task.augment": "crop_flip",
                "task.validation": 0.1,
                "task.eps": [EPS],
                "seed": seed,
            },
        )
        for case in setting["cases"]
        for depth in setting["depths"]
        for seed in setting["seeds"]
    ]
    return {"trained": sweep(points, data_of("cifar10"), context)}


def printed(case: str, depth: int) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """(clean, CRA@0.5), each with its standard deviation, per cent; None where not in print."""
    if case not in IN_PRINT:
        return None
    return IN_PRINT[case] if depth == 5 else DEEP_IN_PRINT


def draw(tables: Tables, setting: Setting) -> Figure:
    rows = [
        {"case": case, "depth": depth, "column": column, "value": value}
        for case in setting["cases"]
        for depth in setting["depths"]
        for column, (value, _) in zip(COLUMNS, printed(case, depth) or (), strict=False)
    ]
    table = tables["trained"]
    note = f"{plural(setting['epochs'], 'epoch')}, Adam 1e-3, batch {setting['batch']}, "
    note += (
        f"crop and flip, {plural(len(setting['seeds']), 'seed')}; in print: 100 epochs, 3 seeds. "
    )
    return against_depth(
        table,
        f"CIFAR-10, width {setting['width']}: accuracy and signal at the start",
        note + f"{HOW} Data: {data_named(table)}",
        by="case",
        columns=(*COLUMNS, VARIANCE),
        labels=("accuracy, %", f"CRA@{EPS}, %", START),
        printed=pd.DataFrame(rows),
    )


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["trained"]
    n = f"{plural(len(setting['seeds']), 'seed')}, {plural(setting['epochs'], 'epoch')}"
    whole = setting["epochs"] == SETTINGS["paper"]["epochs"]
    found = []
    for column, name, place in zip(COLUMNS, ("accuracy", f"CRA@{EPS}"), (0, 1), strict=True):
        for row in over_seeds(table, ["case", "depth"], column).itertuples():
            what = f"CIFAR-10, {row.case}, depth {row.depth}: {name}, %"
            ours, error = 100 * row.mean, None if pd.isna(row.error) else 100 * row.error
            in_print = printed(row.case, row.depth)
            if in_print is None:
                found.append(Check(what, None, ours, error, n))
                continue
            value, spread = in_print[place]
            if whole or row.depth > 5:  # one class before and after training: at any length
                draw_ = spread / value / 3**0.5 if value else 0.0
                found.append(Check(what, None, ours, error, n, value, LATER, draw=draw_))
            else:
                after = f"after {plural(setting['epochs'], 'epoch')} instead of 100: {ours:.2f}"
                found.append(Check(what, None, None, None, n, value, LATER, note=after))
    return found


def words(tables: Tables, setting: Setting) -> list[str]:
    return [said(tables["trained"]), starts(tables["trained"], ["case", "depth"])]


FIGURE = PaperFigure(SETTINGS, measure, draw, checks, words)
