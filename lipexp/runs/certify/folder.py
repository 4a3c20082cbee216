"""From a checked certification to its files, once."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from lipexp import __version__
from lipexp.errors import RunError, UserError
from lipexp.files import write_json, write_table, write_text
from lipexp.runs.certify.digest import IDENTITY, complaint, digest
from lipexp.runs.certify.parts import FOLDER, Parts
from lipexp.runs.certify.request import Asked
from lipexp.runs.claim import Claim
from lipexp.runs.execute import config_text
from lipexp.runs.job import Progress, Silent
from lipexp.runs.log import add_to_log, broken
from lipexp.runs.outcome import Outcome
from lipexp.runs.summary import read_summary


def certify(asked: Asked, progress: Progress | None = None) -> Outcome:
    """Certifies and attacks unless it is done, from the parts on disk on if there are any.

    The outcome has an error where the run broke, or a certificate did.  Raises UserError, with
    nothing left on disk, for what cannot be certified.
    """
    progress = progress or Silent()
    identity = asked.identity()
    if not asked.force and (done := _if_done(asked, identity)):
        return done
    from lipexp.runs.certify.task import prepare

    try:
        job = prepare(asked)
    except MemoryError as error:
        raise UserError(f"not enough memory: {error}") from error
    with _Claim(asked, progress):
        if not asked.force and (done := _if_done(asked, identity)):
            return done  # another process was faster
        if replace(asked).identity() != identity:  # read anew
            raise UserError(f"{asked.weights} was changed in the meantime; certify again")
        return _run(job, asked, identity, progress)


def _if_done(asked: Asked, identity: str) -> Outcome | None:
    summary = read_summary(asked.folder)
    if summary is None or summary.get(IDENTITY) != identity:
        return None
    if not (asked.folder / "plots" / "attacked_accuracy.png").exists():
        return None  # files were taken away: made again
    try:
        text, wrong = digest(asked.folder), complaint(asked.folder, summary)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f" ({error})" if type(error) is ValueError else ""
        what = f"{asked.folder} is certified but cannot be read{why}; --force certifies again"
        raise UserError(what) from error
    made_by = summary.get("certify_version")
    by = "" if made_by == __version__ else f", by lipexp {made_by}; this is {__version__}"
    note = f"done already{by}; --force certifies and attacks again"
    return _outcome(asked, f"{text}\n{note}", wrong, fresh=False)


def _outcome(asked: Asked, text: str, wrong: str, *, fresh: bool) -> Outcome:
    error = RunError(wrong) if wrong else None
    return Outcome(asked.folder, f"{text}\nfiles: {asked.folder}", fresh=fresh, error=error)


def _run(job, asked: Asked, identity: str, progress: Progress) -> Outcome:
    folder = asked.folder
    progress.unit = job.unit
    try:
        text, wrong = _certify(job, asked, identity, progress)
    except (Exception, SystemExit) as error:  # a layer of one's own may say sys.exit
        remedy = "certify again without --force" if asked.force else "certify again"
        told = broken(error, folder, what="certifying", remedy=remedy)
        return Outcome(folder, error=told)
    return _outcome(asked, text, wrong, fresh=True)


def _certify(job, asked: Asked, identity: str, progress: Progress) -> tuple[str, str]:
    """(the closing line, the complaint or nothing), everything written, summary.json last."""
    from lipexp.plots.style import save
    from lipexp.runs.certify import report

    folder, began = asked.folder, time.perf_counter()
    parts = Parts(folder, "")
    if asked.force:
        parts.clear()
        _forget(folder)
    found = job.run(folder, progress, identity)
    table = report.table_of(found, asked.eps)
    report.save_successes(job, found, folder)
    write_table(table, folder / "certificates.csv")
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / "closest_to_breaking.png").unlink(missing_ok=True)
    for name, figure in report.figures(job, table, found).items():
        save(figure, folder / "plots" / f"{name}.png")
    added = report.numbers(job, table, found, identity, time.perf_counter() - began)
    summary = report.summary_of(job, read_summary(folder) or {}, added)
    write_json(summary, folder / "summary.json")
    parts.clear()
    text, wrong = digest(folder), complaint(folder, summary)
    add_to_log([*found.log, f"certify: {text}", *filter(None, [wrong])], folder)
    return text, wrong


def _forget(folder: Path) -> None:
    """What an earlier certification found stands until it is replaced, and counts as not done."""
    if (summary := read_summary(folder)) and summary.pop(IDENTITY, None):
        write_json(summary, folder / "summary.json")


class _Claim(Claim):
    """The run's folder, or the one asked for, kept with parts in it: the same command goes on."""

    def __init__(self, asked: Asked, progress: Progress):
        self._asked = asked
        name = f"--out {asked.folder}" if asked.foreign else str(asked.folder)
        super().__init__(asked.folder, progress, asked=name)

    def _begin(self) -> None:
        if self._asked.foreign:
            write_text(config_text(self._asked.request), self._folder / "config.yaml")

    def _keeps(self) -> bool:
        return (self._folder / FOLDER).exists() or read_summary(self._folder) is not None
