"""`lipexp run`: a run's folder, done is done, sweeps, plugins, interruptions."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lipexp
from lipexp.config import typed
from lipexp.errors import UserError
from lipexp.runs.layer_table import COLUMNS
from tests.cli.golden import GOLDEN, compare, filtered, run, transcript

SMALL = ("depth=4", "width=8", "batch=20")


def the_folder(here) -> Path:
    (folder,) = (here / "outputs/runs/probe").iterdir()
    return folder


def test_a_run_leaves_its_folder_and_prints_its_table(capsys, request, here):
    argv = ["run", *SMALL, "model=sll", "init=gnd", "replicates=2"]
    status, out, err = run(capsys, *argv)
    compare("run.txt", filtered(transcript(argv, status, out, err), here), request)
    folder = the_folder(here)
    assert folder.name.startswith("sll-mlp-d4-w8-gnd-digits-s0-")
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    plots = {f"plots/{name}.png" for name in ("forward", "backward", "histograms")}
    assert files == plots | {"config.yaml", "layers.csv", "summary.json", "log.txt"}
    table = pd.read_csv(folder / "layers.csv")
    assert tuple(table.columns) == COLUMNS
    assert list(table["layer"]) == [0, 1, 2, 3, 4] * 2
    assert (folder / "log.txt").read_text() == out


def test_the_numbers_of_a_small_run_have_not_moved(request, here):
    folder = lipexp.run([*SMALL, "model=aol", "dataset=gaussian", "replicates=2", "seed=3"])
    table = pd.read_csv(folder / "layers.csv")
    golden = GOLDEN / "layers.csv"
    if request.config.getoption("--update-golden"):
        table.to_csv(golden, index=False, lineterminator="\n")
    pd.testing.assert_frame_equal(table, pd.read_csv(golden), rtol=1e-9, atol=1e-9)


def test_done_is_shown_and_not_repeated_unless_forced(capsys, here):
    run(capsys, "run", *SMALL)
    stamp = (the_folder(here) / "summary.json").stat().st_mtime_ns
    _, out, _ = run(capsys, "run", *SMALL)
    assert "done already; force=true runs it again" in out
    assert (the_folder(here) / "summary.json").stat().st_mtime_ns == stamp
    _, out, _ = run(capsys, "run", *SMALL, "force=true")
    assert "done already" not in out
    assert (the_folder(here) / "summary.json").stat().st_mtime_ns > stamp


def test_a_run_of_another_version_is_shown_with_a_line_that_says_so(capsys, here):
    run(capsys, "run", *SMALL)
    path = the_folder(here) / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0.0.1"}))
    _, out, _ = run(capsys, "run", *SMALL)
    assert f"by lipexp 0.0.1; this is {lipexp.__version__}: force=true" in out


def test_a_finished_run_is_shown_without_importing_torch(here):
    command = [sys.executable, "-m", "lipexp", "run", *SMALL]
    subprocess.run(command, check=True, capture_output=True)
    code = (
        "import sys; from lipexp.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    again = [sys.executable, "-c", code, "run", *SMALL]
    assert subprocess.run(again, check=False, capture_output=True).returncode == 0
    # and the check can fail: a new run does import torch
    fresh = subprocess.run([*again, "seed=1"], check=False, capture_output=True, text=True)
    assert "torch" in fresh.stderr


def test_quiet_prints_the_folder_alone(capsys, here):
    status, out, err = run(capsys, "run", "-q", *SMALL)
    assert (status, err) == (0, "")
    assert Path(out.strip()) == the_folder(here).relative_to(here)


def test_the_repeating_command_in_config_yaml_is_the_same_run(capsys, here):
    import shlex

    folder = lipexp.run([*SMALL, "init=gnd", "init.beta=inf", "model.rows=auto"])
    command = (folder / "config.yaml").read_text().splitlines()[0].removeprefix("# lipexp ")
    _, out, _ = run(capsys, *shlex.split(command))
    assert "done already" in out
    assert the_folder(here).name == folder.name


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["device=cpu"], True),
        (["outputs=elsewhere"], True),
        (["force=true"], True),
        (["seed=1"], False),
        (["task.cotangent=ones"], False),
        (["network.activation=relu"], False),
        (["init=laplace"], False),
    ],
)
def test_the_name_changes_with_what_can_change_the_numbers_alone(here, words, same):
    base = lipexp.run(list(SMALL)).name
    assert (lipexp.run([*SMALL, *words]).name == base) == same


LETTERS = st.characters(blacklist_categories=["Cs", "Cc"]) | st.sampled_from("\\\"'{}[],=: ")
TEXTS = st.text(LETTERS) | st.sampled_from(["null", "True", "1_0", "1e5", "-inf", "36/255", "~"])


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_text_is_typed_so_that_it_is_read_again(text):
    assume("${" not in text)  # refers to another key
    (override,) = OverridesParser.create().parse_overrides([f"outputs={typed(text)}"])
    assert override.value() == text


def test_python_run_raises_what_the_command_prints(here):
    with pytest.raises(UserError, match="unknown model 'sl'"):
        lipexp.run(["model=sl"])
    with pytest.raises(UserError, match="KEY=VALUE alone"):
        lipexp.run(["-m", "seed=0,1"])


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_survives_a_failing_point_and_is_started_again(capsys, here):
    sweep = ["run", "-m", *SMALL, "model=aol,sll", "activation=relu,abs"]
    status, out, err = run(capsys, *sweep)
    assert status == 1
    assert "4 points: 3 done, 0 skipped, 1 failed" in out
    assert "model=sll activation=abs" in err
    status, out, _ = run(capsys, *sweep)
    assert status == 1
    assert "4 points: 0 done, 3 skipped, 1 failed" in out
    tables = sorted((here / "outputs/sweeps").glob("*/points.csv"))
    assert [row["state"] for row in rows(tables[-1])] == ["skipped", "skipped", "skipped", "failed"]


def test_a_point_in_a_sweep_is_the_run_alone_to_the_bit(capsys, here):
    status, _, _ = run(capsys, "run", "-m", *SMALL, "seed=0,1", "outputs=swept")
    assert status == 0
    for seed in (0, 1):
        alone = lipexp.run([*SMALL, f"seed={seed}"])
        swept = here / "swept/runs/probe" / alone.name
        assert (alone / "layers.csv").read_bytes() == (swept / "layers.csv").read_bytes()


def test_overrides_may_stand_before_and_behind_the_flag(capsys, here):
    status, out, _ = run(capsys, "run", "depth=4", "-m", "seed=0,1", "width=8", "batch=20")
    assert status == 0
    assert "2 points: 2 done" in out


PLUGIN = """
from lipexp.layers import LAYERS, LipschitzLinear

