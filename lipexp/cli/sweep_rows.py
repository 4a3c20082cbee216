"""How the points of a sweep ended: a line each, the closing lines, points.csv."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from lipexp.cli.output import tell
from lipexp.errors import RunError
from lipexp.files import write_text
from lipexp.runs.outcome import Outcome
from lipexp.runs.summary import plural


@dataclass(frozen=True)
class Row:
    """One point of a sweep: its place, what was asked and how it ended."""

    number: int
    asked: str
    outcome: Outcome
    seconds: float

    @property
    def state(self) -> str:
        if self.outcome.status:
            return "failed"
        return "done" if self.outcome.fresh else "skipped"


class Report:
    """One line per point as it ends; refused points wait until one has run.

    A request that is wrong at every point is then one line, as a single run's would be.
    """

    def __init__(self) -> None:
        self._told = 0

    def tell(self, rows: list[Row]) -> None:
        if all(row.outcome.status == 2 for row in rows):
            return
        for number, row in enumerate(rows[self._told :], self._told + 1):
            self._line(number, row)
        self._told = len(rows)

    def _line(self, number: int, row: Row) -> None:
        line = f"[{number}] {row.state:<8}{row.asked}"
        if row.state == "failed":
            tell(f"{line}: {row.outcome.line}", sys.stderr)
        else:
            tell(f"{line}  {row.outcome.folder}  {row.seconds:.1f} s", sys.stdout)


def write(rows: list[Row], folder: Path) -> Path:
    """points.csv in the sweep's folder: point, state, folder, line, seconds; its path.

    Raises RunError where it cannot be written.
    """
    path = folder / "points.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)  # it may have been cleared away
        write_text(_as_csv(rows), path)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror})") from error
    return path


def _as_csv(rows: list[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["point", "state", "folder", "line", "seconds"])
    for row in rows:
        line = row.outcome.line if row.outcome.status else ""
        folder = row.outcome.folder or ""
        writer.writerow([row.asked, row.state, folder, line, f"{row.seconds:.3f}"])
    return out.getvalue()


def closing(rows: list[Row]) -> str:
    """How many are done, skipped and failed, and a line for each that failed."""
    counts = {state: sum(r.state == state for r in rows) for state in ("done", "skipped", "failed")}
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    lines = [f"{plural(len(rows), 'point')}: {words}"]
    lines += [f"  failed: {r.asked}: {r.outcome.line}" for r in rows if r.state == "failed"]
    return "\n".join(lines)
