"""Help, list and version: what is printed, and how little is imported for it."""

from __future__ import annotations

import glob
import re
import shlex
import subprocess
import sys

import pytest

from lipexp import __version__
from lipexp.cli import COMMANDS, guarded
from lipexp.layers import LAYERS
from tests.cli.golden import run


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_two_examples_that_run(capsys, command):
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    examples = re.findall(r"^  (lipexp .*)$", out.split("examples:")[1], re.MULTILINE)
    assert len(examples) >= 2
    small = ["depth=3", "width=16", "batch=100"] if command == "run" else []
    if command == "collect":
        guarded(["run", "depth=3", "width=8", "batch=10"])
    if command == "certify":
        guarded(["run", "task=train", "task.epochs=1", "width=16"])
    for example in examples:
        words = [w for w in shlex.split(example)[1:] if not w.startswith(("depth", "width"))]
        words = [found for w in words for found in glob.glob(w) or [w]]  # as a shell does
        short = ["task.epochs=1"] if "task=train" in words else []
        assert guarded([*words, *small, *short]) == 0, example


def test_the_list_names_every_choice_with_its_keys(capsys):
    status, out, _ = run(capsys, "list")
    assert status == 0
    for name in LAYERS:
        assert re.search(rf"^  {name} ", out, re.MULTILINE)
    assert "[init.alpha, init.beta]" in out
    assert run(capsys, "list", "inits")[1] == run(capsys, "list", "init")[1]


def test_version_and_help(capsys):
    assert run(capsys, "--version")[1] == f"lipexp {__version__}\n"
    assert run(capsys)[1] == run(capsys, "--help")[1]


@pytest.mark.parametrize("argv", [["--help"], ["list"], ["run", "--help"], ["run", "depth=0"]])
def test_nothing_heavy_is_imported_to_answer(argv):
    code = (
        "import sys; from lipexp.cli import guarded; guarded(sys.argv[1:]);"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
