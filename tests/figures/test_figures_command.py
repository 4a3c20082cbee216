"""`lipexp figures`: the command, and the report that --all writes."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module

import pandas as pd
import pytest

from lipexp.errors import UserError
from lipexp.figures import FIGURES
from lipexp.figures.errata import ERRATA
from lipexp.figures.figure import READ, Check
from lipexp.figures.making import Made
from lipexp.figures.report import write_report
from tests.cli.golden import run
from tests.figures.conftest import TINY

FAST = "ldlt_series"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_figure_is_named_measured_and_then_drawn(capsys, tiny, tmp_path):
    status, out, _ = run(capsys, "figures", FAST)
    assert status == 0
    assert re.fullmatch(rf"{FAST} +measured \(small\) in [\d.]+ s: outputs/paper/{FAST}\n", out)
    assert (tmp_path / "outputs" / "paper" / FAST / f"{FAST}.pdf").exists()
    assert "drawn from its tables (small)" in run(capsys, "figures", FAST)[1]
    assert "measured (small)" in run(capsys, "figures", FAST, "--force")[1]
    assert not (tmp_path / "outputs" / "paper" / "REPORT.md").exists()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["ldlt_serie"], "unknown figure 'ldlt_serie'; nearest: ldlt_series"),
        ([FAST, "--size", "papr"], "--size 'papr' is unknown; nearest: paper"),
        (["--all", FAST], "--all takes no names; got ldlt_series"),
        ([], "lipexp figures needs a figure's name or --all; there are weight_variance"),
        ([FAST, "--sise=small"], "lipexp figures has no option '--sise'; nearest: --size"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(capsys, tmp_path, argv, line):
    status, out, err = run(capsys, "figures", *argv)
    assert status == 2
    assert out == ""
    assert err.startswith(f"lipexp: {line}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(capsys, tiny, tmp_path):
    (tmp_path / "taken").write_text("")
    status, _, err = run(capsys, "figures", FAST, "--out", "taken")
    assert status == 2
    assert err.startswith("lipexp: --out taken: cannot be written")


def test_the_list_names_every_figure(capsys):
    out = run(capsys, "list", "figures")[1]
    for name in FIGURES:
        assert re.search(rf"^  {name} ", out, re.MULTILINE)


def test_all_makes_every_figure_and_a_report_of_every_number(capsys, tiny, tmp_path):
    status, out, _ = run(capsys, "figures", "--all", "--out", "there")
    assert status == 0
    report = (tmp_path / "there" / "REPORT.md").read_text()
    table = pd.read_csv(tmp_path / "there" / "report.csv")
    assert set(table["figure"]) == set(TINY)
    assert len(table) == int(re.search(r"report of (\d+) numbers, 0 against a law", out)[1])
    for name in TINY:
        assert f"![{name}]({name}/{name}.png)" in report
        assert (tmp_path / "there" / name / f"{name}.png").exists()
    for number, erratum in ERRATA.items():
        assert f"### {number}. {erratum.title}" in report
    # every error in print is measured by some figure, though tiny ones show few of them
    assert set(table["error_in_print"].dropna()) == set(ERRATA)
    first = (tmp_path / "there" / "REPORT.md").read_bytes()
    again = run(capsys, "figures", "--all", "--out", "there")[1]
    assert again.count("drawn from its tables") == len(TINY)
    assert (tmp_path / "there" / "REPORT.md").read_bytes() == first


def test_under_all_what_cannot_be_made_is_passed_over_and_said(capsys, tiny, monkeypatch, tmp_path):
    def absent(setting, context):
        raise UserError("the data set is not here")

    for name in TINY:  # quick: one is left
        module = import_module(f"lipexp.figures.{name}")
        if name != FAST:
            monkeypatch.setattr(module, "FIGURE", replace(module.FIGURE, measure=absent))
    status, out, _ = run(capsys, "figures", "--all")
    assert status == 0
    assert re.search(r"^gnd_bounds +not run: the data set is not here$", out, re.MULTILINE)
    report = (tmp_path / "outputs" / "paper" / "REPORT.md").read_text()
    assert "- gnd_bounds: the data set is not here" in report
    assert "Not run: needs the figure gnd_bounds." in report
    assert run(capsys, "figures", "gnd_bounds")[0] == 2


def _made(checks, monkeypatch):
    module = import_module(f"lipexp.figures.{FAST}")
    figure = replace(module.FIGURE, checks=lambda tables, setting: checks)
    monkeypatch.setattr(module, "FIGURE", figure)
    record = {"setting": {"seed": 3, "sizes": list(range(50))}, "seconds": 1.2, "device": "cpu"}
    return Made(FAST, "small", {}, record, measured=False)


def test_the_report_says_which_errors_are_confirmed_and_which_are_not(monkeypatch, tmp_path):
    confirmed = Check("a", ours=2.0, error=0.1, erratum=6, shows=True)
    one = Check("b", ours=2.0, erratum=9, shows=True)
    other = Check("c", ours=2.0, erratum=9, shows=False)
    made = _made([confirmed, one, other], monkeypatch)
    assert write_report([made], {}, tmp_path) == "3 numbers, 0 against a law"
    report = (tmp_path / "REPORT.md").read_text()
    assert f"| 6 | {ERRATA[6].title} | Confirmed. |" in report
    assert f"| 9 | {ERRATA[9].title} | **Confirmed by 1 of 2 measurements only.** |" in report
    assert f"| 1 | {ERRATA[1].title} | Not run. |" in report


def test_the_report_shows_numbers_to_the_digits_of_their_error(monkeypatch, tmp_path):
    check = Check("E|S|", law=0.5, ours=0.501234567, error=0.0123456, printed=0.51, source=READ)
    made = _made([check, Check("d", law=1.0, ours=2.0, error=0.1)], monkeypatch)
    assert write_report([made], {}, tmp_path) == "2 numbers, 1 against a law"
    report = (tmp_path / "REPORT.md").read_text()
    assert "| E\\|S\\| | 0.51 (read off the plot) | 0.5 | 0.501 ± 0.012 |" in report
    assert "CONTRADICTS THE LAW (+10.0 standard errors)" in report
    assert "sizes 0 to 49 (50 of them)" in report
    table = pd.read_csv(tmp_path / "report.csv")
    assert list(table["ratio"].dropna()) == [pytest.approx(0.501234567 / 0.51)]
    assert list(table["seed"]) == [3, 3]
