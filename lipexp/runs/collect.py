"""All runs of a folder as two tidy tables: one row per run, one row per layer of every run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout

from lipexp.config import GROUPS, KEYS, NOT_IDENTITY, flatten
from lipexp.errors import UserError
from lipexp.registry import nearest

DONE, RUNNING, UNFINISHED = "done", "running", "unfinished"
FAILED, UNREADABLE = "failed", "unreadable"

# The first columns of the table of runs; the keys of an init follow it, other settings come behind.
LEADING = (
    *("name", "status", "task", "model", "network", "depth", "width", "init", "bias"),
    *("activation", "dataset", "seed", "replicates"),
)
WHOLE = ("depth", "width", "seed", "replicates")

FILES = ("config.yaml", "summary.json", "layers.csv")  # a folder with one of these is a run
COLLECTED = "runs.csv"  # a folder with this is what an earlier collection left
DEEPEST = 3  # levels below the folder that is given: outputs/runs/<task>/<name>, and one above

# libyaml, where PyYAML was built with it, reads a configuration ten times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBERS = {"epoch": int, "replicate": int, "layer": int, "fan_in": "Int64", "fan_out": "Int64"}


@dataclass
class _Run:
    """What could be read of one run's folder."""

    name: str
    status: str = UNREADABLE
    settings: dict[str, Any] = field(default_factory=dict)
    headline: dict[str, Any] = field(default_factory=dict)
    layers: pd.DataFrame | None = None


def collect(folder: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(runs, layers) of every run at or below ``folder``, sorted by name.

    ``runs``: name, status, the settings (a choice's keys as ``init.beta``), the headline numbers of
    summary.json; missing where a run has none.  Status: done; running, a process holds its folder;
    unfinished, interrupted; failed, log.txt holds a trace of this attempt; unreadable, a file is
    missing or broken, which is no error.  ``layers``: every layers.csv, the run's name in a first
    column ``run``.
    Files may come and go meanwhile: each is read once, and summary.json, written last, first.
    """
    found = [_read(path) for path in _folders(Path(folder))]
    found = [run for run in found if run is not None]
    parts = [run.layers.assign(run=run.name) for run in found if run.layers is not None]
    layers = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"run": []})
    layers.insert(0, "run", layers.pop("run"))
    return _table(found), layers


def group(runs: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and n of a metric over the done runs that agree in ``by``.

    Raises UserError for names that are no column, no number, or that no finished run has.
    """
    for key in by:
        if key not in runs:
            near = ", ".join(nearest(key, runs.columns))
            raise UserError(f"runs have no column {key!r}; nearest: {near}")
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
    """The done runs that have a metric.  Raises UserError where it is none, or none has it."""
    metrics = [key for key in runs.select_dtypes("number") if not is_setting(key)]
    if metric not in metrics:
        near = ", ".join(nearest(metric, metrics))
        raise UserError(f"unknown metric {metric!r}; nearest: {near}" if near else _nobody(metric))
    finished = runs[runs[metric].notna()]  # only a done run has headline numbers
    if finished.empty:
        raise UserError(_nobody(metric))
    return finished


def _nobody(metric: str) -> str:
    return f"no finished run has {metric}"


def is_setting(column: str) -> bool:
    """A column that says what was asked of a run, not what came out of it."""
    key, _, own = column.partition(".")
    if key in GROUPS:
        return column not in NOT_IDENTITY
    return not own and key in KEYS and key not in NOT_IDENTITY


def varying(runs: pd.DataFrame) -> list[str]:
    """The settings in which runs differ, the seed aside: what a mean over seeds is grouped by.

    A key that only some choices have does not vary by being absent from the others.
    """
    settings = [column for column in runs if is_setting(column) and column != "seed"]
    return [column for column in settings if runs[column].nunique() > 1]


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


def _read(folder: Path) -> _Run | None:
    """One run; None if its folder has vanished."""
    run = _Run(folder.resolve().name)
    try:
        run.settings = _settings(folder / "config.yaml")
        held = _is_held(folder)  # asked first: a run that ends meanwhile is done, not unfinished
        summary = _summary(folder / "summary.json")
        run.layers = _layers(folder / "layers.csv")
        if summary is None:
            run.status = FAILED if _has_failed(folder) else RUNNING if held else UNFINISHED
        elif run.layers is None:
            raise ValueError("layers.csv is missing")
        else:
            run.status, run.headline = DONE, summary
    except (OSError, ValueError, yaml.YAMLError):
        if not folder.is_dir():
            return None
    return run


def _is_held(folder: Path) -> bool:
    """A process holds the lock of a run under way; that of a killed one is there, but free.

    False where there is no lock, or where it cannot be told: in a folder of somebody else's.
    """
    lock = folder / ".lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _settings(path: Path) -> dict[str, Any]:
    """What was asked, as flat keys; a choice's name under its group alone."""
    config = yaml.load(path.read_bytes(), _Loader)
    if not isinstance(config, Mapping):
        raise ValueError(f"{path} holds no settings")
    flat = {key.removesuffix(".name"): value for key, value in flatten(config).items()}
    settings = {key: value for key, value in flat.items() if is_setting(key)}
    missing = [key for key in (*GROUPS, *WHOLE) if settings.get(key) is None]
    if missing or not all(isinstance(settings[key], int) for key in WHOLE):
        raise ValueError(f"{path} is not the configuration of a run")
    return settings


def _summary(path: Path) -> dict[str, Any] | None:
    """The headline numbers; None where there is no summary yet."""
    try:
        summary = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(summary, Mapping):
        raise ValueError(f"{path} holds no numbers")
    flat = {key: value for key, value in summary.items() if not isinstance(value, Mapping)}
    return {key: value for key, value in flat.items() if key not in LEADING and not is_setting(key)}


def _layers(path: Path) -> pd.DataFrame | None:
    """The table of layers; None where there is none yet."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content.endswith(b"\n"):
        raise ValueError(f"{path} is cut off")
    kinds = defaultdict(lambda: float, {**_NUMBERS, "name": str})
    table = pd.read_csv(BytesIO(content), dtype=kinds)
    # Rows longer than the header would become an index.
    regular = isinstance(table.index, pd.RangeIndex)
    if not regular or not {"epoch", "replicate", "layer"} <= set(table):
        raise ValueError(f"{path} is no table of layers")
    return table


def _has_failed(folder: Path) -> bool:
    """log.txt holds a trace, and this attempt wrote it: each begins by writing config.yaml."""
    log = folder / "log.txt"
    try:
        if log.stat().st_mtime_ns < (folder / "config.yaml").stat().st_mtime_ns:
            return False
        return b"Traceback (most recent call last)" in log.read_bytes()
    except FileNotFoundError:
        return False


def _table(found: Sequence[_Run]) -> pd.DataFrame:
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
    return pd.DataFrame(data)


def _column(values: list[Any]) -> pd.Series:
    """Whole numbers, numbers or text, whichever holds them all; a missing value stays missing."""
    known = [value for value in values if value is not None]
    if all(type(value) is int for value in known) and known:
        return pd.Series(values, dtype="Int64")
    if all(type(value) in (int, float) for value in known):
        return pd.Series(values, dtype=float)
    return pd.Series([None if value is None else _text(value) for value in values], dtype=str)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
