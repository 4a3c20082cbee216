"""What report.html shows, as plain data: the runs, the plots, the curves of the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lipexp.errors import UserError
from lipexp.plots.abscissae import abscissa, told, varying_axes
from lipexp.plots.labels import LAWS, METRICS, in_words
from lipexp.plots.series import Series, series
from lipexp.rationals import suffixes
from lipexp.runs.collect.curves import KINDS, curves
from lipexp.runs.collect.reading import is_setting
from lipexp.runs.collect.tables import keys, varying, with_metric

# Numbers that say how a run was made, not what came out of it: not drawn, and not shown at first.
MADE_BY = (
    *("epochs_done", "epochs", "parameters", "seconds", "training_seconds", "images_per_second"),
    *("dataset_train", "dataset_test", "train_images", "test_images", "threads"),
    *("attack_points", "attack_steps", "attack_restarts", "attack_seed", "certify_seconds"),
)
FIRST = ("test_accuracy", "cra_", "attacked_accuracy_", "decay_per_layer_")  # shown at first
MOST_GROUPS = 48  # of one plot, which nobody can tell apart
MOST_METRICS = 24
SIGNIFICANT = 6  # digits of a number in a plot

Asked = tuple[str, Sequence[str], str | None]  # metric, by, against


def report_data(
    runs: pd.DataFrame, layers: pd.DataFrame, asked: Asked | None = None
) -> dict[str, Any]:
    """``runs`` and ``layers`` as `lipexp.runs.collect.tables.collect` gives them, made for JSON.

    ``runs``: columns that differ; ``same``: what all runs have in common; ``commands``: as numbers
    of ``words``; ``plots``: every metric against depth, width and init, as far as they vary, first
    the one that was asked for; ``curves``: for each run the ``lines`` of KINDS, or None.
    """
    of_layers = curves(layers)
    columns, same = _columns(runs)
    words, commands = _commands(runs["command"])
    return {
        "count": len(runs),
        "columns": columns,
        "same": same,
        "words": words,
        "commands": commands,
        "kinds": [list(kind[1:]) for kind in KINDS],
        "curves": [of_layers.get(key) for key in keys(runs)],
        "plots": _plots(runs, asked),
    }


def metrics_of(runs: pd.DataFrame) -> list[str]:
    """The headline numbers that can be drawn: those of most runs first, then what matters most."""
    done = runs[runs["status"] == "done"]
    numbers = done.select_dtypes("number").dropna(axis="columns", how="all")
    found = [
        key
        for key in numbers
        if not is_setting(key) and key not in MADE_BY and not key.startswith(tuple(LAWS))
    ]
    shares = [f"cra_{eps}" for eps in suffixes(numbers, "cra_")]
    first = ["test_accuracy", *shares, *METRICS]
    return sorted(found, key=lambda key: (-numbers[key].count(), (first + found).index(key)))


def _columns(runs: pd.DataFrame) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(the columns that differ between runs, what is the same in all of them)."""
    columns, same = [], {}
    for key in runs.columns.drop("command"):
        values = runs[key]
        known = values.dropna()
        if known.empty:
            continue
        alike = len(values) > 1 and len(known) == len(values) and known.nunique() == 1
        if alike and key not in ("name", "status", "folder"):
            same[key] = _plain(known.iloc[0])
            continue
        setting = is_setting(key)
        first = key in ("name", "status") or (setting and known.nunique() > 1)
        column = {"key": key, "shown": bool(first or key.startswith(FIRST)), "setting": setting}
        columns.append({**column, **_values(values)})
    return columns, same


def _values(values: pd.Series) -> dict[str, Any]:
    """Numbers as they are; texts as numbers of ``words``, of which there are often few."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        return {"number": True, "values": [_plain(value) for value in values]}
    codes, words = pd.factorize(values)
    at = [None if code < 0 else int(code) for code in codes]
    return {"number": False, "words": [str(word) for word in words], "values": at}


def _plain(value: Any) -> Any:
    """What JSON can hold, exactly: None for missing, "inf" for an infinity."""
    if value is None or value is pd.NA or value != value:
        return None
    if isinstance(value, (int, np.integer)):
        return int(value)
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def _commands(commands: pd.Series) -> tuple[list[str], list[list[int] | None]]:
    """(words, each command as their numbers): joined by single blanks they are the commands."""
    numbers: dict[str, int] = {}
    found: list[list[int] | None] = []
    for command in commands:
        if not isinstance(command, str):
            found.append(None)
            continue
        words = command.split(" ")
        found.append([numbers.setdefault(word, len(numbers)) for word in words])
    return list(numbers), found


def _plots(runs: pd.DataFrame, asked: Asked | None) -> list[dict[str, Any]]:
    plots = []
    if asked is not None:
        metric, by, against = asked
        plots.append(_plot(series(with_metric(runs, metric), by, metric, against), by))
    known: dict[Any, list[tuple[str, list[str]]]] = {}
    for metric in metrics_of(runs)[:MOST_METRICS]:
        try:
            finished = with_metric(runs, metric)
        except UserError:
            continue
        if not np.isfinite(finished[metric].astype(float)).any() or finished[metric].nunique() < 2:
            continue
        rows = tuple(finished.index)
        if rows not in known:  # many metrics are of the same runs
            axes = varying_axes(finished) or [abscissa(finished)]
            without = [told(finished, axis) for axis in axes]
            bys = [varying(finished, without=axis) for axis in without]
            known[rows] = list(zip(axes, bys, strict=True))
        for against, by in known[rows]:
            plots.append(_plot(series(finished, by, metric, against), by))
    return plots


def _plot(shown: Series, by: Sequence[str]) -> dict[str, Any]:
    what, unit = in_words(shown.metric)
    return {
        "metric": shown.metric,
        "what": what,
        "unit": unit,
        "against": shown.against,
        "by": [key for key in by if key.partition(".")[0] != shown.against],
        "ticks": shown.ticks,
        "law": shown.law,
        "groups": [
            {"label": group.label.replace("\n", " "), "points": _rows(group.points)}
            for group in shown.groups[:MOST_GROUPS]
        ],
        "more": max(len(shown.groups) - MOST_GROUPS, 0),
    }


def _rows(points: pd.DataFrame) -> list[list[Any]]:
    """[x, mean, spread, n, law] of each."""
    parts = points[["mean", "spread", "n", "law"]]
    return [
        [_rounded(_plain(value)) for value in (x, *row)]
        for x, row in zip(points.index, parts.itertuples(index=False, name=None), strict=True)
    ]


def _rounded(value: Any) -> Any:
    return float(f"{value:.{SIGNIFICANT}g}") if isinstance(value, float) else value
