"""Commands run in this process, and their golden transcripts, filtered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lipexp.cli import guarded

GOLDEN = Path(__file__).parents[1] / "golden"


def run(capsys, *argv: str) -> tuple[int, str, str]:
    """(status, stdout, stderr) of one command."""
    capsys.readouterr()
    try:
        status = guarded(list(argv))
    except SystemExit as stop:
        status = stop.code or 0
    out, err = capsys.readouterr()
    return status, out, err


def filtered(text: str, folder: Path | None = None) -> str:
    if folder is not None:
        text = text.replace(str(folder), "HERE")
    text = re.sub(r"-[0-9a-f]{8}\b", "-HASH", text)
    text = re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", "STAMP", text)
    return re.sub(r"\b\d+\.\d s\b", "T s", text)


def transcript(argv, status: int, out: str, err: str) -> str:
    parts = [f"$ lipexp {' '.join(argv)}", f"status {status}"]
    parts += [f"stdout | {line}" for line in out.splitlines()]
    parts += [f"stderr | {line}" for line in err.splitlines()]
    return "\n".join(line.rstrip() for line in parts)


def compare(name: str, text: str, request: pytest.FixtureRequest) -> None:
    """Compares with tests/golden/NAME, or writes it under --update-golden."""
    path = GOLDEN / name
    if request.config.getoption("--update-golden"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")
