"""All runs of a folder as two tidy tables: one row per run, one row per layer of every run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from lipexp.errors import UserError
from lipexp.rationals import suffixes
from lipexp.registry import hint
from lipexp.runs.collect import layer_files
from lipexp.runs.collect.reading import DONE, FILES, LEADING, Run, is_setting, read

COLLECTED = "runs.csv"  # a folder with this is what an earlier collection left
DEEPEST = 3  # levels below the folder that is given: outputs/runs/<task>/<name>, and one above


def collect(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(runs, layers) of every run at or below ``folder``, sorted by name.

    ``runs``: name, status, the settings (a choice's keys as ``init.beta``), of a training
    ``epochs_done``, the headline numbers of summary.json, the folder and the command that repeats
    the run; missing where a run has none.  Status: done; running, a process holds its folder;
    unfinished, interrupted; failed, log.txt holds a trace of this attempt; unreadable, a file is
    missing or broken, which is no error.  ``layers``: every layers.csv, with what `keys` calls the
    run in a first column ``run``.
    Files may come and go meanwhile: each is read once, and summary.json, written last, first.
    """
    found = [read(path) for path in _folders(Path(folder))]
    found = [run for run in found if run is not None]
    files = {n: run.layers for n, run in enumerate(found) if run.layers is not None}
    layers, broken = layer_files.together(files)
    for number in broken:
        found[number].is_unreadable()
    runs = _table(found)
    layers.insert(0, "run", keys(runs).to_numpy(dtype=object)[layers.pop(layer_files.PLACE)])
    return runs, layers


def keys(runs: pd.DataFrame) -> pd.Series:
    """What runs are told apart by: the name; the folder, where several have the same name."""
    return runs["name"].where(~runs["name"].duplicated(keep=False), runs["folder"])


