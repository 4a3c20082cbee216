"""The points of a sweep as jobs of submitit's: one array on SLURM, or processes of this machine."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

from lipexp.config import read
from lipexp.errors import RunError, Terminated, UserError
from lipexp.launching.points import Point
from lipexp.runs.outcome import Outcome
from lipexp.runs.summary import plural

POLL = 1.0  # seconds between looks at the jobs
LONGEST_ARRAY = 1000  # jobs; SLURM's MaxArraySize is 1001 where nobody has set it


class Job:
    """Runs that are computed together, as a job.

    Out of time, or to make room for others, it is queued again and goes on; out of time too often,
    its runs are failed ones.
    """

    def __call__(self, configs: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        import submitit

        from lipexp.runs.execute import execute_together

        _leave_past_the_run()
        requests = [read(config) for config in configs]
        try:
            return list(execute_together(requests))
        except Terminated as left:
            if not isinstance(left.__cause__, submitit.core.utils.UncompletedJobError):
                raise left.__cause__ or left  # noqa: B904
            line = (
                "it ran out of its time too often; the same command goes on "
                "(hydra.launcher.timeout_min, hydra.launcher.max_num_timeout)"
            )
            return [Outcome(request.folder, error=RunError(line)) for request in requests]

    def checkpoint(self, configs: Sequence[Mapping[str, Any]]):
        import submitit

        return submitit.helpers.DelayedSubmission(self, configs)


def _leave_past_the_run() -> None:
    """Makes submitit's handler, which ends a job by an exception, do so past what a run catches.

    A run takes SystemExit for a layer's own and tells it as its failure.
    """
    import submitit

    number = submitit.JobEnvironment()._usr_sig()
    handler = signal.getsignal(number)

    def handle(number: int, frame) -> None:
        try:
            handler(number, frame)
        except (Exception, SystemExit) as leaving:
            raise Terminated from leaving

    signal.signal(number, handle)


def asks_for_gpus(launcher) -> bool:
    """Whether each of its jobs is to have a GPU."""
    return any(launcher.params.get(key) for key in ("gpus_per_node", "gpus_per_task", "gres"))


def run(
    points: Sequence[Point],
    groups: Sequence[Sequence[int]],
    launcher,
    folder: Path,
    tell: Callable[[str], None],
) -> Iterator[tuple[int, Outcome, float]]:
    """(number in ``points``, outcome, seconds) of each, as they end; the points have requests.

    ``groups``: numbers of points that one job computes together.  ``launcher``:
    hydra-submitit-launcher's, of which the keys are taken.  ``folder``: of the sweep; what submitit
    writes goes to its ``.submitit``.  ``tell``: is told which jobs SLURM has queued.  A job that
    was killed, or refused by its node, is failed points; the others go on.  Raises UserError where
    there is no SLURM, and where it refuses the jobs.
    """
    home = folder / ".submitit"
    executor = _executor(launcher, home)
    at_once, surroundings = len(groups), nullcontext
    if launcher._EXECUTOR == "local":  # where submitit starts whatever it is given
        at_once, threads = _shares(len(groups), launcher.params.get("cpus_per_task"))
        surroundings = partial(_processes_with, threads, home / "controllers.log")
    waiting, running = list(groups), {}
    try:
        while waiting or running:
            room = at_once - len(running)
            now, waiting = waiting[:room], waiting[room:]
            if now:
                with surroundings():
                    jobs = _submit(executor, points, now)
                began = time.perf_counter()
                running |= {job: (group, began) for job, group in zip(jobs, now, strict=True)}
                if launcher._EXECUTOR == "slurm":
                    arrays = dict.fromkeys(job.job_id.partition("_")[0] for job in jobs)
                    shown = f"squeue --job {','.join(arrays)} shows them"
                    tell(f"{plural(len(jobs), 'job')} queued; {shown}")
            for job in [job for job in running if job.done()]:
                group, began = running.pop(job)
                seconds = (time.perf_counter() - began) / len(group)
                for number, outcome in zip(group, _outcomes(job, group, points), strict=True):
                    yield number, outcome, seconds
            if running:
                time.sleep(POLL)
    except BaseException:
        _cancel(running)
        raise


# What submitit calls the same on every kind of cluster; the rest has the kind's name in front.
_COMMON = frozenset(
    ("cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "stderr_to_stdout",
     "tasks_per_node", "timeout_min")
)  # fmt: skip


def _executor(launcher, home: Path):
    import submitit

    kind = launcher._EXECUTOR
    keys = {k: v for k, v in launcher.params.items() if k != "submitit_folder" and v is not None}
    own = {"max_num_timeout"}  # of the executor, not of a job
    try:
        executor = submitit.AutoExecutor(
            folder=home / "%j",
            cluster=kind,
            **{f"{kind}_{key}": keys[key] for key in own & keys.keys()},
        )
    except RuntimeError as error:
        raise UserError(
            f"hydra/launcher: there is no SLURM here ({_first_line(error)}); "
            "hydra/launcher=submitit_local runs the same jobs on this machine"
        ) from error
    executor.update_parameters(
        **{key if key in _COMMON else f"{kind}_{key}": keys[key] for key in keys.keys() - own}
    )
    return executor


def _shares(jobs: int, wanted: int | None) -> tuple[int, int]:
    """How many jobs run on this machine at once, and the threads of each."""
    cores = len(os.sched_getaffinity(0))
    threads = wanted or max(1, cores // jobs)
    return max(1, cores // threads), threads


@contextmanager
def _processes_with(threads: int, stderr: Path):
    """What is started in here has so many threads, and tells ``stderr`` what it has to say.

    submitit's processes print a trace each on Ctrl-C, which ends the jobs by intention.
    """
    before, kept = os.environ.get("OMP_NUM_THREADS"), os.dup(2)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        with stderr.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _submit(executor, points: Sequence[Point], groups: Sequence[Sequence[int]]) -> list:
    import submitit

    jobs = []
    configs = [[points[number].request.config for number in group] for group in groups]
    try:
        with redirect_stderr(io.StringIO()):  # of sbatch: the error has its words
            for start in range(0, len(configs), LONGEST_ARRAY):
                jobs += executor.map_array(Job(), configs[start : start + LONGEST_ARRAY])
    except BaseException as error:
        _cancel(jobs)  # the arrays before this one
        if not isinstance(error, submitit.core.utils.FailedJobError):
            raise
        raise UserError(
            f"hydra/launcher: the jobs were refused ({_first_line(error)}); "
            "hydra.launcher.partition, account, gpus_per_node, ... say what is asked for"
        ) from error
    return jobs


def _cancel(jobs: Iterable) -> None:
    for job in jobs:
        job.cancel(check=False)


def _outcomes(job, group: Sequence[int], points: Sequence[Point]) -> list[Outcome]:
    try:
        return job.result()
    except Exception:  # of the cluster: killed, out of time, out of memory
        line = f"job {job.job_id} ended as {job.state}; what it printed is in {job.paths.stderr}"
        return [Outcome(points[n].request.folder, error=RunError(line)) for n in group]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
