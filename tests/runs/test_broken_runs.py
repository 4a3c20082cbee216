"""What is said of a run that broke midway, and what stands in its log.txt then."""

from __future__ import annotations

import errno

import pytest

from lipexp.errors import RunError, UserError
from lipexp.runs import log
from lipexp.runs.log import broken


def told(error, folder):
    try:
        raise error
    except (Exception, SystemExit) as caught:
        found = broken(caught, folder, what="the run", remedy="run again")
    assert isinstance(found, RunError)
    assert found.__cause__ is error
    return str(found)


@pytest.mark.parametrize("kind", [UserError, RunError])
def test_what_was_foreseen_has_its_own_words_and_no_trace(tmp_path, kind):
    assert told(kind("the loss is NaN"), tmp_path) == "the loss is NaN"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_a_remedy_and_no_trace(tmp_path, number):
    line = told(OSError(number, "full"), tmp_path)
    assert line == f"{tmp_path}: the disk is full; run again when there is room"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("so it is\nand more"), OSError("so it is"), SystemExit("so it is")]
)
def test_what_nobody_foresaw_is_traced_behind_what_was_told_before(tmp_path, error):
    before = b"epoch 1 of 2\n\xff\n"
    (tmp_path / "log.txt").write_bytes(before)
    assert told(error, tmp_path) == (
        f"the run broke ({type(error).__name__}: so it is); the trace is in {tmp_path / 'log.txt'}"
    )
    after = (tmp_path / "log.txt").read_bytes()
    assert after.startswith(before + b"Traceback (most recent call last)")
    assert after.endswith(str(error).encode() + b"\n")


def test_a_trace_that_cannot_be_written_is_said_to(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log, "write_bytes", full)
    line = told(ValueError("odd"), tmp_path)
    assert line == "the run broke (ValueError: odd); its trace could not be written"
