"""Points as jobs of submitit's: the same folders, no more at once than this machine bears."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from lipexp.errors import UserError
from lipexp.launching import cluster
from lipexp.runs.outcome import Outcome
from lipexp.runs.probe import task
from tests.cli.golden import run
from tests.launching.points_asked import points_of

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
submitit = pytest.importorskip("submitit")

SMALL = ("depth=3", "width=8", "batch=20")
LOCAL = "hydra/launcher=submitit_local"


def tables_of(here):
    """(table, the table of the same run alone) of each run."""
    tables = sorted((here / "outputs/runs").rglob("layers.csv"))
    return [(table, here / "alone" / table.relative_to(here / "outputs")) for table in tables]


def test_jobs_leave_the_folders_of_single_runs_to_the_bit(capsys, here):
    assert run(capsys, "run", "-m", *SMALL, "seed=0,1", "outputs=alone")[0] == 0
    status, out, err = run(capsys, "run", "-m", *SMALL, "seed=0,1", LOCAL)
    assert status == 0, err
    assert "2 points: 2 done" in out
    tables = tables_of(here)
    assert len(tables) == 2
    for table, alone in tables:
        assert table.read_bytes() == alone.read_bytes()


def test_seeds_together_are_one_job(capsys, here):
    words = (*SMALL, "activation=relu,tanh", "seed=0,1,2")
    assert run(capsys, "run", "-m", *words, "outputs=alone")[0] == 0
    status, out, err = run(capsys, "run", "-m", *words, LOCAL, "hydra.sweeper.seeds=together")
    assert status == 0, err
    assert "6 points: 6 done" in out
    assert len(list((here / "outputs/sweeps").rglob("*_submitted.pkl"))) == 2
    tables = tables_of(here)
    assert len(tables) == 6
    for table, alone in tables:
        pd.testing.assert_frame_equal(pd.read_csv(table), pd.read_csv(alone), rtol=1e-9, atol=1e-9)


class Jobs:
    """An executor whose jobs end when they are looked at for the second time."""

    def __init__(self):
        self.running, self.most, self.calls, self.cancelled = 0, 0, 0, 0

    def map_array(self, function, configs):
        self.calls += 1
        self.running += len(configs)
        self.most = max(self.most, self.running)
        return [Twice(self, len(each)) for each in configs]


class Twice:
    job_id = "42_0"

    def __init__(self, jobs, points):
        self._jobs, self._points, self._looks = jobs, points, 0

    def done(self):
        self._looks += 1
        if self._looks == 2:
            self._jobs.running -= 1
        return self._looks == 2

    def result(self):
        return [Outcome()] * self._points

    def cancel(self, check):
        self._jobs.cancelled += 1


@pytest.fixture
def launch(monkeypatch, tmp_path):
    """(jobs, run over so many points), a group each, with the keys of a launcher of that kind."""
    jobs = Jobs()
    monkeypatch.setattr(cluster, "_executor", lambda launcher, home: jobs)
    monkeypatch.setattr(cluster, "POLL", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4, 5})
    (tmp_path / ".submitit").mkdir()

    def start(kind, points, tell=None, **keys):
        asked = [SimpleNamespace(request=SimpleNamespace(config={}))] * points
        launcher = SimpleNamespace(_EXECUTOR=kind, params=keys)
        groups = [[number] for number in range(points)]
        return cluster.run(asked, groups, launcher, tmp_path, tell)

    return jobs, start


@pytest.mark.parametrize(("each", "at_once"), [(None, 6), (2, 3), (4, 1), (9, 1)])
def test_this_machine_has_as_many_jobs_at_once_as_cores_for_them(launch, each, at_once):
    jobs, start = launch
    before = os.environ.get("OMP_NUM_THREADS")
    ended = [number for number, _, _ in start("local", 20, cpus_per_task=each)]
    assert sorted(ended) == list(range(20))
    assert jobs.most == at_once
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_slurm_is_given_all_jobs_as_one_array(launch):
    jobs, start = launch
    told = []
    assert len(list(start("slurm", 20, told.append, cpus_per_task=4))) == 20
    assert (jobs.calls, jobs.most) == (1, 20)
    assert told == ["20 jobs queued; squeue --job 42 shows them"]


def test_more_jobs_than_an_array_takes_are_several(launch, monkeypatch):
    jobs, start = launch
    monkeypatch.setattr(cluster, "LONGEST_ARRAY", 8)
    assert len(list(start("slurm", 20, lambda line: None))) == 20
    assert (jobs.calls, jobs.most) == (3, 20)
    accepted = jobs.map_array

    def refuses_the_second(function, configs):
        if jobs.calls == 4:
            raise submitit.core.utils.FailedJobError("no more")
        return accepted(function, configs)

    monkeypatch.setattr(jobs, "map_array", refuses_the_second)
    with pytest.raises(UserError, match="the jobs were refused"):
        next(start("slurm", 20, lambda line: None))
    assert jobs.cancelled == 8


def test_jobs_that_run_are_cancelled_when_nobody_listens_any_more(launch):
    jobs, start = launch
    ended = start("local", 20)
    next(ended)
    ended.close()
    assert jobs.cancelled == 5


@pytest.mark.parametrize(
    ("key", "expected"), [("gpus_per_node", True), ("gres", True), ("cpus_per_task", False)]
)
def test_a_job_asks_for_gpus_by_its_keys(key, expected):
    launcher = SimpleNamespace(params={"gpus_per_node": None, key: 1})
    assert cluster.asks_for_gpus(launcher) is expected


@pytest.fixture
def out_of_time(here, monkeypatch):
    """A job's configuration whose run is signalled, under a handler that leaves by an exception."""
    (request,) = [point.request for point in points_of([*SMALL])]
    environment = SimpleNamespace(_usr_sig=lambda: signal.SIGUSR2)
    monkeypatch.setattr(submitit, "JobEnvironment", lambda: environment)
    monkeypatch.setattr(task, "probe", lambda *_, **__: signal.raise_signal(signal.SIGUSR2))
    before = signal.getsignal(signal.SIGUSR2)

    def leave_by(error):
        def handler(number, frame):
            raise error

        signal.signal(signal.SIGUSR2, handler)
        return cluster.Job()([request.config])

    yield leave_by
    signal.signal(signal.SIGUSR2, before)


