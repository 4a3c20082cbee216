"""Who is at a folder, for machines that share a file system which keeps no locks between them.

A lock of the operating system ends with its process, but some network file systems keep it to the
machine it was taken on.  So who holds one also keeps a file of its machine's name young; another
machine takes the folder over when that file has grown old.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TextIO

BEAT = 15.0  # seconds between signs of life
DEAD = 90.0  # seconds without one after which a machine counts as gone


class Heartbeat:
    """The sign of life in a folder whose lock this process holds."""

    def __init__(self, folder: Path):
        self._path = folder / ".alive"
        self._machine = socket.gethostname()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> str | None:
        """Shows life from here on; or, where another machine does, says which and shows none.

        Raises OSError where the folder cannot be written.
        """
        for _ in range(2):
            try:
                file = self._path.open("x", encoding="utf-8")
            except FileExistsError:
                if (other := self._other()) is not None:
                    return other
                self._path.unlink(missing_ok=True)  # of a process that has died
            else:
                self._sign(file)
                self._thread = threading.Thread(target=self._beat, daemon=True)
                self._thread.start()
                return None
        return "another machine"  # it was faster

    def _sign(self, file: TextIO) -> None:
        try:
            with file:
                file.write(self._machine)
        except OSError:  # a full disk: nobody is to wait for a file without a name
            self._path.unlink(missing_ok=True)
            raise

    def _other(self) -> str | None:
        """The other machine that is alive; None where there is none.

        Ages are by the file system's clock, not by this machine's.
        """
        probe = self._path.with_name(f".now.{self._machine}.{os.getpid()}")
        try:
            machine = self._path.read_text(encoding="utf-8")
            probe.touch()
            age = probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return None
        finally:
            probe.unlink(missing_ok=True)
        if machine == self._machine or abs(age) >= DEAD:  # from the future: the clock was set back
            return None
        return machine or "another machine"

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError):
                os.utime(self._path)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
