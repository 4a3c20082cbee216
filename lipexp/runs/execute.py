"""From a checked request to a finished folder."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from lipexp import __version__
from lipexp.config import Request, flatten
from lipexp.errors import RunError, UserError
from lipexp.runs.digest import digest, read_summary
from lipexp.runs.outcome import Outcome
from lipexp.runs.tables import write_json, write_table, write_text

# A task's module offers ``prepare(request) -> job``: it checks what needs torch or data, and
# raises UserError; ``job.run(progress) -> Result`` does the work.
TASKS = {"probe": "lipexp.runs.probing"}


Progress = Callable[[int, int], None]


def execute(request: Request, progress: Progress = lambda done, total: None) -> Outcome:
    """Runs a request unless it is done; ``progress(done, total)`` is called on the way.

    Never raises for what a run can raise: in a sweep the next point follows.
    """
    folder = request.folder
    if not request.force and (done := _if_done(folder)):
        return done
    try:
        job = import_module(TASKS[request.task["name"]]).prepare(request)
        claim = _Claim(request)
    except UserError as error:
        return Outcome(2, str(error))
    with claim:
        if not request.force and (done := _if_done(folder)):
            return done  # another process was faster
        return _run(job, folder, progress)


def _if_done(folder: Path) -> Outcome | None:
    summary = read_summary(folder)
    if summary is None:
        return None
    text = digest(folder, notes=_notes_when_done(summary))
    return Outcome(0, "done already", folder, text, fresh=False)


def _run(job, folder: Path, progress: Progress) -> Outcome:
    try:
        return Outcome(0, "done", folder, _write(job.run(progress), folder))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Outcome(1, f"{folder}: the disk is full; run again when there is room", folder)
        return _failed(error, folder)
    except (UserError, RunError) as error:
        return Outcome(1, str(error), folder)
    except Exception as error:
        return _failed(error, folder)


def _write(result, folder: Path) -> str:
    """All files of a result, summary.json last; returns what is printed."""
    (folder / "plots").mkdir(exist_ok=True)
    for name, table in result.tables.items():
        write_table(table, folder / name)
    for name, figure in result.figures.items():
        from lipexp.plots.style import save

        save(figure, folder / "plots" / f"{name}.png")
    write_json(result.summary, folder / "summary.json")
    text = digest(folder)
    write_text(text + "\n", folder / "log.txt")
    return text


def _failed(error: Exception, folder: Path) -> Outcome:
    """A failure nobody foresaw: the trace goes to log.txt, one line to the user."""
    if os.environ.get("LIPEXP_TRACEBACK") == "1":
        traceback.print_exception(error)
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    try:
        write_text("".join(traceback.format_exception(error)), folder / "log.txt")
    except OSError:
        return Outcome(1, f"the run broke ({line})", folder)
    return Outcome(1, f"the run broke ({line}); the trace is in {folder / 'log.txt'}", folder)


def _notes_when_done(summary: Mapping[str, Any]) -> list[str]:
    made_by = summary.get("version")
    if made_by != __version__:
        return [
            f"done already, by lipexp {made_by}; this is {__version__}: force=true runs it again"
        ]
    return ["done already; force=true runs it again"]


class _Claim:
    """The run's folder, held by this process alone; taken back if the run is interrupted.

    Raises UserError where the folder cannot be written.
    """

    def __init__(self, request: Request):
        from filelock import FileLock

        self._folder = request.folder
        self._made = _missing_parents(self._folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self._folder / ".lock")
            self._lock.acquire()
            write_text(_config_text(request), self._folder / "config.yaml")
        except OSError as error:
            self._take_back()
            raise UserError(
                f"outputs={request.outputs}: cannot be written ({error.strerror})"
            ) from error
        if request.force:
            (self._folder / "summary.json").unlink(missing_ok=True)

    def __enter__(self) -> _Claim:
        return self

    def __exit__(self, kind, value, trace) -> None:
        (self._folder / ".lock").unlink(missing_ok=True)
        self._lock.release()
        if kind is not None and read_summary(self._folder) is None:
            self._take_back()

    def _take_back(self) -> None:
        """Removes the folders this claim made, as far as nobody else has put anything there."""
        if self._folder in self._made:
            shutil.rmtree(self._folder, ignore_errors=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                continue


def _missing_parents(folder: Path) -> list[Path]:
    """``folder`` and those of its parents that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _config_text(request: Request) -> str:
    import yaml

    return f"# {command(request)}\n" + yaml.safe_dump(
        _plain(request.config), sort_keys=False, allow_unicode=True
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def command(request: Request) -> str:
    """A command that repeats the run, every key spelled out."""
    words = []
    for key, value in flatten(request.config).items():
        group, _, rest = key.partition(".")
        key = group if rest == "name" else key
        if key == "force":
            continue
        words.append(f"{key}={_typed(value)}")
    return shlex.join(["lipexp", "run", *words])


def _typed(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_typed(item) for item in value) + "]"
    return str(value)
