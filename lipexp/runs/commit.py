"""The code's commit, for a run's record."""

from __future__ import annotations

from pathlib import Path


def commit() -> str | None:
    """The commit of the clone this code runs from, 12 digits; None outside a clone."""
    git = Path(__file__).resolve().parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head[:12]
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()[:12]
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(reference):
                return line[:12]
    except OSError:
        return None
    return None
