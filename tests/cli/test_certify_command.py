"""`lipexp certify` as it is typed: what is printed, wrong requests, stops and waiting."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

import lipexp
from lipexp.certification import attack as attack_module
from tests.cli.golden import run as typed

SMALL = ["task=train", "depth=2", "width=16", "task.epochs=1", "batch=256", "task.lr=0.01"]
QUICK = ["--attack-points", "30", "--steps", "3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    lipexp.run([*SMALL, f"outputs={folder}"])
    lipexp.run(["depth=2", "width=8", "batch=10", f"outputs={folder}"])
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A folder with a training, a probe, and files to be given."""
    shutil.copytree(trained, tmp_path / "outputs")
    (run,) = (tmp_path / "outputs/runs/train").iterdir()
    (probe,) = (tmp_path / "outputs/runs/probe").iterdir()
    run.rename(run.with_name("run"))
    probe.rename(probe.with_name("probe"))
    run = run.with_name("run")
    for name, gone in (("bare", "checkpoint.safetensors"), ("begun", "summary.json")):
        shutil.copytree(run, run.with_name(name))
        (run.with_name(name) / gone).unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("LIPEXP_TRACEBACK", raising=False)
    torch.save(lipexp.load(run).state_dict(), "net.pt")
    (tmp_path / "random").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty").touch()
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "config.yaml").write_text("somebody's own")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "dept.yaml").write_text((run / "config.yaml").read_text() + "dept: 3\n")
    return tmp_path


