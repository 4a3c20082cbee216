"""Downloads: the libraries that fetch are replaced, nothing here touches the network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest

from lipexp.data import DATASETS, download, load, status
from lipexp.errors import RunError, UserError


@pytest.fixture(params=["mnist", "cifar10", "covertype"])
def served(request, tmp_path, monkeypatch) -> SimpleNamespace:
    """A set as its server has it (``source``), an empty data folder, and the fetcher replaced."""
    name = request.param
    source = request.getfixturevalue(f"fake_{name}")
    top = DATASETS.fact(name, "files")[0].partition("/")[0]

    def fetch(folder: str) -> None:
        shutil.copytree(source / top, Path(folder) / top)
        (Path(folder) / "archive.tar.gz").write_bytes(b"left by the library")
        sys.stdout.write("Downloading http://...")

    monkeypatch.setitem(download.FETCHERS, name, fetch)
    return SimpleNamespace(name=name, source=source, folder=tmp_path / "data", top=top)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_downloaded_set_is_whole_and_nothing_else_is_left(served, capsys):
    download.download(served.name, served.folder)
    assert status(served.name, served.folder).state == "whole"
    wanted = (served.source / served.top).rglob("*")
    assert everything(served.folder) == {
        str(path.relative_to(served.source)) for path in wanted if path.is_file()
    }
    assert [path.name for path in served.folder.iterdir()] == [served.top]
    assert capsys.readouterr().out == ""


def test_a_download_replaces_a_damaged_file(served):
    for file in DATASETS.fact(served.name, "files"):
        (served.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (served.folder / file).write_bytes(b"damaged")
    assert status(served.name, served.folder).state == "does not match"
    download.download(served.name, served.folder)
    whole = load(served.name, folder=served.folder)
    assert whole.fingerprint == load(served.name, folder=served.source).fingerprint


def test_a_download_that_does_not_match_is_one_line_and_leaves_what_was_there(served):
    shutil.copytree(served.source / served.top, served.folder / served.top)
    path = served.source / DATASETS.fact(served.name, "files")[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError) as caught:
        download.download(served.name, served.folder)
    line = str(caught.value)
    assert line.startswith(f"data set '{served.name}': what was downloaded does not match: ")
    assert "\n" not in line
    assert status(served.name, served.folder).state == "whole"
    assert [path.name for path in served.folder.iterdir()] == [served.top]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (URLError("no network"), "<urlopen error no network>"),
        (RuntimeError("Error downloading x:\nTried a, got:\nb\n"), "Tried a, got: b"),
        (ConnectionResetError(104, "reset by peer"), "[Errno 104] reset by peer"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_failed_download_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, failure, reason):
    def fail(folder: str) -> None:
        (Path(folder) / "half").write_bytes(b"half")
        raise failure

    monkeypatch.setitem(download.FETCHERS, "mnist", fail)
    with pytest.raises(RunError) as caught:
        download.download("mnist", tmp_path)
    line = str(caught.value)
    assert line.startswith(f"data set 'mnist' could not be downloaded to {tmp_path}: ")
    assert line.endswith(reason)
    assert "\n" not in line
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="could not be downloaded to"):
        download.download("mnist", tmp_path / "file")


def test_sets_are_asked_of_the_library_that_publishes_them(monkeypatch):
    asked = []

    def torchvision_set(name: str):
        return lambda root, *, download: asked.append((name, root, download))

    monkeypatch.setitem(
        sys.modules,
        "torchvision.datasets",
        SimpleNamespace(MNIST=torchvision_set("MNIST"), CIFAR10=torchvision_set("CIFAR10")),
    )
    monkeypatch.setattr(
        "sklearn.datasets.fetch_covtype", lambda *, data_home: asked.append(("covtype", data_home))
    )
    for name in ("mnist", "cifar10", "covertype"):
        download.FETCHERS[name]("there")
    assert asked == [("MNIST", "there", True), ("CIFAR10", "there", True), ("covtype", "there")]


def test_every_set_with_files_can_be_downloaded_and_the_others_need_nothing(tmp_path):
    with_files = {name for name in DATASETS if DATASETS.fact(name, "files")}
    assert set(download.FETCHERS) == with_files
    for name in set(DATASETS) - with_files:
        download.download(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_set_without_a_download_and_an_unknown_one_are_one_line(monkeypatch, tmp_path):
    monkeypatch.delitem(download.FETCHERS, "mnist")
    with pytest.raises(UserError, match=r"^data set 'mnist' has no download$"):
        download.download("mnist", tmp_path)
    with pytest.raises(UserError, match="unknown data set 'minst'; nearest: mnist"):
        download.download("minst", tmp_path)
