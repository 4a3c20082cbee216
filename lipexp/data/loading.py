"""From a name to a data set in memory: where it is looked for, and what is said if it is not."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from lipexp.data import DATASETS
from lipexp.data.dataset import Dataset
from lipexp.data.files import Malformed, Mismatch
from lipexp.errors import UserError


def data_folder(folder: str | os.PathLike | None = None) -> Path:
    """The given folder, else that of the environment's LIPEXP_DATA_DIR, else ~/.cache/lipexp."""
    chosen = folder or os.environ.get("LIPEXP_DATA_DIR") or "~/.cache/lipexp"
    return Path(os.path.expanduser(chosen)).absolute()  # unlike Path.expanduser, it never raises


def load(
    name: str,
    *,
    folder: str | os.PathLike | None = None,
    verify: bool = True,
    features: int | None = None,
) -> Dataset:
    """The data set of that name, from the data folder (see `data_folder`); never downloads.

    ``verify``: compare with what was published.  ``features``: of a generated set, and only there.
    Raises UserError, one line, for an unknown name, a set that is missing, one that does not match
    (it names ``dataset.verify=false``), and one that cannot be read.
    """
    if DATASETS.fact(name, "generated"):
        return DATASETS[name](features)
    if features is not None:
        raise UserError(f"dataset={name} has no key 'features'; dataset=gaussian has")
    try:
        return _read(name, folder, verify)
    except Mismatch as error:
        raise UserError(
            f"data set {name!r} in {place(name, folder)} is not the published one: {error}; "
            "dataset.verify=false takes it as it is"
        ) from error
    except Malformed as error:
        raise UserError(
            f"data set {name!r} in {place(name, folder)} cannot be read: {error}"
            + _remedy(name, folder)
        ) from error


def _read(name: str, folder: str | os.PathLike | None, verify: bool) -> Dataset:
    absent = missing(name, folder)
    if not absent:
        return DATASETS[name](data_folder(folder), verify)
    whole = len(absent) == len(_files(name))
    looked = "" if whole else f" whole, {absent[0].name} is missing"
    raise UserError(
        f"data set {name!r} is not on disk{looked} (looked in {place(name, folder)})"
        + _remedy(name, folder)
    )


def _remedy(name: str, folder: str | os.PathLike | None) -> str:
    """The command that fetches a set into that very folder."""
    if not _files(name):
        return ""
    where = f" --folder {shlex.quote(str(data_folder(folder)))}" if folder else ""
    return f"; lipexp data {name} --download{where}"


def _files(name: str) -> tuple[str, ...]:
    return DATASETS.fact(name, "files", ())


def missing(name: str, folder: str | os.PathLike | None = None) -> list[Path]:
    """The files of a set that are not there, neither as they are nor as ``.gz``; reads nothing."""
    paths = [data_folder(folder) / file for file in _files(name)]
    return [p for p in paths if not (os.path.exists(p) or os.path.exists(f"{p}.gz"))]


def on_disk(name: str, folder: str | os.PathLike | None = None) -> bool:
    """Whether all files of a set are there; nothing is read."""
    return not missing(name, folder)


def place(name: str, folder: str | os.PathLike | None = None) -> str:
    """Where a set is looked for, in words or as a path."""
    files = _files(name)
    if files:
        return str((data_folder(folder) / files[0]).parent)
    return DATASETS.fact(name, "origin", "its plugin")


@dataclass(frozen=True)
class Status:
    """What is found of a data set: ``state`` is "whole", "missing" or "does not match".

    ``dataset`` is there if it could be read at all; ``reason`` is empty for a whole one.
    """

    name: str
    place: str
    state: str
    dataset: Dataset | None = None
    reason: str = ""


def status(name: str, folder: str | os.PathLike | None = None) -> Status:
    """What is found of a data set, its files read and compared with what was published.

    Raises UserError for an unknown name.
    """
    where = place(name, folder)
    if DATASETS.fact(name, "generated"):
        return Status(name, where, "whole")
    if missing(name, folder):
        return Status(name, where, "missing")
    try:
        return Status(name, where, "whole", _read(name, folder, True))
    except UserError as error:  # of a set that comes with a package, or of a plugin
        return Status(name, where, "missing", None, str(error))
    except Malformed as error:
        return Status(name, where, "does not match", None, str(error))
    except Mismatch as error:
        return Status(name, where, "does not match", _read(name, folder, False), str(error))
