"""`lipexp run -m`: every point of a sweep that is not done, and a table of how each ended."""

from __future__ import annotations

import csv
import io
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lipexp.cli import composing, interrupts, requests
from lipexp.errors import UserError
from lipexp.files import write_text
from lipexp.runs.outcome import Outcome


@dataclass(frozen=True)
class Point:
    """One point of a sweep: what was asked and how it ended."""

    asked: str
    outcome: Outcome
    seconds: float

    @property
    def state(self) -> str:
        if self.outcome.status:
            return "failed"
        return "done" if self.outcome.fresh else "skipped"


def sweep(flags: list[str], overrides: list[str], *, quiet: bool) -> int:
    """Runs the sweep; exit status 0, or 1 where a point failed.

    Raises UserError, with nothing left behind, for a request that is wrong at every point.
    """
    points: list[Point] = []
    outputs = Path((requests.value_of(overrides, "outputs") or "outputs").strip("'\""))
    folder = outputs / "sweeps" / time.strftime("%Y-%m-%d_%H-%M-%S")

    report = _Report()

    def task(composed) -> None:
        from hydra.core.hydra_config import HydraConfig

        asked = " ".join(
            word
            for word in HydraConfig.get().overrides.task
            if not word.startswith(("outputs=", "force="))
        )
        interrupts.check()
        began = time.perf_counter()
        outcome = composing.execute(composed, bar=not quiet)
        points.append(Point(asked, outcome, time.perf_counter() - began))
        if not quiet:
            report.tell(points)

    try:
        quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
        composing.compose(flags, [*overrides, f"hydra.sweep.dir='{quoted}'"], task)
    except UserError:
        _remove(folder)
        raise
    except KeyboardInterrupt:
        if points:
            write_text(_table(points), folder / "points.csv")
        else:
            _remove(folder)
        raise
    if all(p.outcome.status == 2 for p in points):
        _remove(folder)
        lines = {p.outcome.line for p in points}
        if len(lines) == 1:
            raise UserError(lines.pop())
        raise UserError(f"no point of this sweep can run; the first: {points[0].outcome.line}")
    write_text(_table(points), folder / "points.csv")
    if quiet:
        for point in points:
            if point.outcome.folder is not None:
                print(point.outcome.folder)
    else:
        print(_closing(points, folder))
    return 1 if any(point.outcome.status for point in points) else 0


class _Report:
    """One line per point as it ends; refused points wait until one has run.

    A request that is wrong at every point is then one line, as a single run's would be.
    """

    def __init__(self) -> None:
        self._told = 0
        self._closed = False  # nobody reads stdout any more: `| head`

    def tell(self, points: list[Point]) -> None:
        if all(point.outcome.status == 2 for point in points):
            return
        for number, point in enumerate(points[self._told :], self._told + 1):
            self._line(number, point)
        self._told = len(points)

    def _line(self, number: int, point: Point) -> None:
        line = f"[{number}] {point.state:<8}{point.asked}"
        if point.state == "failed":
            print(f"{line}: {point.outcome.line}", file=sys.stderr, flush=True)
        elif not self._closed:
            try:
                print(f"{line}  {point.outcome.folder}  {point.seconds:.1f} s", flush=True)
            except BrokenPipeError:
                self._closed = True


def _table(points: list[Point]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["point", "state", "folder", "line", "seconds"])
    for point in points:
        line = point.outcome.line if point.outcome.status else ""
        folder = point.outcome.folder or ""
        writer.writerow([point.asked, point.state, folder, line, f"{point.seconds:.3f}"])
    return out.getvalue()


def _closing(points: list[Point], folder: Path) -> str:
    counts = {
        state: sum(p.state == state for p in points) for state in ("done", "skipped", "failed")
    }
    words = ", ".join(f"{count} {state}" for state, count in counts.items())
    lines = [f"{len(points)} points: {words}"]
    lines += [f"  failed: {p.asked}: {p.outcome.line}" for p in points if p.state == "failed"]
    lines.append(f"table: {folder / 'points.csv'}")
    return "\n".join(lines)


def _remove(folder: Path) -> None:
    """Takes back the sweep's folder, and its parents where nothing else is in them."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent):
        try:
            parent.rmdir()
        except OSError:
            return
