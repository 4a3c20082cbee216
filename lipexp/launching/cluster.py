"""The points of a sweep as jobs of submitit's: one array on SLURM, or processes of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lipexp.config import read
from lipexp.errors import RunError, UserError
from lipexp.launching.points import Point
from lipexp.runs.outcome import Outcome

POLL = 1.0  # seconds between looks at the jobs


class Job:
    """A point's run as a job.  Interrupted for its time, it is queued again and goes on."""

    def __call__(self, config: Mapping[str, Any]) -> Outcome:
        from lipexp.runs.execute import execute

        return execute(read(config))

    def checkpoint(self, config: Mapping[str, Any]):
        import submitit

        return submitit.helpers.DelayedSubmission(self, config)


def run(points: Sequence[Point], launcher, folder: Path) -> Iterator[tuple[int, Outcome, float]]:
    """(number in ``points``, outcome, seconds) of each, as they end; the points have requests.

    ``launcher``: hydra-submitit-launcher's, of which the keys are taken.  ``folder``: of the sweep;
    what submitit writes goes to its ``.submitit``.  A job that was killed or ran out of time is a
    failed point; the others go on.  Raises UserError where there is no SLURM, and where it refuses
    the jobs.
    """
    import submitit

    kind = launcher._EXECUTOR
    keys = {k: v for k, v in launcher.params.items() if k != "submitit_folder" and v is not None}
    own = {"max_num_timeout"}  # of the executor, not of a job
    try:
        executor = submitit.AutoExecutor(
            folder=folder / ".submitit" / "%j",
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
    try:
        jobs = executor.map_array(Job(), [point.request.config for point in points])
    except submitit.core.utils.FailedJobError as error:
        raise UserError(
            f"hydra/launcher: the jobs were refused ({_first_line(error)}); "
            "hydra.launcher.partition, account, timeout_min, ... say what is asked for"
        ) from error
    try:
        yield from _as_they_end(jobs, points)
    except BaseException:
        for job in jobs:
            job.cancel(check=False)
        raise


# What submitit calls the same on every kind of cluster; the rest has the kind's name in front.
_COMMON = frozenset(
    ("cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "stderr_to_stdout",
     "tasks_per_node", "timeout_min")
)  # fmt: skip


def _as_they_end(jobs, points: Sequence[Point]) -> Iterator[tuple[int, Outcome, float]]:
    began = time.perf_counter()
    waiting = dict(enumerate(jobs))
    while waiting:
        for number, job in list(waiting.items()):
            if job.done():
                del waiting[number]
                yield number, _outcome(job, points[number]), time.perf_counter() - began
        if waiting:
            time.sleep(POLL)


def _outcome(job, point: Point) -> Outcome:
    try:
        return job.result()
    except Exception:  # of the cluster: killed, out of time, out of memory
        line = f"job {job.job_id} ended as {job.state}; what it printed is in {job.paths.stderr}"
        return Outcome(point.request.folder, error=RunError(line))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
