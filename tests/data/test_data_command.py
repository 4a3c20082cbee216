"""The command ``lipexp data``: its lines, its statuses, its mistakes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lipexp.cli.data import main
from lipexp.data import DATASETS, download
from lipexp.errors import UserError


def printed(capsys, *arguments: str) -> tuple[int, list[list[str]]]:
    """Status, and the lines split at two blanks or more."""
    result = main(list(arguments))
    lines = capsys.readouterr().out.splitlines()
    return result, [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_all_sets_are_listed_in_columns(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LIPEXP_DATA_DIR", str(tmp_path))
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "digits     whole           1,437 + 360        417b3bb7f5d98d03  embedded in scikit-learn",
        f"mnist      missing         -                  -                 {tmp_path}/MNIST/raw",
        "cifar10    missing         -                  -                 "
        f"{tmp_path}/cifar-10-batches-py",
        f"covertype  missing         -                  -                 {tmp_path}/covertype",
        "gaussian   whole           -                  -                 drawn from N(0, 1)",
    ]


def test_a_whole_set_is_status_0_and_a_missing_one_1(capsys, fake_mnist):
    folder = ["--folder", str(fake_mnist)]
    result, lines = printed(capsys, "mnist", *folder)
    assert result == 0
    assert lines[0][:3] == ["mnist", "whole", "20 + 10"]
    result, lines = printed(capsys, "mnist", "cifar10", "mnist", *folder)
    assert result == 1
    assert [line[:2] for line in lines] == [["mnist", "whole"], ["cifar10", "missing"]]


def test_a_set_that_does_not_match_says_what_and_counts_what_there_is(capsys, fake_mnist):
    path = fake_mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result, [line] = printed(capsys, "mnist", "--folder", str(fake_mnist))
    assert result == 1
    assert line[1:3] == ["does not match", "20 + 10"]
    assert line[4].startswith(f"{path.parent}: train-images-idx3-ubyte has md5 ")
    path.write_bytes(content[:-1])
    result, [line] = printed(capsys, "mnist", "--folder", str(fake_mnist))
    assert result == 1
    assert line[1:4] == ["does not match", "-", "-"]
    assert "bytes of data where its header states" in line[4]


def test_download_fetches_what_is_not_whole_and_nothing_else(
    capsys, fake_mnist, tmp_path, monkeypatch
):
    fetched = []

    def fetch(folder: str) -> None:
        fetched.append(folder)
        shutil.copytree(fake_mnist / "MNIST", Path(folder) / "MNIST")

    monkeypatch.setitem(download.FETCHERS, "mnist", fetch)
    for _ in range(2):
        result, lines = printed(
            capsys, "mnist", "digits", "--download", "--folder", str(tmp_path / "new")
        )
        assert result == 0
        assert [line[1] for line in lines] == ["whole", "whole"]
    assert len(fetched) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["minst"], "unknown data set 'minst'; nearest: mnist"),
        (["digits", "minst"], "unknown data set 'minst'; nearest: mnist"),
        (["--dwnload"], "lipexp data has no option '--dwnload'; nearest: --download"),
        (["--fold=x"], "lipexp data has no option '--fold'; nearest: --folder"),
        (
            ["--folder"],
            "--folder: expected one argument; see lipexp data --help",
        ),
    ],
)
def test_a_wrong_request_is_one_line_before_anything_is_printed(capsys, arguments, line):
    with pytest.raises(UserError) as caught:
        main(arguments)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_help_has_two_examples_that_run_as_printed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LIPEXP_DATA_DIR", raising=False)
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    examples = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert len(examples) == 2
    for example in examples:
        program, command, *arguments = shlex.split(example)
        assert (program, command) == ("lipexp", "data")
        assert main(arguments) == 0


def test_help_imports_nothing_heavy():
    program = (
        "import sys, contextlib\n"
        "from lipexp.cli.data import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "assert 'numpy' not in sys.modules and 'lipexp.data' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_set_has_its_configuration_file():
    folder = Path(__file__).parents[2] / "conf" / "dataset"
    assert {path.stem for path in folder.glob("*.yaml")} >= set(DATASETS)
    for name in DATASETS:
        options = yaml.safe_load((folder / f"{name}.yaml").read_text())
        if DATASETS.fact(name, "generated"):
            assert options == {"name": name, "features": None}
        else:
            assert options == {"name": name, "folder": None, "verify": True}
