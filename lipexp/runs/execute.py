"""From a checked request to a finished folder."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lipexp import __version__
from lipexp.config import Request, flatten, typed
from lipexp.errors import UserError
from lipexp.files import write_json, write_table, write_text
from lipexp.registry import resolve
from lipexp.runs.claim import Claim, Held
from lipexp.runs.job import CHECKPOINT, Job, Progress, Result, Silent
from lipexp.runs.log import broken
from lipexp.runs.outcome import Outcome
from lipexp.runs.summary import read_summary
from lipexp.tasks import TASKS


def execute(
    request: Request,
    progress: Progress | None = None,
    job: Job | None = None,
    *,
    wait: bool = True,
) -> Outcome:
    """Runs a request unless it is done, from its checkpoint on if there is one.

    ``job``: the request's, where it is prepared already.  ``wait``: for another process that is at
    it; else the outcome is held.  Never raises for what a run can raise: in a sweep the next point
    follows.
    """
    progress = progress or Silent()
    try:
        if not request.force and (done := _if_done(request)):
            return done
        job = job or TASKS[request.task["name"]](request)
        claim = _Claim(request, progress, wait=wait)
    except Held:
        return Outcome(request.folder, held=True)
    except UserError as error:
        return Outcome(error=error)
    except MemoryError as error:
        return Outcome(error=_refused(f"not enough memory: {error}", error))
    with claim:
        if not request.force and (done := _if_done(request)):
            return done  # another process was faster
        return _run(job, request, progress)


def execute_together(
    requests: Sequence[Request], progress: Progress | None = None, *, wait: bool = True
) -> Iterator[Outcome]:
    """The same of requests that differ in their seeds alone, in one computation where it can be.

    The folders are those of separate runs, the numbers theirs up to rounding.
    """
    jobs: Sequence[Job | None] = [None] * len(requests)
    prepare = TASKS.fact(requests[0].task["name"], "together")
    if prepare and len(requests) > 1:
        with suppress(UserError, MemoryError):  # each says for itself what is wrong
            jobs = resolve(prepare)(requests)
    for request, job in zip(requests, jobs, strict=True):
        yield execute(request, progress, job, wait=wait)


def _digest(request: Request, notes: Sequence[str] = ()) -> str:
    """What is printed of a finished run, by its task."""
    return resolve(TASKS.fact(request.task["name"], "digest"))(request, notes=notes)


def done_before(request: Request) -> bool:
    """Whether a finished run of this request is on disk, at the cost of a few looks at files.

    summary.json can be read, and the tables and plots/ are there, whatever they hold.  Where they
    were taken away the run is made again, a training's from its checkpoint.  That may be missing:
    results stand without it, and whoever needs the network says that it is gone.
    """
    tables = TASKS.fact(request.task["name"], "tables", ())
    parts = ("plots", *tables)
    return read_summary(request.folder) is not None and all(
        (request.folder / part).exists() for part in parts
    )


def _if_done(request: Request) -> Outcome | None:
    if not done_before(request):
        return None
    summary = read_summary(request.folder)
    try:
        text = _digest(request, _notes_when_done(summary))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        why = f" ({error})" if type(error) is ValueError else ""
        what = f"{request.folder} is done but cannot be read{why}; force=true runs it again"
        raise UserError(what) from error
    return Outcome(request.folder, text, fresh=False)


def _run(job: Job, request: Request, progress: Progress) -> Outcome:
    folder, began = request.folder, time.perf_counter()
    progress.unit = job.unit
    try:
        result = job.run(folder, progress)
        _write(result, folder, began)
        text = _digest(request)
        write_text("\n".join([*result.log, text]) + "\n", folder / "log.txt")
        return Outcome(folder, text)
    except (Exception, SystemExit) as error:  # a layer of one's own may say sys.exit
        told = broken(error, folder, what="the run", remedy=_again(request))
        return Outcome(folder, error=told)


def _again(request: Request) -> str:
    return "run again without force=true" if request.force else "run again"


def _refused(line: str, cause: Exception) -> UserError:
    error = UserError(line)
    error.__cause__ = cause
    return error


def _write(result: Result, folder: Path, began: float) -> None:
    """All files of a result, summary.json last, with the seconds since the run ``began``."""
    (folder / "plots").mkdir(exist_ok=True)
    for name, table in result.tables.items():
        write_table(table, folder / name)
    for name, figure in result.figures.items():
        from lipexp.plots.style import save

        save(figure, folder / "plots" / f"{name}.png")
    seconds = {"seconds": round(time.perf_counter() - began, 3)}
    write_json({**result.summary, **seconds}, folder / "summary.json")


def _notes_when_done(summary: Mapping[str, Any]) -> list[str]:
    made_by = summary.get("version")
    if made_by != __version__:
        return [
            f"done already, by lipexp {made_by}; this is {__version__}: force=true runs it again"
        ]
    return ["done already; force=true runs it again"]


class _Claim(Claim):
    """The run's folder; with a checkpoint in it, it stays, and the same request goes on from there.

    Raises UserError where the folder cannot be written.
    """

    def __init__(self, request: Request, progress: Progress, *, wait: bool = True):
        self._request = request
        asked = f"outputs={request.outputs}"
        super().__init__(request.folder, progress, asked=asked, wait=wait)
        if request.force:
            for name in ("summary.json", "log.txt", CHECKPOINT):
                (self._folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder / "plots", ignore_errors=True)  # of certify too

    def _begin(self) -> None:
        write_text(config_text(self._request), self._folder / "config.yaml")

    def _keeps(self) -> bool:
        kept = (self._folder / CHECKPOINT).exists()
        return kept or read_summary(self._folder) is not None


def config_text(request: Request) -> str:
    """config.yaml: every key, under the command that repeats the run."""
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
        words.append(f"{key}={typed(value)}")
    return shlex.join(["lipexp", "run", *words])
