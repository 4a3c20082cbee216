"""Who holds a run's folder, and what becomes of those who wait for it."""

from __future__ import annotations

import threading

import pytest
from omegaconf import OmegaConf

from lipexp.cli.composing import compose
from lipexp.config import read
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
