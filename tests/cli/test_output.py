"""Nobody listens: what is told is lost, what is computed is not."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from lipexp.cli import output

POINTS = ["depth=2", "width=8", "batch=5", "init=sometimes", "init.fails=false,true,0"]
PLUGIN = """
from lipexp.inits import INITS

@INITS.register("sometimes", "fails where it is asked to", keys={"fails": False})
def sometimes(shape, generator, fails=False):
    if fails:
        raise RuntimeError("asked to")
    return generator.standard_normal(shape)
"""


def test_a_line_is_written_in_one_piece_with_its_end():
    class Interrupted(io.StringIO):
        def write(self, text):
            super().write(text)
            raise KeyboardInterrupt

    stream = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        output.tell("epoch 1", stream)
    assert stream.getvalue() == "epoch 1\n"


@contextmanager
def deserted(ends):
    """The one end of a pair of descriptors whose other end has been closed."""
    reader, writer = ends()
    os.close(reader)
    yield writer
    os.close(writer)


def pipe_without_a_reader():
    return deserted(os.pipe)


def closed_terminal():
    return deserted(pty.openpty)


@contextmanager
def full_disk():
    with open("/dev/full", "w") as file:
        yield file.fileno()


@contextmanager
def nothing():
    yield None


@pytest.mark.parametrize("launcher", ["basic", "gpus"])
@pytest.mark.parametrize("outlet", [pipe_without_a_reader, full_disk, closed_terminal, nothing])
def test_a_sweep_goes_on_where_nobody_listens(tmp_path, outlet, launcher):
    (tmp_path / "mine.py").write_text(PLUGIN)
    words = ["run", "-m", "plugins=[mine.py]", f"hydra/launcher={launcher}", *POINTS]
    closing = "<&- >&- 2>&-" if outlet is nothing else ""
    with outlet() as descriptor:
        status = subprocess.run(
            ["sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, "-m", "lipexp", *words],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
            check=False,
        ).returncode
    assert status == 1  # of the point that fails
    assert len(list(tmp_path.glob("outputs/runs/probe/*/summary.json"))) == 2
    (table,) = tmp_path.glob("outputs/sweeps/*/points.csv")
    assert table.read_text().count("RuntimeError: asked to") == 1


def test_a_list_that_cannot_be_written_is_one_line():
    with full_disk() as descriptor:
        told = subprocess.run(
            [sys.executable, "-m", "lipexp", "list", "models"],
            stdout=descriptor,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    line = "lipexp: stdout cannot be written (No space left on device)\n"
    assert (told.returncode, told.stderr) == (1, line)


def test_a_reader_that_has_seen_enough_is_no_error():
    with pipe_without_a_reader() as descriptor:
        command = [sys.executable, "-m", "lipexp", "list", "models"]
        told = subprocess.run(command, stdout=descriptor, stderr=subprocess.PIPE, check=False)
    assert (told.returncode, told.stderr) == (0, b"")