@LAYERS.register("halved", "the free weight, halved", keys={"factor": 0.5})
class Halved(LipschitzLinear):
    def __init__(self, *sizes, factor=0.5, **keywords):
        super().__init__(*sizes, **keywords)
        self.factor = factor

    def effective_weight(self):
        return self.factor * self.weight
"""


def test_a_layer_of_ones_own_through_plugins(here):
    (here / "my_layers.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "lipexp", "run", *SMALL, "plugins=[my_layers]", "-q"]
    words = ["model=halved", "model.factor=0.25", "init=orthogonal", "activation=identity"]
    done = subprocess.run([*command, *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    table = pd.read_csv(folder / "layers.csv")
    np.testing.assert_allclose(table["operator_norm"][2:5], 0.25, rtol=1e-12)
    np.testing.assert_allclose(table["lipschitz_bound"][2:5], 1)
    assert table["predicted_log10_second_moment"][1:].isna().all()
    by_path = [
        "plugins=[./my_layers.py]" if word.startswith("plugins") else word for word in command
    ]
    done = subprocess.run([*by_path, *words], check=False, capture_output=True, text=True)
    assert Path(done.stdout.strip()) == folder  # whatever name it is found by
    (here / "my_layers.py").write_text(PLUGIN + "# changed\n")
    done = subprocess.run([*command, *words], check=False, capture_output=True, text=True)
    assert Path(done.stdout.strip()) != folder  # its source is part of the run's identity
    wrong = subprocess.run(
        [*command, "model=halved", "model.facto=1"], check=False, capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


RECIPE = """# @package _global_
# lipexp run experiment=halved
defaults:
  - override /model: halved
