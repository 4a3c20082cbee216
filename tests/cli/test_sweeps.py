"""`lipexp run -m`: which points there are, where they run, and what a death costs."""

from __future__ import annotations

import csv
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import hydra
import pandas as pd
import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from lipexp import config
from lipexp.cli import sweep_rows
from lipexp.errors import UserError
from lipexp.launching import pool
from lipexp.launching.points import by_seed
from lipexp.runs.probe import task
from tests.cli.golden import run
from tests.launching.points_asked import points_of

SMALL = ("depth=3", "width=8", "batch=20")
SEEDS = "seed=0,1,2"


@pytest.mark.parametrize(
    "words",
    [
        ["model=aol,sll", "depth=4,6", "init=gnd,normal", "seed=0,1"],
        ["init=gnd", "init.beta=0.5,inf", "task.histograms=[1],[2]", "width=8"],
        [
            "task=train",
            "dataset=mnist",
            "task.eps=[36/255,0.3]",
            "task.probe_epochs=[0],[1]",
            "task.loss={offset:1}",
        ],
        ["experiment=mnist_small,corrected_bias", "seed=range(0,2)"],
        ["model=sll", "activation=relu,abs", "bias='zero',default"],
    ],
)
def test_points_are_the_requests_that_hydra_composes_one_by_one(words):
    points = points_of(words)
    assert len(points) > 1
    for point in points:
        with hydra.initialize_config_dir(str(config.conf_folder()), version_base="1.3"):
            composed = hydra.compose("config", overrides=list(point.words))
        plain = OmegaConf.to_container(composed, resolve=True)
        if point.error:
            with pytest.raises(UserError, match=re.escape(str(point.error))):
                config.read(plain)
        else:
            assert point.request.config == config.read(plain).config
            assert point.request.folder == config.read(plain).folder


def test_a_configuration_is_composed_once_for_each_choice_of_groups(monkeypatch):
    from lipexp.launching.points import _Composer

    composed = []
    by_hydra = _Composer._by_hydra
    monkeypatch.setattr(
        _Composer, "_by_hydra", lambda self, words: composed.append(words) or by_hydra(self, words)
    )
    assert len(points_of(["model=aol,sll", "depth=2,3,4", "seed=range(0,50)"])) == 300
    assert len(composed) == 2


def test_values_that_refer_to_others_are_looked_up_at_every_point():
    points = points_of(["depth=20,30", "width=${depth}"])
    assert [point.request.width for point in points] == [20, 30]


@pytest.fixture
def recipe(here):
    """Writes mine/experiment/own.yaml; returns the words that choose it."""

    def written(text):
        path = here / "mine" / "experiment" / "own.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"# @package _global_\n{text}\n")
        return ["--config-dir", "mine", "experiment=own"]

    return written


def test_a_recipe_among_others_is_refused_if_it_has_a_sweep_of_its_own(capsys, here):
    words = ["experiment=corrected_bias,width_sweep", "depth=3", "width=8", "batch=20"]
    status, out, err = run(capsys, "run", "-m", *words)
    assert status == 1
    assert "done    experiment=corrected_bias" in out
    line = "experiment=width_sweep: a recipe with hydra.sweeper.params is chosen alone"
    assert line in err


def test_a_recipe_s_null_is_null(capsys, here, recipe):
    words = recipe("hydra: {sweeper: {params: {dataset.folder: null, seed: 0}}}")
    status, out, _ = run(capsys, "run", "-m", *words, *SMALL)
    assert status == 0
    assert "dataset.folder=null seed=0" in out


def test_a_recipe_with_a_key_that_hydra_does_not_know_names_the_key(capsys, here, recipe):
    words = recipe("hydra: {launcher: {slots: 2}}")
    status, _, err = run(capsys, "run", "-m", *words, *SMALL)
    assert (status, err) == (
        2,
        "lipexp: In 'experiment/own': Key 'slots' not in 'BasicLauncherConf'\n",
    )


def states(here) -> dict[str, str]:
    table = sorted((here / "outputs/sweeps").glob("*/points.csv"))[-1]
    with table.open(newline="") as file:
        return {row["point"].split()[-1]: row["state"] for row in csv.DictReader(file)}


def test_workers_leave_the_folders_of_single_runs_to_the_bit(capsys, here):
    assert run(capsys, "run", "-m", *SMALL, SEEDS, "outputs=alone")[0] == 0
    status, out, _ = run(capsys, "run", "-m", *SMALL, SEEDS, "hydra/launcher=gpus")
    assert status == 0
    assert "3 points: 3 done, 0 skipped, 0 failed" in out
    tables = sorted((here / "outputs/runs").rglob("layers.csv"))
    assert len(tables) == 3
    for table in tables:
        alone = here / "alone" / table.relative_to(here / "outputs")
        assert table.read_bytes() == alone.read_bytes()
    assert not list((here / "outputs").rglob("worker*.log"))
    status, out, _ = run(capsys, "run", "-m", *SMALL, SEEDS, "hydra/launcher=gpus")
    assert "3 points: 0 done, 3 skipped, 0 failed" in out


