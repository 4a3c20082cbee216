"""A folder that one process holds while it writes there."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from lipexp.errors import UserError
from lipexp.runs.heartbeat import Heartbeat
from lipexp.runs.job import Progress

LOOK = 5.0  # seconds between looks at a folder that another machine holds


class Held(Exception):
    """Somebody else is at the folder."""


class Claim:
    """A folder, made where it is missing, that is this process's alone until the block ends.

    A process that died holds nothing, and neither does a machine that shows no life (`Heartbeat`).

    If the block ends in an exception, the folders that were made for it are taken back, as far as
    nobody else has put anything there, unless ``_keeps``.  ``asked``: how the folder was asked for.

    Raises UserError where the folder cannot be written, and Held where somebody else is at it and
    is not to be waited for (``wait``).
    """

    def __init__(self, folder: Path, progress: Progress, *, asked: str, wait: bool = True):
        from filelock import FileLock, Timeout

        self._folder = folder
        self._made: list[Path] = []
        lock, told = folder / ".lock", None
        self._lock = FileLock(lock)
        self._heartbeat = Heartbeat(folder)
        try:
            while True:
                self._made += _missing_parents(folder)
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    try:
                        self._lock.acquire(timeout=0)
                    except Timeout:
                        if not wait:
                            raise Held from None
                        progress.line(f"another process is at {folder}; waiting for it")
                        self._lock.acquire()
                except FileNotFoundError:
                    continue  # who had it is taking the folder away
                if not lock.exists():
                    self._lock.release()  # it was taken away
                    continue
                if (machine := self._heartbeat.start()) is None:
                    break
                self._lock.release()
                if not wait:
                    raise Held
                if machine != told:
                    progress.line(f"{machine} is at {folder}; waiting for it")
                    told = machine
                time.sleep(LOOK)
            self._begin()
        except OSError as error:
            self._let_go(keep=False)
            raise UserError(f"{asked}: cannot be written ({error.strerror})") from error
        except BaseException:
            self._let_go(keep=self._keeps())
            raise

    def _begin(self) -> None:
        """What is written as soon as the folder is held."""

    def _keeps(self) -> bool:
        """Whether what is in the folder is worth keeping when the block is interrupted."""
        return False

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind, value, trace) -> None:
        self._let_go(keep=kind is None or self._keeps())

    def _let_go(self, *, keep: bool) -> None:
        """Ends the hold, if there is one, also where nothing can be written any more."""
        self._heartbeat.stop()
        if not keep:
            self._take_back()
        if self._lock.is_locked:
            with suppress(OSError):
                (self._folder / ".lock").unlink(missing_ok=True)
            self._lock.release()  # last: who waits must not see a folder that is being removed

    def _take_back(self) -> None:
        with suppress(OSError):
            # Who has been kept from locking it leaves it to those who are there.
            ours = self._lock.is_locked or os.listdir(self._folder) == [".lock"]
            if self._folder in self._made and ours:
                shutil.rmtree(self._folder)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def _missing_parents(folder: Path) -> list[Path]:
    """``folder`` and those of its parents that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]
