"""Who holds a run's folder, and what becomes of those who wait for it."""

from __future__ import annotations

import errno
import io
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from omegaconf import OmegaConf

from lipexp.cli.composing import compose
from lipexp.config import read
from lipexp.errors import UserError
from lipexp.runs import claim
from lipexp.runs.execute import _Claim
from lipexp.runs.job import Silent


class Told(Silent):
    """Keeps the lines, and says when the first has come."""

    def __init__(self):
        self.lines, self.waits = [], threading.Event()

    def line(self, text):
        self.lines.append(text)
        self.waits.set()


@pytest.fixture
def request_(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    compose([], ["depth=3"], lambda composed: found.append(OmegaConf.to_container(composed)))
    return read(found[0])


def test_who_waits_for_an_interrupted_run_gets_a_folder_that_is_there(request_):
    told, held = Told(), []

    def wait():
        with _Claim(request_, told):
            held.append((request_.folder / "config.yaml").exists())

    def be_interrupted():
        with _Claim(request_, Silent()):
            waiting.start()
            assert told.waits.wait(60)
            raise KeyboardInterrupt

    waiting = threading.Thread(target=wait)
    with pytest.raises(KeyboardInterrupt):
        be_interrupted()
    waiting.join(60)
    assert held == [True]
    assert "another process is at" in told.lines[0]


@pytest.fixture
def full(monkeypatch):
    """Says from now on, or no more, that nothing can be written to a file."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    opened = Path.open

    def open_(path, mode="r", *rest, **keywords):
        if mode == "r":
            return opened(path, mode, *rest, **keywords)
        opened(path, mode, *rest, **keywords).close()
        return Full()

    @contextmanager
    def during():
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", open_)
            yield

    return during


def test_a_full_disk_leaves_a_folder_as_it_was_and_nobody_waits_for_it(request_, full):
    request_.folder.mkdir(parents=True)
    (request_.folder / "layers.csv").write_text("kept\n")
    with full(), pytest.raises(UserError, match="No space left on device") as refused:
        _Claim(request_, Silent())
    assert [path.name for path in request_.folder.iterdir()] == ["layers.csv"]
    told = Told()
    with _Claim(request_, told):  # although the error, and with it the claim, is remembered
        assert (request_.folder / "config.yaml").exists()
    assert told.lines == []
    assert refused.value.__cause__ is not None


def test_where_no_lock_can_be_had_nothing_is_left(request_, monkeypatch):
    def none(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(UserError, match="cannot be written"):
        _Claim(request_, Silent())
    assert list(Path().iterdir()) == []


def test_who_gives_up_waiting_leaves_the_folder_to_those_who_have_it(request_):
    class Impatient(Silent):
        def line(self, text):
            raise KeyboardInterrupt

    with _Claim(request_, Silent()):
        made = request_.folder / "config.yaml"
        made_by_both = patch.object(claim, "_missing_parents", lambda folder: [folder])
        with made_by_both, pytest.raises(KeyboardInterrupt):
            _Claim(request_, Impatient())
        assert made.exists()
        assert (request_.folder / ".lock").exists()


def test_a_hold_ends_where_nothing_can_be_removed(request_, monkeypatch):
    def read_only(path, missing_ok=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched, _Claim(request_, Silent()):
        patched.setattr(Path, "unlink", read_only)
    told = Told()
    with _Claim(request_, told):
        assert told.lines == []
