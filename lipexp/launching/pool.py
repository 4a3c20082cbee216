"""Long-lived workers, one per slot: imports and data are loaded once, a death costs one point."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lipexp.config import Request
from lipexp.errors import RunError, UserError
from lipexp.launching.points import Point
from lipexp.launching.turns import Turns
from lipexp.runs.outcome import Outcome

GRACE = 20  # seconds that workers have to keep their checkpoints and leave


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name for name in asked.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return [str(n) for n, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def environments(runs_per_gpu: int, slots: int | None) -> list[dict[str, str]]:
    """What each worker's environment says: its GPU, or its share of the cores.

    ``slots``: how many, by default one for each run that a GPU takes, or for each core.  Raises
    UserError for what is no number from 1 on.
    """
    for name, value in (("runs_per_gpu", runs_per_gpu), ("slots", slots)):
        if value is None and name == "slots":
            continue
        if type(value) is not int or value < 1:
            raise UserError(f"hydra.launcher.{name}={value}: must be a whole number from 1 on")
    gpus, cores = visible_gpus(), len(os.sched_getaffinity(0))
    count = slots or len(gpus) * runs_per_gpu or cores
    shared = {"OMP_NUM_THREADS": str(max(1, cores // count))}
    if not gpus:
        return [shared] * count
    return [{**shared, "CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)]} for n in range(count)]


class _Worker:
    """One process.  ``ask`` raises RunError when it has died, and the next call starts another."""

    def __init__(self, environment: Mapping[str, str], log: Path):
        self._environment, self._log = {**os.environ, **environment}, log
        self._process: subprocess.Popen[str] | None = None

    def ask(self, configs: Sequence[Mapping], *, wait: bool) -> list[dict]:
        if self._process is None or self._process.poll() is not None:
            self._start()
        try:
            self._process.stdin.write(json.dumps({"configs": configs, "wait": wait}) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):  # it has died, or was ended and its pipes are closed
            answer = ""
        if answer.endswith("\n"):  # else it died, perhaps in the middle of a line
            return json.loads(answer)
        line = f"its worker {_end(self._process.wait())}"
        if self._log.exists() and self._log.stat().st_size > 0:
            line += f"; what it printed is in {self._log}"
        raise RunError(line)

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "lipexp.launching.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
                encoding="utf-8",
            )

    def end(self, *, now: bool) -> None:
        """Lets it end, or ends it: with SIGTERM, on which a run keeps its checkpoint."""
        process = self._process
        if process is None:
            return
        if now and process.poll() is None:
            process.terminate()
        with suppress(OSError):  # it has died
            process.stdin.close()

    def wait(self, until: float) -> None:
        """Waits for its end; what is still there at that time by the monotonic clock is killed."""
        process = self._process
        if process is None:
            return
        try:
            process.wait(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if self._log.exists() and self._log.stat().st_size == 0:
            self._log.unlink()


def _end(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"


def run(
    points: Sequence[Point],
    groups: Sequence[Sequence[int]],
    slots: Sequence[Mapping[str, str]],
    folder: Path,
) -> Iterator[tuple[int, Outcome, float]]:
    """(number in ``points``, outcome, seconds) of each, as they end; the points have requests.

    ``groups``: numbers of points that one worker computes together.  ``slots``: an environment for
    each worker.  ``folder``: where workers' logs go; those that stay empty are taken away.  When
    the caller stops listening, or is interrupted, the workers are ended.
    """
    ended: queue.SimpleQueue[tuple[int, Outcome, float] | Exception] = queue.SimpleQueue()
    turns = Turns(groups)
    stopping = threading.Event()
    workers = [
        _Worker(share, folder / f"worker{n}.log") for n, share in enumerate(slots[: len(groups)])
    ]

    def drive(worker: _Worker) -> None:
        try:
            for group, wait in turns:
                if stopping.is_set():
                    return
                began = time.perf_counter()
                outcomes = _computed(worker, [points[n].request for n in group], wait=wait)
                seconds = (time.perf_counter() - began) / len(group)
                for number, outcome in turns.ended(group, outcomes):
                    ended.put((number, outcome, seconds))
        except Exception as error:  # unforeseen: without a word the sweep would wait for ever
            ended.put(error)

    threads = [threading.Thread(target=drive, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    left = len(points)
    try:
        while left:
            end = ended.get()
            if isinstance(end, Exception):
                raise end
            yield end
            left -= 1
    finally:
        stopping.set()
        for worker in workers:  # all are told before one is waited for
            worker.end(now=left > 0)
        until = time.monotonic() + GRACE
        for worker in workers:
            worker.wait(until)
        for thread in threads:
            thread.join(timeout=GRACE)


def _computed(worker: _Worker, requests: Sequence[Request], *, wait: bool) -> list[Outcome]:
    try:
        answers = worker.ask([request.config for request in requests], wait=wait)
        return [_outcome(answer) for answer in answers]
    except RunError as error:
        failure = error
    except OSError as error:  # no room for its log, no memory for its process
        failure = RunError(f"its worker cannot be started ({error.strerror})")
    return [Outcome(request.folder, error=failure) for request in requests]


def _outcome(answer: Mapping) -> Outcome:
    folder = None if answer["folder"] is None else Path(answer["folder"])
    kinds = {1: RunError, 2: UserError}
    error = kinds[answer["status"]](answer["line"]) if answer["status"] else None
    return Outcome(folder, fresh=answer["fresh"], held=answer["held"], error=error)
