"""What a terminal shows: a bar that goes, no bar where there is no terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest


def on_a_terminal(argv, here, *, interrupt_after=None):
    """(status, everything the terminal got) of a command with stderr and stdout on a pty."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lipexp", *argv],
        cwd=here,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        start_new_session=True,
    )
    os.close(secondary)
    text, began, sent = b"", time.monotonic(), False
    while True:
        if interrupt_after and not sent and time.monotonic() - began > interrupt_after:
            process.send_signal(signal.SIGINT)
            sent = True
        try:
            chunk = os.read(primary, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        text += chunk
    os.close(primary)
    return process.wait(timeout=60), text.decode(errors="replace")


@pytest.mark.parametrize("flags", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_bar_with_rate_and_time_left_is_shown_and_cleared(tmp_path, flags):
    status, text = on_a_terminal(["run", *flags, "depth=1500", "width=16", "batch=200"], tmp_path)
    assert status == 0, text
    assert "layers/s" in text
    assert "of 3,000" in text
    assert "Traceback" not in text
    assert "\x1b[2K" in text.split("layers/s")[-1]  # the bar's line is erased at the end


def test_no_table_line_is_wider_than_80_letters(tmp_path):
    status, text = on_a_terminal(["run", "depth=50", "width=16", "batch=50"], tmp_path)
    assert status == 0
    table = [line for line in text.splitlines() if line.strip()[:1].isdigit()]
    assert table
    assert max(len(line.rstrip()) for line in table) <= 80


def test_an_interrupted_run_erases_its_bar(tmp_path):
    status, text = on_a_terminal(["run", "depth=20000", "width=32"], tmp_path, interrupt_after=8.0)
    assert status == 130
    assert text.rstrip().endswith("lipexp: interrupted")
    assert os.listdir(tmp_path) == []
