"""What is left of a run that broke: one line to the user, the trace in its log."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence
from pathlib import Path

from lipexp.errors import RunError
from lipexp.files import write_text


def broke(error: Exception, folder: Path, *, what: str, again: str) -> RunError:
    """The error that stands for one nobody foresaw, whose trace goes to log.txt; or a full disk's.

    ``what`` broke, as in "the run"; ``again``: what to do where the disk is full, "run again".
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        line = f"{folder}: the disk is full; {again} when there is room"
    else:
        line = f"{what} broke ({type(error).__name__}: {str(error).partition(chr(10))[0]}); "
        line += _traced(error, folder)
    told = RunError(line)
    told.__cause__ = error
    return told


def _traced(error: Exception, folder: Path) -> str:
    try:
        add_to_log(folder, ["".join(traceback.format_exception(error))])
    except OSError:
        return "its trace could not be written"
    return f"the trace is in {folder / 'log.txt'}"


def add_to_log(folder: Path, lines: Sequence[str]) -> None:
    """Adds lines to what a run has told before."""
    path = folder / "log.txt"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(before + "\n".join(lines) + "\n", path)
