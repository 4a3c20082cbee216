"""One run's folder: what was asked, how far it came, and what came out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lipexp.config import GROUPS, KEYS, NOT_IDENTITY, flatten
from lipexp.runs.collect import yaml_blocks

DONE, RUNNING, UNFINISHED = "done", "running", "unfinished"
FAILED, UNREADABLE = "failed", "unreadable"

# The first columns of the table of runs; the keys of an init follow it, other settings come behind.
LEADING = (
    *("name", "status", "task", "model", "network", "depth", "width", "init", "bias"),
    *("activation", "dataset", "seed", "replicates"),
)
WHOLE = ("depth", "width", "seed", "replicates")

# A folder with one of these is a run.
FILES = ("config.yaml", "summary.json", "layers.csv", "metrics.csv")
TRAIN = "train"  # the task that writes metrics.csv; which layers it probes is asked for

COMMAND = b"# lipexp run "  # begins config.yaml: the command that repeats the run


@dataclass
class Run:
    """What could be read of one run's folder.  ``layers``: the file as it is."""

    name: str
    folder: Path
    status: str = UNREADABLE
    command: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    headline: dict[str, Any] = field(default_factory=dict)
    layers: bytes | None = None

    def is_unreadable(self) -> None:
        """What was asked stays; what came out is not known."""
        self.status, self.headline, self.layers = UNREADABLE, {}, None


def read(folder: Path) -> Run | None:
    """One run; None if its folder has vanished."""
    run = Run(folder.resolve().name, folder)
    try:
        run.settings, run.command = _settings(folder / "config.yaml")
        held = _is_held(folder)  # asked first: a run that ends meanwhile is done, not unfinished
        summary = _summary(folder / "summary.json")
        run.layers = _content(folder / "layers.csv")
        epochs = _epochs_done(folder / "metrics.csv", under_way=summary is None)
        progress = {} if epochs is None else {"epochs_done": epochs}
        if summary is None:
            run.status = FAILED if _has_failed(folder) else RUNNING if held else UNFINISHED
            run.headline = progress
        elif (epochs if run.settings["task"] == TRAIN else run.layers) is None:
            raise ValueError("a table is missing")
        else:
            run.status, run.headline = DONE, {**progress, **summary}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
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


def _settings(path: Path) -> tuple[dict[str, Any], str | None]:
    """(what was asked, as flat keys, a choice's name under its group alone; the command)."""
    content = path.read_bytes()
    config = yaml_blocks.load(content)
    if not isinstance(config, Mapping):
        raise ValueError(f"{path} holds no settings")
    flat = {key.removesuffix(".name"): value for key, value in flatten(config).items()}
    settings = {key: value for key, value in flat.items() if is_setting(key)}
    missing = [key for key in (*GROUPS, *WHOLE) if settings.get(key) is None]
    if missing or not all(type(settings[key]) is int for key in WHOLE):
        raise ValueError(f"{path} is not the configuration of a run")
    first = content.partition(b"\n")[0]
    return settings, first[2:].decode() if first.startswith(COMMAND) else None


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


def _content(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _epochs_done(path: Path, *, under_way: bool) -> int | None:
    """The last epoch of a training's table; None where there is no table.

    The file is rewritten as a whole after every epoch; half a line comes only from outside, such as
    a copy that was cut off, and of a run under way it is not counted.
    """
    try:
        *lines, rest = path.read_bytes().decode().split("\n")
    except FileNotFoundError:
        return None
    if not under_way and (rest or len(lines) < 2):
        raise ValueError(f"{path} is cut off")
    if len(lines) < 2:
        return 0
    columns, last = lines[0].split(","), lines[-1].split(",")
    if "epoch" not in columns or len(last) != len(columns):
        raise ValueError(f"{path} is no table of epochs")
    return int(last[columns.index("epoch")])


def _has_failed(folder: Path) -> bool:
    """log.txt holds a trace, and this attempt wrote it: each begins by writing config.yaml."""
    log = folder / "log.txt"
    try:
        if log.stat().st_mtime_ns < (folder / "config.yaml").stat().st_mtime_ns:
            return False
        return b"Traceback (most recent call last)" in log.read_bytes()
    except FileNotFoundError:
        return False


@cache
def is_setting(column: str) -> bool:
    """A column that says what was asked of a run, not what came out of it."""
    key, _, own = column.partition(".")
    if key in GROUPS:
        return column not in NOT_IDENTITY
    return not own and key in KEYS and key not in NOT_IDENTITY
