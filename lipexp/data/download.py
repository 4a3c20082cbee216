"""Fetches a data set through the library that publishes its address and checksum."""

from __future__ import annotations

import contextlib
import os
import sys
import tarfile
import tempfile
import warnings
import zlib
from http.client import HTTPException
from pathlib import Path

from lipexp.data import DATASETS
from lipexp.data.loading import data_folder, status
from lipexp.errors import RunError, UserError

FAILURES = (OSError, RuntimeError, HTTPException, EOFError, tarfile.TarError, zlib.error)


def download(name: str, folder: str | os.PathLike | None = None) -> None:
    """Fetches a data set anew into the data folder (see `lipexp.data.data_folder`).

    It is fetched beside its place, checked, and then put there file by file: what was there stays
    until then, and an interrupted download leaves nothing.  A set that has no files (embedded,
    generated) needs nothing.
    Raises UserError for an unknown name and for a plugin's set, RunError, one line, where the
    network or the disk fails or what came does not match.
    """
    files = DATASETS.fact(name, "files", ())
    if not files:
        return
    if name not in FETCHERS:
        raise UserError(f"data set {name!r} has no download")
    target = data_folder(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".download-") as scratch:
            # torchvision prints addresses; standard output is the table's
            with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                FETCHERS[name](scratch)
            found = status(name, scratch)
            if found.state != "whole":
                raise RunError(
                    f"data set {name!r}: what was downloaded {found.state}: {found.reason}"
                )
            _put(Path(scratch), target, files[0].partition("/")[0])
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"data set {name!r} could not be downloaded to {target}: {reason}"
        ) from error


def _put(scratch: Path, target: Path, top: str) -> None:
    """Moves the files below ``top``, and leaves the archives that they came in."""
    for source in (scratch / top).rglob("*"):
        if source.is_file():
            destination = target / source.relative_to(scratch)
            destination.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, destination)


def _mnist(folder: str) -> None:
    from torchvision.datasets import MNIST

    MNIST(folder, download=True)


def _cifar10(folder: str) -> None:
    from torchvision.datasets import CIFAR10

    CIFAR10(folder, download=True)


def _covertype(folder: str) -> None:
    from sklearn.datasets import fetch_covtype

    fetch_covtype(data_home=folder)


FETCHERS = {"mnist": _mnist, "cifar10": _cifar10, "covertype": _covertype}