@pytest.mark.parametrize("launcher", ["basic", "gpus"])
@pytest.mark.parametrize("cotangent", ["gaussian", "loss"])
def test_seeds_together_have_the_folders_and_the_numbers_of_separate_runs(
    capsys, here, launcher, cotangent
):
    words = [*SMALL, SEEDS, "replicates=2", "activation=relu,tanh", f"task.cotangent={cotangent}"]
    assert run(capsys, "run", "-m", *words, "outputs=apart")[0] == 0
    together = [f"hydra/launcher={launcher}", "hydra.sweeper.seeds=together"]
    status, out, err = run(capsys, "run", "-m", *words, *together)
    assert status == 0, err
    assert "6 points: 6 done" in out
    tables = sorted((here / "outputs/runs").rglob("layers.csv"))
    assert len(tables) == 6
    for table in tables:
        apart = pd.read_csv(here / "apart" / table.relative_to(here / "outputs"))
        pd.testing.assert_frame_equal(pd.read_csv(table), apart, rtol=1e-9, atol=1e-9)
        assert (table.parent / "plots/histograms.png").exists()


def test_points_are_grouped_by_all_but_their_seeds():
    points = points_of(["model=aol,sll", "seed=range(0,40)", "replicates=2"])
    groups = by_seed(points)
    assert [len(group) for group in groups] == [32, 8, 32, 8]
    assert sorted(number for group in groups for number in group) == list(range(80))
    trained = points_of(["task=train", "seed=0,1"])
    assert by_seed(trained) == [[0], [1]]


DEADLY = """
import os
import signal

from lipexp.inits import INITS

@INITS.register("deadly", "kills its process, or raises")
def deadly(shape, generator):
    fate = generator.integers(2, 7) % 5  # 2 where it is only tried
    if os.path.exists("alive"):
        fate = 2
    if fate == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == 1:
        raise ValueError("not today")
    return generator.standard_normal(shape)
"""


