"""log.txt: what a run told, and the trace of what broke it."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterable
from pathlib import Path

from lipexp.errors import RunError, UserError
from lipexp.files import write_bytes


def add_to_log(lines: Iterable[str], folder: Path) -> None:
    """Adds lines to what was told before."""
    path = folder / "log.txt"
    before = path.read_bytes() if path.exists() else b""
    write_bytes(before + ("\n".join(lines) + "\n").encode(), path)


def broken(error: BaseException, folder: Path, *, what: str, remedy: str) -> RunError:
    """The one line about ``what`` broke midway; of what nobody foresaw, the trace goes to log.txt.

    ``remedy``: what to do when a full disk has room again.
    """
    if isinstance(error, (UserError, RunError)):
        line = str(error)
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        line = f"{folder}: the disk is full; {remedy} when there is room"
    else:
        line = f"{what} broke ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        try:
            add_to_log(["".join(traceback.format_exception(error)).rstrip()], folder)
            line += f"; the trace is in {folder / 'log.txt'}"
        except OSError:
            line += "; its trace could not be written"
    told = RunError(line)
    told.__cause__ = error
    return told