def test_a_job_that_is_queued_again_leaves_by_its_handlers_exit_and_no_failed_run(out_of_time):
    with pytest.raises(SystemExit) as left:
        out_of_time(SystemExit(-1))
    assert left.value.code == -1
    assert not list(Path("outputs").rglob("log.txt"))


def test_a_job_that_is_out_of_time_too_often_is_a_failed_point(out_of_time):
    (outcome,) = out_of_time(submitit.core.utils.UncompletedJobError("timed-out too many times"))
    assert outcome.status == 1
    assert outcome.line.startswith("it ran out of its time too often; the same command goes on")


def test_ctrl_c_ends_the_jobs_with_one_line(here):
    words = ["task=train", "task.epochs=10000", "width=8", "seed=0,1", LOCAL]
    process = subprocess.Popen(
        [sys.executable, "-m", "lipexp", "run", "-m", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list((here / "outputs").rglob("checkpoint.safetensors")):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)  # when the last that has its pipes has ended
    assert process.returncode == 130
    assert (out, err) == ("", "lipexp: interrupted; 0 points done; the same command goes on\n")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("gpus_per_nod=0", "hydra/launcher=slurm has no key 'gpus_per_nod'; nearest: gpus_per_no"),
        ("timeout_min=x", "hydra.launcher.timeout_min=x: Value 'x' of type 'str' could not be"),
    ],
)
def test_a_launchers_key_that_makes_no_sense_is_one_line(capsys, here, word, line):
    words = ("run", "-m", *SMALL, "hydra/launcher=slurm", f"hydra.launcher.{word}")
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"lipexp: {line}")
    assert len(err.splitlines()) == 1


def test_jobs_that_a_cluster_refuses_are_one_line(capsys, here, monkeypatch):
    tools = here / "tools"
    tools.mkdir()
    refuses = "echo 'sbatch: error: Invalid account' >&2; exit 1"
    for name, line in {"srun": "", "sbatch": refuses}.items():
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    status, out, err = run(capsys, "run", "-m", *SMALL, "seed=0,1", "hydra/launcher=slurm")
    assert (status, out) == (2, "")
    line = "the jobs were refused (sbatch: error: Invalid account)"
    assert err.startswith(f"lipexp: hydra/launcher: {line}; ")
    assert len(err.splitlines()) == 1
    assert os.listdir(here) == ["tools"]