RUN = "outputs/runs/train/run"
WEIGHTS = ["--weights", "net.pt", "--like", RUN, "--out", "out"]
REFUSED = [
    ([], "needs a RUN, or --weights FILE --like RUN --out FOLDER"),
    (["nothing"], "there is no folder nothing; lipexp run task=train makes one"),
    (["outputs/runs/train/rum"], "there is no folder outputs/runs/train/rum; nearest: run"),
    (["outputs"], "outputs is not the folder of a run: no config.yaml to read"),
    (["outputs/runs/probe/probe"], "probe is a probe: only a training can be certified"),
    (["outputs/runs/train/bare"], "has no checkpoint.safetensors: there are no weights"),
    (["outputs/runs/train/begun"], "is not finished: the command in the first line of its config"),
    ([RUN, RUN, "--eps", "0"], "--eps 0: a radius must be positive, got 0"),
    ([RUN, RUN, "--out", "there"], "a RUN has its own weights and folder; --out is for"),
    ([RUN, "--out", "there"], "a RUN has its own weights and folder; --out is for --weights FILE"),
    (WEIGHTS[:2], "--weights, --like and --out belong together; --like is missing"),
    (WEIGHTS[:4], "belong together; --out is missing"),
    (WEIGHTS[2:], "belong together; --weights is missing"),
    (["--weights", "no", *WEIGHTS[2:]], "--weights no: there is no such file"),
    (["--weights", "", *WEIGHTS[2:]], "--weights : there is no such file"),
    (["--weights", "net.pt/x", *WEIGHTS[2:]], "--weights net.pt/x: there is no such file"),
    (["--weights", ".", *WEIGHTS[2:]], "--weights . is a folder; name the file with the weights"),
    (["--weights", RUN, *WEIGHTS[2:]], f"with the weights, such as {RUN}/checkpoint.safetensors"),
    (["--weights", os.devnull, *WEIGHTS[2:]], "/null is a pipe or a device; write the weights to"),
    (["--weights", "empty", *WEIGHTS[2:]], "--weights empty is empty; torch.save(net.state_dict("),
    (["--weights", "w" * 300, *WEIGHTS[2:]], "cannot be read (File name too long)"),
    ([*WEIGHTS[:3], "l" * 300, *WEIGHTS[4:]], "cannot be read (File name too long)"),
    ([*WEIGHTS[:5], "o" * 300], "cannot be written (File name too long)"),
    (["r" * 300], "cannot be read (File name too long)"),
    (["--weights", "random", *WEIGHTS[2:]], "random is neither a safetensors file nor a state"),
    ([*WEIGHTS[:3], "no", *WEIGHTS[4:]], "--like no: there is no such file or folder"),
    ([*WEIGHTS[:3], "random", *WEIGHTS[4:]], "--like random: is no configuration"),
    (
        [*WEIGHTS[:3], "broken.yaml", *WEIGHTS[4:]],
        "--like broken.yaml: is no configuration; lip",
    ),
    ([*WEIGHTS[:3], "list.yaml", *WEIGHTS[4:]], "--like list.yaml: is no configuration"),
    (
        [*WEIGHTS[:3], "dept.yaml", *WEIGHTS[4:]],
        "--like dept.yaml: unknown key 'dept'; nearest",
    ),
    (
        [*WEIGHTS[:3], "outputs/runs/probe/probe", *WEIGHTS[4:]],
        "probe is a probe, without radii; type --eps 0.3",
    ),
    (
        [*WEIGHTS[:3], "outputs/runs/probe/probe", *WEIGHTS[4:], "--eps", "1"],
        "net.pt is of another network",
    ),
    ([*WEIGHTS[:5], RUN], "is the folder of a run; choose another"),
    ([*WEIGHTS[:5], "."], "--out . holds a config.yaml that is not lipexp's; choose another"),
    ([*WEIGHTS[:5], "random"], "--out random: cannot be written (File exists)"),
    ([RUN, "--eps", "0"], "--eps 0: a radius must be positive, got 0"),
    ([RUN, "--eps", "0.3,-1"], "--eps 0.3,-1: a radius must be positive, got -1"),
    ([RUN, "--eps", "abc"], "--eps abc: 'abc' is no radius; write 0.3 or 36/255"),
    ([RUN, "--eps", "36/0"], "'36/0' is no radius"),
    ([RUN, "--eps", "nan"], "'nan' is no radius"),
    ([RUN, "--eps", ","], "must name a radius"),
    ([RUN, "--attack-points", "0"], "--attack-points 0: must be at least 1"),
    ([RUN, "--attack-points", "some"], "--attack-points some: must be a whole number"),
    ([RUN, "--steps", "1.5"], "--steps 1.5: must be a whole number"),
    ([RUN, "--steps=--3"], "--steps --3: must be a whole number"),
    ([RUN, "--restarts", "0"], "--restarts 0: must be at least 1"),
    ([RUN, "--seed", "-1"], "--seed -1: must be at least 0"),
    ([RUN, "--device", "tpu"], "--device tpu: must be auto, cpu, cuda, or cuda:NUMBER"),
    ([RUN, "--device", "cuda:7"], "device=cuda:7 is not there: this machine has no CUDA device"),
    ([RUN, "--stpes", "3"], "no option '--stpes'; nearest: --steps"),
    ([RUN, "--eps"], "--eps: expected one argument"),
]