def test_a_worker_that_dies_costs_its_point_and_the_next_sweep_does_what_is_missing(here):
    (here / "deadly.py").write_text(DEADLY)
    words = ["plugins=[deadly.py]", "init=deadly", *SMALL, "seed=range(0,12)"]
    command = [sys.executable, "-m", "lipexp", "run", "-m", *words, "hydra/launcher=gpus"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    first = states(here)
    assert len(first) == 12
    killed = [line for line in done.stderr.splitlines() if "was killed by SIGKILL" in line]
    raised = [line for line in done.stderr.splitlines() if "not today" in line]
    assert killed
    assert raised
    assert len(killed) + len(raised) == list(first.values()).count("failed") < 12
    (here / "alive").touch()
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    second = states(here)
    assert {p for p, state in second.items() if state == "skipped"} == {
        p for p, state in first.items() if state == "done"
    }
    assert len(list((here / "outputs/runs/probe").iterdir())) == 12


def test_a_sweep_that_is_killed_leaves_no_worker_and_goes_on(here):
    words = [*SMALL, "depth=100", "replicates=20", "seed=range(0,6)", "hydra/launcher=gpus"]
    words.remove("depth=3")
    command = [sys.executable, "-m", "lipexp", "run", "-m", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()  # one is done
    process.send_signal(signal.SIGKILL)
    process.communicate()
    for _ in range(300):
        if not _workers(here):
            break
        time.sleep(0.1)
    assert not _workers(here)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((here / "outputs/runs/probe").glob("*/summary.json"))) == 6


def test_ctrl_c_says_once_what_is_done_what_is_kept_and_that_it_goes_on(here):
    words = ["task=train", "task.epochs=10000", "width=8", "seed=0,1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lipexp", "run", "-m", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(here.rglob("checkpoint.safetensors")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    told = r"lipexp: interrupted; 0 points done; \d+ epochs? kept; the same command goes on\n"
    assert re.fullmatch(told, err.splitlines(keepends=True)[-1])


def _workers(here) -> list[str]:
    """The processes whose working directory is this test's."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.readlink(process / "cwd") == str(here):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return [line for line in found if "lipexp.launching.worker" in line]


ANSWERS_ONCE = """
import sys, time
sys.stdin.readline()
print('[{"folder": null, "fresh": true, "held": false, "status": 0, "line": ""}]', flush=True)
time.sleep(600)
"""


def test_all_workers_are_told_to_end_before_one_that_does_not_is_killed(here, monkeypatch):
    started = []

    def start(worker):
        process = subprocess.Popen(
            [sys.executable, "-c", ANSWERS_ONCE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        worker._process = process
        started.append(process)
        if len(started) == 1:
            process.send_signal(signal.SIGSTOP)
            kill = process.kill
            process.kill = lambda: (told.append(started[1].wait(60)), kill())

    told = []
    monkeypatch.setattr(pool._Worker, "_start", start)
    monkeypatch.setattr(pool, "GRACE", 1)
    ended = pool.run(points_of(["seed=0,1,2"]), [[0], [1], [2]], [{}, {}], here)
    next(ended)
    ended.close()
    assert told == [-signal.SIGTERM]
    assert started[0].returncode == -signal.SIGKILL


def test_a_mistake_in_a_thread_of_the_pool_is_raised_and_not_waited_for(here, monkeypatch):
    monkeypatch.setattr(pool._Worker, "ask", lambda *_, **__: [{"no": "outcome"}])
    with pytest.raises(KeyError):
        next(pool.run(points_of(["seed=0"]), [[0]], [{}], here))


def test_a_key_that_only_some_choices_have_fails_the_points_of_the_others(capsys, here):
    words = [*SMALL, "model=aol,sll", "model.q=one,normal"]
    status, out, err = run(capsys, "run", "-m", *words)
    assert status == 1
    assert "4 points: 2 done, 0 skipped, 2 failed" in out
    assert len(err.splitlines()) == 2
    assert all("model=aol has no key 'q'; model=sll" in line for line in err.splitlines())


def test_the_same_request_twice_is_one_run(capsys, here):
    status, out, _ = run(capsys, "run", "-m", *SMALL, "seed=1,1")
    assert status == 0
    assert "1 point: 1 done" in out


def test_a_dry_run_counts_the_same_request_once_and_knows_no_time_where_none_is_told(capsys, here):
    assert run(capsys, "run", "-m", *SMALL, SEEDS)[0] == 0
    first, second, _ = sorted(here.glob("outputs/runs/probe/*/summary.json"))
    first.write_text("[]")  # no summary
    second.write_text("{}")
    status, out, err = run(capsys, "run", "-m", "--dry-run", *SMALL, "seed=0,0,1,2,2")
    assert (status, err) == (0, "")
    assert [line[:5] for line in out.splitlines()[:-1]] == ["to do", "done ", "done "]
    assert out.splitlines()[-1].startswith("3 points: 2 done, 1 to do; about ")


def test_a_dry_run_takes_a_stopped_training_for_as_long_as_it_was_in_all(capsys, here):
    assert run(capsys, "run", "-m", *SMALL, SEEDS)[0] == 0
    first, *others = here.glob("outputs/runs/probe/*/summary.json")
    first.unlink()
    for summary, seconds in zip(others, (1, 2), strict=True):  # of the last attempt
        summary.write_text(f'{{"seconds": {seconds}, "training_seconds": 100}}')
    _, out, _ = run(capsys, "run", "-m", "--dry-run", *SMALL, SEEDS)
    assert out.endswith("2 done, 1 to do; about 2 min one after the other, at 100.0 s each\n")


def test_a_point_that_would_end_python_is_a_failed_point(capsys, here, monkeypatch):
    measure = task.probe

    def ending(networks, inputs, **keys):
        if not ended:
            ended.append(True)
            sys.exit("enough")
        return measure(networks, inputs, **keys)

    ended = []
    monkeypatch.setattr(task, "probe", ending)
    status, out, err = run(capsys, "run", "-m", *SMALL, "seed=1,2")
    assert status == 1
    assert "2 points: 1 done, 0 skipped, 1 failed" in out
    assert "the run broke (SystemExit: enough); the trace is in" in err


def test_sweeps_of_the_same_second_keep_their_own_tables(capsys, here, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    for seed in (1, 2):
        assert run(capsys, "run", "-m", *SMALL, f"seed={seed}")[0] == 0
    assert run(capsys, "run", "-m", *SMALL, "seed=-1")[0] == 2
    words = [*SMALL, "seed=3", "hydra/launcher=gpus", "hydra.launcher.slots=0"]
    assert run(capsys, "run", "-m", *words)[0] == 2
    tables = sorted(path.read_text() for path in here.glob("outputs/sweeps/*/points.csv"))
    assert ["seed=1" in table for table in tables] == [True, False]
    assert sorted(path.name for path in here.glob("outputs/sweeps/*")) == ["now", "now-2"]


@pytest.mark.parametrize("launcher", ["basic", "gpus"])
def test_a_point_that_somebody_else_is_at_waits_until_the_others_are_done(capsys, here, launcher):
    points = points_of([*SMALL, "seed=0,1,2", "outputs=outputs"])
    held, *others = (point.request.folder for point in points)
    held.mkdir(parents=True)
    lock = FileLock(held / ".lock")
    seen = []

    def hold():
        with lock:
            taken.set()
            deadline = time.monotonic() + 60
            while not all((folder / "summary.json").exists() for folder in others):
                if time.monotonic() > deadline:
                    return
                time.sleep(0.02)
            seen.extend(others)

    taken = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    words = [*SMALL, "seed=0,1,2", f"hydra/launcher={launcher}"]
    status, out, err = run(capsys, "run", "-m", *words)
    holder.join()
    assert (status, seen) == (0, others), err
    assert "3 points: 3 done" in out
    assert (held / "summary.json").exists()


def test_a_worker_that_cannot_be_started_costs_its_points(capsys, here, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pool.subprocess, "Popen", full)
    status, _, err = run(capsys, "run", "-m", *SMALL, "seed=1,2", "hydra/launcher=gpus")
    assert status == 1
    line = "its worker cannot be started (No space left on device)"
    assert err.count(line) == len(err.splitlines()) == 2


def test_a_table_that_cannot_be_written_is_one_line(capsys, here, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sweep_rows, "write_text", full)
    status, out, err = run(capsys, "run", "-m", *SMALL, "seed=1")
    assert status == 1
    assert out.endswith("\n1 point: 1 done, 0 skipped, 0 failed\n")
    assert err.endswith("points.csv cannot be written (No space left on device)\n")
    assert len(err.splitlines()) == 1


def test_a_dry_run_says_what_is_done_and_starts_nothing(capsys, here):
    status, out, _ = run(capsys, "run", "-m", "--dry-run", *SMALL, SEEDS)
    assert status == 0
    assert out.splitlines()[-1] == "3 points: 0 done, 3 to do"
    assert not (here / "outputs").exists()
    assert run(capsys, "run", *SMALL, "seed=1")[0] == 0
    left = set(here.rglob("*"))
    status, out, _ = run(capsys, "run", "-m", "--dry-run", *SMALL, SEEDS)
    *lines, last = out.splitlines()
    assert [line.split()[0] for line in lines] == ["to", "done", "to"]
    assert last.startswith("3 points: 1 done, 2 to do; about ")
    assert set(here.rglob("*")) == left
    status, _, err = run(capsys, "run", "--dry-run", *SMALL)
    assert (status, err) == (
        2,
        "lipexp: --dry-run lists the points of a sweep; it needs -m\n",
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["hydra/launcher=joblib"], "unknown hydra/launcher 'joblib'; known: basic, gpus"),
        (
            ["hydra/launcher=gpus", "hydra.launcher.slots=0"],
            "slots=0: must be a whole",
        ),
        (["hydra/launcher=gpus", "hydra.launcher.runs_per_gpu=x"], "runs_per_gpu=x: must be"),
        (["--dry-run", "hydra/launcher=gpus", "hydra.launcher.slots=two"], "slots=two: must be"),
        (["hydra.sweeper.seeds=twice"], "seeds=twice: must be one of auto, together, apart"),
        (["seed=0,1", "model=aol,sl"], "unknown model 'sl'"),
        (["model=aol,sll", "model.qq=1,2"], "no point of this sweep can run; the first: model=aol"),
        (["device=cpu,cuda"], "device takes one value in a sweep: points that differ in it alone"),
        (["task.eps=[0.1],[0.3]", "task=train"], "task.eps takes one value in a sweep"),
        (["plugins=[a],[b]"], "plugins=[a],[b]: all points have the same"),
        (["hydra/launcher=gpus", "hydra.launcher.slot=2"], "has no key 'slot'; nearest: slots"),
        (["hydra.launcher=gpus"], "a launcher is written hydra/launcher=gpus"),
        (["lr=interval(0,1)"], "Could not"),
        (
            ["experiment=depth_sweep,width_sweep"],
            "experiment=depth_sweep: a recipe with hydra.sweeper.params is chosen alone",
        ),
        (["hydra.sweeper.params='seed=0,1'"], "must be keys with their values"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_one_line(capsys, here, words, line):
    status, out, err = run(capsys, "run", "-m", *SMALL, *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    if line != "Could not":
        assert line in err
    assert not (here / "outputs").exists()


def test_workers_share_the_gpus_or_the_cores(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    shares = pool.environments(2, None)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["3", "5", "3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = len(os.sched_getaffinity(0))
    assert pool.environments(1, None) == [{"OMP_NUM_THREADS": "1"}] * cores
    assert pool.environments(1, 1) == [{"OMP_NUM_THREADS": str(cores)}]
