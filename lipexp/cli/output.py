"""Standard output and error, which may lose their reader while a run goes on.

The reader of a pipe ends, a terminal is closed, a disk fills up, or a daemon was started without
them.  What is computed is worth more than what is told of it: lines that nobody gets are dropped.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

NOBODY = (errno.EPIPE, errno.EIO)  # the reader of a pipe, or the terminal, has gone


class Outlet(io.TextIOWrapper):
    """A text stream that leads nowhere from the first write on that fails."""

    def __init__(self, stream: io.TextIOWrapper):
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._failure: OSError | None = None

    @property
    def lost(self) -> str | None:
        """Why somebody who reads this has not got all of it; None where nothing is amiss."""
        if self._failure is None or self._failure.errno in NOBODY:
            return None
        return self._failure.strerror

    def write(self, text: str) -> int:
        with self._or_nowhere():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._or_nowhere():
            super().flush()

    @contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def tell(line: str, stream: TextIO) -> None:
    """Writes a line at once, in one piece: `print` may be interrupted before the line's end."""
    stream.write(f"{line}\n")
    stream.flush()


def install() -> None:
    """From here on `sys.stdout` and `sys.stderr` are Outlets; those that were closed lead nowhere.

    A file that is opened later must not get the number of a closed one, where anybody prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Kept under these names too: a stream that nobody keeps is closed, and its Outlet with it.
    sys.__stdout__ = sys.__stdout__ or os.fdopen(1, "w", encoding="utf-8")
    sys.__stderr__ = sys.__stderr__ or os.fdopen(2, "w", encoding="utf-8")
    sys.stdout, sys.stderr = Outlet(sys.__stdout__), Outlet(sys.__stderr__)