def group(runs: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and n of a metric over the done runs that agree in ``by``.

    Raises UserError for names that are no column, no number, or that no finished run has.
    """
    for key in by:
        if key not in runs:
            raise UserError(f"runs have no column {key!r}; {hint(key, runs.columns)}")
    finished = with_metric(runs, metric)
    grouped = finished.groupby(list(by), dropna=False)[metric].agg(["mean", "std", "count"])
    names = {"std": "standard_deviation", "count": "n"}
    return grouped.reset_index().rename(columns=names)


def pooled(runs: pd.DataFrame, by: Sequence[str], metric: str) -> list[str]:
    """The settings in which runs that ``group`` puts together differ, the seed aside.

    A mean over such runs is of unlike things.  Raises UserError as `with_metric` does.
    """
    finished = with_metric(runs, metric)
    groups = finished.groupby(list(by), dropna=False)
    settings = [key for key in finished if is_setting(key) and key not in ("seed", *by)]
    return [key for key in settings if (groups[key].nunique() > 1).any()]


def with_metric(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The done runs that have a metric, each once.

    Raises UserError where it is none, or none has it.
    """
    metrics = [key for key in runs.select_dtypes("number") if not is_setting(key)]
    if metric not in metrics:
        instead = hint(metric, runs[metrics].dropna(axis="columns", how="all"))
        raise UserError(f"unknown metric {metric!r}; {instead}" if instead else _nobody(metric))
    finished = runs[(runs["status"] == DONE) & runs[metric].notna()]
    finished = finished[~copies(finished)]
    if finished.empty:
        raise UserError(_nobody(metric))
    return finished


def copies(runs: pd.DataFrame) -> pd.Series:
    """Which runs are an earlier one again: the same request in another folder.

    A mean over seeds counts each once, or n is too large and the deviation too small.
    """
    return runs.duplicated(["name", *filter(is_setting, runs)])


def unlike_in_name_alone(runs: pd.DataFrame) -> pd.Series:
    """Which runs have every setting, the seed too, of an earlier one that is no copy.

    What tells them apart is no setting: the source of a plugin.
    """
    return ~copies(runs) & runs.duplicated([*filter(is_setting, runs)])


def _nobody(metric: str) -> str:
    return f"no finished run has {metric}"


def varying(
    runs: pd.DataFrame, first: Sequence[str] = (), without: Sequence[str] = ()
) -> list[str]:
    """The settings that tell runs apart, the seed aside: what a mean over seeds is grouped by.

    ``first`` come first, whether they vary or not; behind them those that tell apart what the
    earlier ones do not, so that a network that goes with its data set is not named beside it; the
    data set is never left out for a width or a batch that goes with it.
    ``without``: what is told otherwise, such as the axis of a plot.  A key that only some choices
    have does not vary by being absent from the others.
    """
    found = list(first)
    left = [key for key in runs if is_setting(key) and key not in ("seed", *found, *without)]
    for key in sorted(left, key=lambda key: key != "dataset"):
        if runs[key].nunique() < 2:
            continue
        before = runs.groupby(found, dropna=False).ngroups if found else 1
        within = runs.groupby([*found, key], dropna=False).ngroups
        if within > before:
            found.append(key)
    return [*first, *(key for key in left if key in found)]


def named(runs: pd.DataFrame, *keys: str) -> list[str]:
    """Keys that are named in any case, and the data set where there are several."""
    return [*keys, *(["dataset"] if runs["dataset"].nunique() > 1 else [])]


def trained(runs: pd.DataFrame) -> pd.DataFrame:
    """The done runs that have a test accuracy."""
    try:
        return with_metric(runs, "test_accuracy")
    except UserError:
        return runs.iloc[:0]


def accuracies(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """n, and mean and standard deviation (n - 1) of test_accuracy and each cra_<eps> of trained
    runs, by model, depth, init and what else varies besides the seed.

    (table, the columns that name a group); the deviation of a metric is in ``<metric>_sd``.  What
    not all n runs of a group have is missing.
    """
    by = varying(runs, first=named(runs, "model", "depth", "init"))
    known = runs.select_dtypes("number").dropna(axis="columns", how="all")
    groups = runs.groupby(by, dropna=False)
    n = groups["test_accuracy"].count()
    columns = {"n": n}
    for metric in ("test_accuracy", *(f"cra_{eps}" for eps in suffixes(known, "cra_"))):
        found = groups[metric].agg(["mean", "std"]).where(groups[metric].count() == n)
        columns[metric], columns[f"{metric}_sd"] = found["mean"], found["std"]
    return pd.DataFrame(columns).reset_index(), by


def _folders(folder: Path, levels: int = DEEPEST) -> list[Path]:
    """The run folders at or below ``folder``, by name; what cannot be listed is not there."""
    try:
        names = {entry.name: entry.is_dir() for entry in folder.iterdir()}
    except OSError:
        return []
    if COLLECTED in names:
        return []
    if any(name in names for name in FILES):
        return [folder]
    if not levels:
        return []
    inside = [
        found
        for name, is_folder in names.items()
        if is_folder and not name.startswith(".")
        for found in _folders(folder / name, levels - 1)
    ]
    return sorted(inside, key=lambda path: (path.name, path))


def _table(found: Sequence[Run]) -> pd.DataFrame:
    """One row per run: the leading columns, the other settings by name, the headline numbers."""
    rows = [{"name": run.name, "status": run.status, **run.settings} for run in found]
    settings = sorted({key for row in rows for key in row} - set(LEADING))
    own = [key for key in settings if key.startswith("init.")]
    after = LEADING.index("init") + 1
    others = [key for key in settings if key not in own]
    headlines = list(dict.fromkeys(key for run in found for key in run.headline))
    columns = [*LEADING[:after], *own, *LEADING[after:], *others]
    data = {key: _column([row.get(key) for row in rows]) for key in columns}
    data |= {key: _column([run.headline.get(key) for run in found]) for key in headlines}
    data["folder"] = _column([run.folder.as_posix() for run in found])
    data["command"] = _column([run.command for run in found])
    return pd.DataFrame(data)


def _column(values: list[Any]) -> pd.Series:
    """Whole numbers, numbers or text, whichever holds them all; a missing value stays missing."""
    known = [value for value in values if value is not None]
    with suppress(OverflowError):  # whole numbers that are too long are numbers, longer ones text
        if all(type(value) is int for value in known) and known:
            return pd.Series(values, dtype="Int64")
    with suppress(OverflowError):
        if all(type(value) in (int, float) for value in known):
            return pd.Series(values, dtype=float)
    return pd.Series([None if value is None else _text(value) for value in values], dtype=str)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
