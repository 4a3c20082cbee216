"""Figures whose data are training runs: a sweep below the figure's folder, done runs kept.

A run is found again by what it asked for, so that a sweep that was stopped goes on where it was,
and a larger one adds to a smaller.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lipexp.config import typed
from lipexp.figures.figure import Context, mean_and_error
from lipexp.runs.summary import plural

# The decay paper's training: plain cross-entropy, Adam at one learning rate.
PLAIN = {
    "task.optimizer": "adam",
    "task.schedule": "constant",
    "task.lr": 0.001,
    "task.loss.offset": 0,
    "task.loss.temperature": 1,
}


@dataclass(frozen=True)
class Data:
    """A data set as it is on this machine: what a run needs to be told, and what to say of it."""

    name: str
    overrides: Mapping[str, Any]
    remark: str


def data_of(name: str) -> Data:
    """The set in the data folder; one that is not the published one is taken as it is, and said so.

    Raises UserError where it is missing.
    """
    from lipexp import data

    found = data.status(name)
    if found.state == "missing":
        data.load(name)  # says where it was looked for, and what fetches it
    if found.state == "whole":
        return Data(name, {}, f"the published {name}")
    return Data(name, {"dataset.verify": False}, f"{name}, not the published files: {found.reason}")


def sweep(
    points: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], data: Data, context: Context
) -> pd.DataFrame:
    """A row per point (about, keys): ``about``, what the run left (see `results`), the data.

    ``keys`` are those of ``lipexp run``, beside task=train, the data set, and the probe before
    training, which is all that `results` reads.
    """
    rows = []
    for about, keys in context.ticking(points):
        every = {"task": "train", "task.probe_epochs": [0], "dataset": data.name}
        every |= {**data.overrides, **keys}
        words = [f"{key}={typed(value)}" for key, value in every.items()]
        folder = context.run([*words, f"outputs={_quoted(context.folder)}"])
        rows.append({**about, **results(folder), "data": data.remark})
    return pd.DataFrame(rows)


def _quoted(path: Path) -> str:
    """A path as one value, whatever letters it has."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def results(folder: Path) -> dict[str, Any]:
    """Of a finished training: accuracy, certified accuracies, the commonest class, its start.

    ``commonest``: share of the test set's commonest class; ``predicted_commonest``: of the class
    that is predicted most often.  Before training, at the last hidden layer: ``log10_start``, log10
    of the second moment, ``log10_start_law``, its typical law, and ``log10_start_variance``, what
    of it differs between inputs; ``log10_gradient``: at the first hidden layer, of a cotangent of
    1 at the last.
    """
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    layers = pd.read_csv(folder / "layers.csv")
    start = layers[layers["epoch"] == 0].sort_values("layer")
    first, last = start[start["layer"] == 1].iloc[0], start.iloc[-1]
    certificates = pd.read_csv(folder / "certificates.csv", usecols=["label", "prediction"])
    kept = ("test_accuracy", "train_loss", "epochs", "train_images", "test_images")
    found = {key: summary[key] for key in (*kept, "training_seconds")}
    found |= {key: value for key, value in summary.items() if key.startswith("cra_")}
    return {
        **found,
        "commonest": certificates["label"].value_counts(normalize=True).iloc[0],
        "predicted_commonest": certificates["prediction"].value_counts(normalize=True).iloc[0],
        "log10_start": last["log10_second_moment"],
        "log10_start_variance": last["log10_variance"],
        "log10_start_law": last["predicted_typical_log10_second_moment"],
        "log10_gradient": first["log10_gradient_second_moment"],
        "run": folder.name,
    }


def over_seeds(table: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """``mean`` and ``error`` of a column over seeds, by what else differs, in the table's order."""
    rows = []
    for key, part in table.groupby(list(by), sort=False):
        mean, error = mean_and_error(part[column])
        rows.append(dict(zip(by, key, strict=True)) | {"mean": mean, "error": error})
    return pd.DataFrame(rows)


def data_named(table: pd.DataFrame) -> str:
    """The data in a few words, for a picture; `said` has the whole remark."""
    return table["data"].iloc[0].partition(":")[0]


def said(table: pd.DataFrame) -> str:
    """What was trained on, in a sentence."""
    first = table.iloc[0]
    seeds = table["seed"].nunique()
    *others, last = sorted(set(table["epochs"]), reverse=True)
    epochs = " or ".join([*map(str, others), plural(last, "epoch")])
    return (
        f"Data: {first['data']} ({first['train_images']:,} training and {first['test_images']:,} "
        f"test inputs). {epochs}, {plural(seeds, 'seed')}, "
        f"{table['training_seconds'].sum():.0f} s of training in all."
    )


def starts(table: pd.DataFrame, by: Sequence[str]) -> str:
    """What each training starts with beside what comes of it, as a table in Markdown."""
    heading = [*by, *_STARTS]
    lines = [heading, ["---"] * len(heading)]
    for key, part in table.groupby(list(by), sort=False):
        means = {word: part[column].mean() for word, column in _STARTS.items()}
        values = [
            "" if pd.isna(value) else f"{round(value, 2) + 0.0:.2f}" for value in means.values()
        ]
        values[-1] = f"{100 * part['test_accuracy'].mean():.2f} %"
        lines.append([*map(str, key), *values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# At the last hidden layer before training, log10; the gradient at the first.
_STARTS = {
    "second moment at the start, log10": "log10_start",
    "its law": "log10_start_law",
    "variance over inputs": "log10_start_variance",
    "gradient": "log10_gradient",
    "accuracy in the end": "test_accuracy",
}