def tree(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[" ".join(w) for w, _ in REFUSED])
def test_a_wrong_request_is_one_line_with_nothing_left_on_disk(capsys, here, words, line):
    before = tree(here)
    status, out, err = typed(capsys, "certify", *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("lipexp: ")
    assert line in err
    assert not err.rstrip("\n").endswith(".")
    assert tree(here) == before


def test_one_line_says_it_all(capsys, here):
    status, out, err = typed(capsys, "certify", RUN, *QUICK)
    assert (status, err) == (0, "")
    closing, files = out.splitlines()
    assert closing.startswith("360 test images, K <= 1 + ")
    assert "; attacked (the first 30): " in closing
    assert "; attacks inside radius: 0 of " in closing
    assert files == f"files: {RUN}"
    again = typed(capsys, "certify", RUN, *QUICK)[1].splitlines()
    assert again == [closing, "done already; --force certifies and attacks again", files]
    assert typed(capsys, "certify", "-q", RUN, *QUICK)[1] == f"{RUN}\n"


def test_several_runs_are_certified_one_after_another_whatever_becomes_of_one(capsys, here):
    other = "outputs/runs/train/other"
    shutil.copytree(here / RUN, here / other)
    status, out, err = typed(capsys, "certify", RUN, "nothing", other, *QUICK)
    assert status == 1
    assert err == "lipexp: there is no folder nothing; lipexp run task=train makes one\n"
    closing, files, *rest = out.splitlines()
    assert rest == [closing, f"files: {other}"]  # the same network
    assert files == f"files: {RUN}"
    status, out, err = typed(capsys, "certify", "-q", RUN, other, *QUICK)
    assert (status, out, err) == (0, f"{RUN}\n{other}\n", "")


def test_a_training_that_was_attacked_says_so_when_it_is_shown_again(capsys, here):
    folder = lipexp.run([*SMALL, "outputs=again"])
    closing = typed(capsys, "certify", str(folder), *QUICK)[1].splitlines()[0]
    shown = typed(capsys, "run", *SMALL, "outputs=again")[1]
    assert closing.partition("; ")[2] in shown
    assert "done already" in shown
    assert "files and plots are of" not in shown


def test_a_certificate_that_breaks_is_status_1_behind_the_closing_line(capsys, here, monkeypatch):
    import dataclasses

    real = attack_module.attack

    def lying(*arguments, **how):
        found = real(*arguments, **how)
        return dataclasses.replace(found, margin=-found.margin.abs())

    monkeypatch.setattr(attack_module, "attack", lying)
    for _ in range(2):
        status, out, err = typed(capsys, "certify", RUN, *QUICK)
        assert status == 1
        assert "attacks inside radius: " in out
        assert "lipexp: THE CERTIFICATES ARE WRONG: " in err
        assert len(err.splitlines()) == 1


def test_damaged_files_of_a_done_certification_are_one_line(capsys, here):
    typed(capsys, "certify", RUN, *QUICK)
    table = here / RUN / "certificates.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-3]))
    status, _, err = typed(capsys, "certify", RUN, *QUICK)
    assert status == 2
    assert "cannot be read (certificates.csv has 357 rows of 360); --force certifies again" in err
    assert typed(capsys, "certify", RUN, *QUICK, "--force")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_certification_goes_on_to_the_same_table(capsys, here, number):
    words = ["certify", *WEIGHTS, "--attack-points", "300", "--steps", "60"]
    command = [sys.executable, "-m", "lipexp", *words]
    # Parts are believed at as many threads as they were made on, and here it is one.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    parts = here / "out" / "certify.parts"
    while not list(parts.glob("attacks-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "parts kept; the same command goes on" in err
    kept = len(list(parts.glob("*.safetensors")))
    status, _, err = typed(capsys, *words)
    assert status == 0
    assert f"goes on from {kept} parts that are done" in err
    words[words.index("out")] = "undisturbed"
    assert typed(capsys, *words)[0] == 0
    stopped, whole = (
        pd.read_csv(here / name / "certificates.csv") for name in ("out", "undisturbed")
    )
    pd.testing.assert_frame_equal(stopped, whole, check_exact=True)


def test_two_at_the_same_folder_do_the_work_once(here):
    command = [sys.executable, "-m", "lipexp", "certify", *WEIGHTS, *QUICK]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    ended = [(p.communicate(timeout=120), p.returncode) for p in both]
    assert [status for _, status in ended] == [0, 0]
    outputs = [out for (out, _), _ in ended]
    assert outputs[0].splitlines()[0] == outputs[1].splitlines()[0]
    assert sum("done already" in out for out in outputs) == 1


def test_help_and_wrong_options_import_nothing_heavy(here):
    code = (
        "import sys; from lipexp.cli import guarded; guarded(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    for words in (["--help"], [RUN, "--eps", "0"], ["nothing"], ["outputs/runs/train/bare"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "certify", *words],
            check=False,
            capture_output=True,
            text=True,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stderr
