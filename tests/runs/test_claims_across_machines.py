"""Folders on a file system that keeps locks to the machine they were taken on."""

from __future__ import annotations

import os
import threading
import time

import pytest

import lipexp
from lipexp.runs import claim, heartbeat
from lipexp.runs.heartbeat import Heartbeat

SMALL = ("depth=3", "width=8", "batch=20")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A heartbeat of another machine in a folder."""

    def sign(folder, age=0.0):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".alive").write_text("elsewhere")
        when = time.time() - age
        os.utime(folder / ".alive", (when, when))

    monkeypatch.setattr(claim, "LOOK", 0.05)
    return sign


def test_a_machine_that_shows_life_is_waited_for_and_one_that_does_not_is_not(tmp_path, elsewhere):
    elsewhere(tmp_path)
    assert Heartbeat(tmp_path).start() == "elsewhere"
    assert (tmp_path / ".alive").read_text() == "elsewhere"
    elsewhere(tmp_path, age=heartbeat.DEAD + 1)
    ours = Heartbeat(tmp_path)
    assert ours.start() is None
    assert Heartbeat(tmp_path).start() is None  # of this machine: its lock tells, not its age
    ours.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_sign_of_life_from_the_future_is_as_good_as_one_that_is_old(tmp_path, elsewhere):
    elsewhere(tmp_path, age=-10)
    assert Heartbeat(tmp_path).start() == "elsewhere"
    elsewhere(tmp_path, age=-heartbeat.DEAD - 10)  # the clock was set back; life would show by now
    ours = Heartbeat(tmp_path)
    assert ours.start() is None
    ours.stop()


def test_a_sign_of_life_stays_young(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.02)
    ours = Heartbeat(tmp_path)
    ours.start()
    os.utime(tmp_path / ".alive", (1.0, 1.0))
    for _ in range(200):
        if (tmp_path / ".alive").stat().st_mtime > 1.0:
            break
        time.sleep(0.02)
    assert (tmp_path / ".alive").stat().st_mtime > 1.0
    ours.stop()


def test_a_run_waits_until_the_other_machine_has_left(tmp_path, monkeypatch, elsewhere):
    monkeypatch.chdir(tmp_path)
    folder = lipexp.run([*SMALL])
    before = (folder / "layers.csv").read_bytes()
    (folder / "summary.json").unlink()
    elsewhere(folder)
    left = []

    def leave():
        time.sleep(0.5)
        left.append(not (folder / "summary.json").exists())
        (folder / ".alive").unlink()

    other = threading.Thread(target=leave)
    other.start()
    lipexp.run([*SMALL])
    other.join()
    assert left == [True]
    assert (folder / "layers.csv").read_bytes() == before
    assert not (folder / ".alive").exists()
