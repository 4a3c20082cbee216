"""`lipexp run -m`: every point of a sweep that is not done, and a table of how each ended."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from lipexp import collector
from lipexp.cli import composing, interrupts, requests
from lipexp.cli.explaining import explain
from lipexp.cli.output import tell
from lipexp.cli.progress import progress_bar
from lipexp.cli.sweep_rows import Report, Row, closing, write
from lipexp.errors import RunError, UserError
from lipexp.launching.points import Point, by_seed, expand
from lipexp.launching.turns import Turns
from lipexp.runs.outcome import Outcome
from lipexp.runs.summary import plural

if TYPE_CHECKING:
    from omegaconf import DictConfig

SEEDS = ("auto", "together", "apart")
# (number among the points, outcome, seconds), as they end
Ended = Iterator[tuple[int, Outcome, float]]
Launch = Callable[[Sequence[Point]], Ended]


def sweep(flags: list[str], overrides: list[str], *, quiet: bool, dry: bool = False) -> int:
    """Runs the sweep; exit status 0, or 1 where a point failed.  ``dry``: lists its points.

    Raises UserError, with nothing left behind, for a request that is wrong at every point.
    """
    task = _Sweep(quiet=quiet, dry=dry)
    try:
        composing.compose(flags, overrides, task)
    except UserError:
        _remove(task.folder)
        raise
    except KeyboardInterrupt as error:
        ended = sum(not row.outcome.status for row in task.rows)
        of_a_run = error.args or ("the same command goes on",)
        error.args = (f"{plural(ended, 'point')} done", *of_a_run)
        if task.rows and task.folder:
            with suppress(RunError):
                write(sorted(task.rows, key=lambda row: row.number), task.folder)
        else:
            _remove(task.folder)
        raise
    rows, folder = sorted(task.rows, key=lambda row: row.number), task.folder
    if dry:
        return 0
    if all(row.outcome.status == 2 for row in rows):
        _remove(folder)
        lines = {row.outcome.line for row in rows}
        if len(lines) == 1:
            raise UserError(lines.pop())
        raise UserError(f"no point of this sweep can run; the first: {rows[0].outcome.line}")
    if quiet:
        for row in rows:
            if row.outcome.folder is not None:
                print(row.outcome.folder)
    else:
        print(closing(rows))
    table = write(rows, folder)
    if not quiet:
        print(f"table: {table}")
    return 1 if any(row.outcome.status for row in rows) else 0


class _Sweep:
    """Hydra's task function: Hydra's sweeper, which is ours, hands it the words of the sweep."""

    def __init__(self, *, quiet: bool, dry: bool):
        self.rows: list[Row] = []
        self.folder: Path | None = None  # of this sweep alone; None where no point can run
        self._quiet, self._dry = quiet, dry

    def __call__(self, composed: DictConfig) -> None:
        raise UserError("a sweep of lipexp needs hydra/sweeper=lipexp")

    def sweep(self, context, master: DictConfig, arguments: list[str], seeds: str) -> None:
        if seeds not in SEEDS:
            raise UserError(f"hydra.sweeper.seeds={seeds}: must be one of {', '.join(SEEDS)}")
        self._seeds = seeds
        launch = self._launch_by(_launcher(context, master))
        points = expand(context, master, arguments, explain)
        if self._dry:
            from lipexp.cli.dry_run import listing

            print(listing(points))
            return
        wanted = [Path(point.request.outputs) for point in points if point.request]
        if wanted:
            self.folder = _own_folder(wanted[0] / "sweeps")
        report = None if self._quiet else Report()
        for number, outcome, seconds in self._ended(points, launch):
            self.rows.append(Row(number, points[number].asked, outcome, seconds))
            if report:
                report.tell(self.rows)

    def _ended(self, points: Sequence[Point], launch: Launch) -> Ended:
        """All points: first those that need no computing, then the others as they end."""
        from lipexp.runs.execute import done_before

        missing = []
        seen: set[Path] = set()
        for number, point in enumerate(points):
            began = time.perf_counter()
            if point.error:
                yield number, Outcome(error=point.error), 0.0
                continue
            folder = point.request.folder
            if folder in seen:
                continue  # the same request twice is one run
            seen.add(folder)
            if not point.request.force and done_before(point.request):
                yield number, Outcome(folder, fresh=False), time.perf_counter() - began
            else:
                missing.append(number)
        if missing:
            for place, outcome, seconds in launch([points[n] for n in missing]):
                yield missing[place], outcome, seconds

    def _launch_by(self, launcher) -> Launch:
        """What computes points by Hydra's choice; raises UserError for a launcher or its keys."""
        kind = type(launcher).__module__
        if kind == "hydra_plugins.lipexp.gpus":
            from lipexp.launching import pool

            slots = pool.environments(launcher.runs_per_gpu, launcher.slots)
            gpus = bool(pool.visible_gpus())
            return lambda points: pool.run(points, self._groups(points, gpus), slots, self.folder)
        if kind.startswith("hydra_plugins.hydra_submitit_launcher"):
            from lipexp.launching import cluster

            gpus = cluster.asks_for_gpus(launcher)
            return lambda points: cluster.run(
                points, self._groups(points, gpus), launcher, self.folder, self._tell
            )
        if kind.startswith("hydra._internal"):
            return self._here
        raise UserError(
            f"hydra/launcher: {type(launcher).__name__} is not known here; "
            f"known: {', '.join(requests.LAUNCHERS)}"
        )

    def _tell(self, line: str) -> None:
        if not self._quiet:
            tell(line, sys.stdout)

    def _here(self, points: Sequence[Point]) -> Ended:
        from lipexp.launching.pool import visible_gpus
        from lipexp.runs.execute import execute_together

        turns = Turns(self._groups(points, bool(visible_gpus())))
        for group, wait in collector.passing_by_what_is_loaded(turns):
            interrupts.check()
            began = time.perf_counter()
            with progress_bar(shown=not self._quiet) as progress:
                asked = [points[number].request for number in group]
                outcomes = list(execute_together(asked, progress, wait=wait))
            seconds = (time.perf_counter() - began) / len(group)
            for number, outcome in turns.ended(group, outcomes):
                yield number, outcome, seconds

    def _groups(self, points: Sequence[Point], gpus: bool) -> list[list[int]]:
        """The numbers of points that are computed at once, where there are GPUs or are not."""
        on_gpu = gpus and all(point.request.device != "cpu" for point in points)
        if self._seeds == "together" or (self._seeds == "auto" and on_gpu):
            return by_seed(points)
        return [[number] for number in range(len(points))]


def _launcher(context, master: DictConfig):
    from hydra.core.plugins import Plugins

    return Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=None, config=master
    )


def _own_folder(home: Path) -> Path:
    """A new folder named after the time; sweeps that start in the same second get one each."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in count(1):
        folder = home / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:
            _remove(folder)
            raise
        return folder
    raise AssertionError


def _remove(folder: Path | None) -> None:
    """Takes back the sweep's folder, and its parents where nothing else is in them."""
    if folder is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent):
        try:
            parent.rmdir()
        except OSError:
            return