plugins: [my_layers]
depth: 2
"""


def test_a_recipe_brings_its_own_plugins_unless_others_are_typed(here):
    (here / "my_layers.py").write_text(PLUGIN)
    (here / "others.py").write_text(PLUGIN.replace("free", "whole"))
    recipe = here / "mine/experiment/halved.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    own = ["--config-dir", "mine", "experiment=halved"]

    def done(*words):
        command = [sys.executable, "-m", "lipexp", "run", "-q", *own, "width=8", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    alone = done()
    assert alone.returncode == 0, alone.stderr
    assert "/halved-mlp-d2-w8-" in alone.stdout
    sweep = done("-m", "seed=0,1")
    assert len(sweep.stdout.splitlines()) == 2, sweep.stderr
    assert sweep.stdout.startswith(alone.stdout)  # the same run
    typed = done("plugins=[others]")
    assert (typed.returncode, typed.stdout != alone.stdout) == (0, True), typed.stderr
    (here / "my_layers.py").write_text("1 / 0")
    broken = done()
    assert (broken.returncode, broken.stdout) == (2, "")
    assert broken.stderr.startswith("lipexp: plugins=my_layers: cannot be imported: ZeroDivision")


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_an_interrupted_run_leaves_nothing_half_made(here, number, status):
    process = subprocess.Popen(
        [sys.executable, "-m", "lipexp", "run", "depth=5000", "width=32"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(here.glob("outputs/runs/probe/*/config.yaml")))
    time.sleep(0.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert out == ""
    assert err in ("lipexp: interrupted\n", "lipexp: terminated\n")
    assert os.listdir(here) == []


def test_a_killed_run_is_run_again(here, capsys):
    words = ["depth=3000", "width=16", "batch=50"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lipexp", "run", *words], stdout=subprocess.DEVNULL
    )
    wait_for(lambda: list(here.glob("outputs/runs/probe/*/config.yaml")))
    process.kill()
    process.wait()
    assert not (the_folder(here) / "summary.json").exists()
    status, out, _ = run(capsys, "run", *words)
    assert status == 0
    assert "done already" not in out


def test_two_processes_asked_for_the_same_run_do_it_once(here):
    command = [sys.executable, "-m", "lipexp", "run", *SMALL]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("decay per layer" in text for text in texts)
    assert sum("done already" in text for text in texts) == 1
    assert not (the_folder(here) / ".lock").exists()


def test_a_run_that_breaks_prints_one_line_with_the_path_of_its_log(capsys, here, monkeypatch):
    from lipexp.runs.probe import task as probe_task

    def broken(*_, **__):
        raise ZeroDivisionError("nobody foresaw this")

    monkeypatch.setattr(probe_task, "probe", broken)
    status, _, err = run(capsys, "run", *SMALL)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "nobody foresaw this" in err
    assert "Traceback" in (the_folder(here) / "log.txt").read_text()
    assert str(Path("outputs/runs/probe") / the_folder(here).name / "log.txt") in err


def through_head(words: str) -> subprocess.CompletedProcess:
    """The command, its output closed behind one line."""
    command = f"{sys.executable} -m lipexp {words} | head -1"
    return subprocess.run(command, shell=True, check=False, capture_output=True, text=True)


def test_head_closes_the_pipe_without_a_trace(here):
    done = through_head("list")
    assert done.stderr == ""
    assert done.stdout == "tasks (task=...)\n"


ACTIVATIONS_OF_ONES_OWN = """
import torch
from lipexp.activations import ACTIVATIONS, Activation

@ACTIVATIONS.register("scaled_tanh", "tanh, not declared as what it is")
class Undeclared(Activation):
    def forward(self, x):
        return torch.tanh(x)

@ACTIVATIONS.register("triple", "stretches")
class Triple(Activation):
    def forward(self, x):
        return 3 * x

@ACTIVATIONS.register("half_abs", "right")
class HalfAbs(Activation):
    def forward(self, x):
        return x.abs() / 2
"""


def test_what_a_plugins_activation_declares_is_tried_before_anything_runs(here):
    (here / "acts.py").write_text(ACTIVATIONS_OF_ONES_OWN)
    command = [sys.executable, "-m", "lipexp", "run", *SMALL, "plugins=[acts.py]"]

    def of(*words):
        done = subprocess.run([*command, *words], check=False, capture_output=True, text=True)
        return done.returncode, done.stderr

    status, line = of("activation=scaled_tanh")
    assert (status, len(line.splitlines())) == (2, 1)
    assert "activation=scaled_tanh: is not positively homogeneous" in line
    status, line = of("activation=triple")
    assert status == 2
    assert "stretches distances 3.00 times" in line
    assert set(os.listdir(here)) <= {"acts.py", "__pycache__"}
    assert of("activation=half_abs") == (0, "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def __init__(self, i, o, bias=True, factor=2): super().__init__(i, o, bias)", "init"),
        ("def effective_weight(self): return self.weight[0]", "effective_weight"),
        ("def effective_weight(self): return self.weight * float('nan')", "NaN"),
    ],
)
def test_a_plugins_layer_that_cannot_work_is_one_line(here, body, message):
    text = "from lipexp.layers import LAYERS, LipschitzLinear\n"
    text += '@LAYERS.register("bad", "does not work")\nclass Bad(LipschitzLinear):\n'
    if "effective_weight" not in body:
        text += "    def effective_weight(self): return self.weight\n"
    (here / "bad.py").write_text(text + f"    {body}\n")
    command = [sys.executable, "-m", "lipexp", "run", *SMALL, "plugins=[bad.py]", "model=bad"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (here / "outputs").exists()


def test_a_done_run_that_was_damaged_is_one_line(capsys, here):
    run(capsys, "run", *SMALL)
    (the_folder(here) / "layers.csv").write_text("junk")
    status, _, err = run(capsys, "run", *SMALL)
    assert status == 2
    assert "cannot be read; force=true runs it again" in err
    assert run(capsys, "run", *SMALL, "force=true")[0] == 0


def test_the_callers_thread_count_is_left_as_it_was(here):
    import torch

    torch.set_num_threads(2)
    lipexp.run(list(SMALL))
    assert torch.get_num_threads() == 2


def test_a_closed_pipe_does_not_stop_a_sweep(here):
    done = through_head("run -m depth=2,3,4 width=8 batch=20")
    assert done.stderr == ""
    assert len(list((here / "outputs/runs/probe").glob("*/summary.json"))) == 3
    assert list((here / "outputs/sweeps").glob("*/points.csv"))
