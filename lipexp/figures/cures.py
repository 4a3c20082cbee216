"""So what do I do?  Accuracy against depth with the paper's init, its remedy, and what cures.

One recipe for all: lipexp's own for the data set, with its margin offset.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures.figure import Check, Context, PaperFigure, Setting, Tables
from lipexp.figures.training_pictures import HOW, START, VARIANCE, against_depth
from lipexp.figures.trainings import data_named, data_of, over_seeds, said, starts, sweep
from lipexp.runs.summary import plural

_NORMAL = {"model": "aol", "init": "kaiming_normal", "activation": "relu", "model.rows": False}
_SORTING = {"model": "aol", "init": "orthogonal", "activation": "maxmin", "bias": "zero"}
CASES: dict[str, dict[str, Any]] = {
    "paper's: normal, relu": {**_NORMAL, "bias": "zero"},
    "its remedy: corrected bias": {**_NORMAL, "bias": "corrected"},
    "orthogonal, maxmin": {**_SORTING, "model.rows": False},
    "the same, rows where narrowing": {**_SORTING, "model.rows": "auto"},
    "identity, relu, rows": {
        "model": "aol",
        "init": "identity",
        "activation": "relu",
        "model.rows": "auto",
        "bias": "zero",
    },
    "residual SLL, orthogonal": {
        "model": "sll",
        "init": "orthogonal",
        "activation": "relu",
        "bias": "zero",
    },
}
PAPERS = tuple(CASES)[:2]
EPS = {"mnist": 0.3, "cifar10": "36/255"}
WIDTH = 5.2  # inches
LEARNS = 0.05  # above the commonest class's share: what a network that has not learnt keeps under

_SMALL = {"datasets": ["mnist"], "depths": [5, 15, 30], "width": 64, "epochs": 2, "seeds": [0]}
SETTINGS = {
    "small": _SMALL,
    "paper": {
        "datasets": ["mnist", "cifar10"],
        "depths": [5, 15, 30, 100],
        "width": 256,
        "epochs": 10,
        "seeds": [0, 1, 2],
    },
}


def measure(setting: Setting, context: Context) -> Tables:
    """``trained``: a row per (data set, case, depth, seed); ``cra`` is at the data set's radius."""
    parts = []
    for number, name in enumerate(setting["datasets"]):
        points = [
            (
                {"dataset": name, "case": case, "depth": depth, "seed": seed},
                {
                    **CASES[case],
                    "depth": depth,
                    "width": setting["width"],
                    "task.epochs": setting["epochs"],
                    "task.eps": [EPS[name]],
                    "seed": seed,
                },
            )
            for case in CASES
            for depth in setting["depths"]
            for seed in setting["seeds"]
        ]
        count = len(setting["datasets"])

        def tick(done: int, total: int, before: int = number, count: int = count) -> None:
            context.tick(before * total + done, count * total)

        here = Context(tick, context.tables, context.folder, context.run)
        found = sweep(points, data_of(name), here)
        cra = [column for column in found if column.startswith("cra_")]
        parts.append(found.rename(columns={cra[0]: "cra"}))
    return {"trained": pd.concat(parts, ignore_index=True)}


def draw(tables: Tables, setting: Setting) -> Figure:
    """Of the first data set; the others are in the table and in the report."""
    name = setting["datasets"][0]
    table = tables["trained"]
    table = table[table["dataset"] == name]
    note = f"{plural(setting['epochs'], 'epoch')}, Adam, one cycle, "
    note += f"{plural(len(setting['seeds']), 'seed')}, the same recipe for all. "
    note += f"Data: {data_named(table)}. Points of one depth stand side "
    note += "by side. CRA@r: certified robust accuracy at l2 radius r. " + HOW
    return against_depth(
        table,
        f"Cures on {name}, width {setting['width']}: accuracy, certified accuracy, and the signal "
        "training starts with",
        note,
        by="case",
        columns=("test_accuracy", "cra", VARIANCE),
        labels=("accuracy, %", f"CRA@{EPS[name]}, %", START),
        width=WIDTH,
    )


def checks(tables: Tables, setting: Setting) -> list[Check]:
    table = tables["trained"]
    n = f"{plural(len(setting['seeds']), 'seed')}, {plural(setting['epochs'], 'epoch')}"
    found = []
    for column, label in (("test_accuracy", "accuracy"), ("cra", "CRA")):
        for row in over_seeds(table, ["dataset", "case", "depth"], column).itertuples():
            radius = f"@{EPS[row.dataset]}" if column == "cra" else ""
            what = f"{row.dataset}, {row.case}, depth {row.depth}: {label}{radius}, %"
            error = None if pd.isna(row.error) else 100 * row.error
            found.append(Check(what, None, 100 * row.mean, error, n))
    return [*found, *_errata(table, setting, n)]


def _errata(table: pd.DataFrame, setting: Setting, n: str) -> list[Check]:
    """At the largest depth: what the remedy brings, and what learns where print says all decays."""
    depth, found = max(setting["depths"]), []
    for name in setting["datasets"]:
        here = table[(table["dataset"] == name) & (table["depth"] == depth)]
        level = float(here["commonest"].iloc[0])
        accuracy = here.groupby("case", sort=False)["test_accuracy"].mean()
        for case, number, learns in (
            (PAPERS[1], 9, False),
            ("the same, rows where narrowing", 8, True),
        ):
            above = float(accuracy[case]) - level
            found.append(
                Check(
                    f"{name}, {case}, depth {depth}: accuracy above the commonest class, points",
                    None,
                    100 * above,
                    None,
                    n,
                    erratum=number,
                    shows=bool((above > LEARNS) is learns),
                )
            )
    return found


def words(tables: Tables, setting: Setting) -> list[str]:
    table, depth = tables["trained"], max(setting["depths"])
    found = []
    for name in setting["datasets"]:
        here = table[table["dataset"] == name]
        level = here["commonest"].iloc[0]
        learnt, stuck = [], []
        for row in over_seeds(here[here["depth"] == depth], ["case"], "test_accuracy").itertuples():
            learns = row.mean > level + LEARNS
            (learnt if learns else stuck).append(f"{row.case} {100 * row.mean:.1f} %")
        found.append(said(here))
        found.append(starts(here, ["case", "depth"]))
        found.append(
            f"**At depth {depth} on {name}** these learn: {'; '.join(learnt) or 'none'}. These "
            f"stay at the commonest class ({100 * level:.1f} %): {'; '.join(stuck) or 'none'}."
        )
    return found


FIGURE = PaperFigure(SETTINGS, measure, draw, checks, words)
