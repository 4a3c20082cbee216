"""Figures whose data are trainings: sweeps that resume, are redrawn, and say what they used."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

import lipexp
from lipexp.data import Status
from lipexp.errors import UserError
from lipexp.figures import FIGURES, covertype, cures
from lipexp.figures.figure import Context
from lipexp.figures.making import RECORD, make
from lipexp.figures.trainings import data_of, over_seeds, results, sweep
from tests.cli.golden import run as command
from tests.figures.conftest import TRAINED


@pytest.fixture
def counted():
    """``lipexp.run``, and the overrides of each call."""
    calls = []

    def run(overrides):
        calls.append(list(overrides))
        return lipexp.run(overrides)

    run.calls = calls
    return run


def stamps(folder: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in folder.rglob("summary.json")}


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_a_figure_trains_and_is_redrawn_without_training(tiny_trainings, tmp_path, counted, name):
    made = make(name, None, tmp_path, run=counted)
    table = made.tables["trained"]
    assert len(table) == len(counted.calls) == len(stamps(tmp_path))
    assert table["test_accuracy"].between(0, 1).all()
    assert set(table["data"]) == {"digits, not the published files: a test"}
    assert (tmp_path / name / f"{name}.png").stat().st_size > 5_000
    figure = FIGURES[name]
    assert figure.checks(made.tables, TRAINED[name])
    assert "not the published files" in " ".join(figure.words(made.tables, TRAINED[name]))
    again = make(name, None, tmp_path, run=None)
    assert not again.measured
    pd.testing.assert_frame_equal(again.tables["trained"], table)


def test_a_sweep_that_was_stopped_goes_on_with_what_is_not_done(tiny_trainings, tmp_path):
    def stop_after_two(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("covertype", None, tmp_path, run=lipexp.run, progress=stop_after_two)
    assert not (tmp_path / "covertype" / RECORD).exists()
    before = stamps(tmp_path)
    assert len(before) == 2
    made = make("covertype", None, tmp_path, run=lipexp.run)
    after = stamps(tmp_path)
    assert len(after) == len(made.tables["trained"]) == 4
    assert {name: after[name] for name in before} == before


def test_force_trains_again(tiny_trainings, tmp_path, monkeypatch):
    monkeypatch.setattr(cures, "CASES", {n: cures.CASES[n] for n in list(cures.CASES)[:4]})
    make("cures", None, tmp_path, run=lipexp.run)
    before = stamps(tmp_path)
    make("cures", None, tmp_path, run=lipexp.run, force=True)
    after = stamps(tmp_path)
    assert set(after) == set(before)
    assert all(after[name] > before[name] for name in before)


def test_a_run_is_asked_for_in_the_figures_folder_whatever_its_name(tmp_path):
    folder, asked = tmp_path / "it's, a=b", []

    def run(overrides):
        asked.extend(overrides)
        return lipexp.run(overrides)

    context = Context(lambda done, total: None, lambda name: {}, folder, run)
    keys = {"depth": 1, "width": 8, "task.epochs": 1, "task.eps": [0.5, 1], "model.rows": False}
    digits = data_of("digits")
    table = sweep([({"case": "one"}, keys)], digits, context)
    assert {"task=train", "dataset=digits", "task.eps=[0.5,1]", "model.rows=false"} <= set(asked)
    (made,) = (folder / "runs" / "train").iterdir()
    assert table["run"].iloc[0] == made.name
    assert {"cra_0.5", "cra_1", "case", "log10_start"} <= set(table)
    found = results(made)
    certificates = pd.read_csv(made / "certificates.csv")
    assert found["commonest"] == certificates["label"].value_counts().max() / len(certificates)
    layers = pd.read_csv(made / "layers.csv")
    start = layers[(layers["epoch"] == 0) & (layers["layer"] == 1)]
    assert found["log10_start"] == start["log10_second_moment"].item()


@pytest.mark.parametrize(
    ("state", "overrides", "remark"),
    [
        ("whole", {}, "the published covertype"),
        (
            "does not match",
            {"dataset.verify": False},
            "covertype, not the published files: 9 rows",
        ),
    ],
)
def test_files_that_are_not_the_published_ones_are_taken_and_said(
    monkeypatch, state, overrides, remark
):
    found = Status("covertype", "here", state, None, "9 rows")
    monkeypatch.setattr("lipexp.data.loading.status", lambda name: found)
    data = data_of("covertype")
    assert data.overrides == overrides
    assert data.remark == remark


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_without_its_data_set_a_figure_is_one_clear_line(capsys, tiny, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(capsys, "figures", name)
    assert status == 2
    assert out == ""
    assert re.fullmatch(r"lipexp: data set '\w+' is not on disk .*--download\n", err)
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_breaks_under_all_leaves_the_others(
    capsys, tiny, tiny_trainings, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def absent(setting, context):
        raise UserError("left out")

    def broken(overrides):
        raise lipexp.errors.RunError("epoch 1: the loss is nan")

    for name in FIGURES:
        if name != "covertype":
            module = import_module(f"lipexp.figures.{name}")
            monkeypatch.setattr(module, "FIGURE", replace(module.FIGURE, measure=absent))
    monkeypatch.setattr("lipexp.cli.run.run", broken)
    status, out, _ = command(capsys, "figures", "--all")
    assert status == 0
    assert re.search(r"^covertype +not run: epoch 1: the loss is nan$", out, re.MULTILINE)


def _trained(accuracies, commonest=0.4869):
    rows = [
        {
            "case": case,
            "depth": depth,
            "seed": seed,
            "test_accuracy": value,
            "commonest": commonest,
            "predicted_commonest": 1.0 if value == commonest else 0.8,
            "test_images": 1000,
            "data": "the published covertype",
        }
        for (case, depth), values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_few_epochs_are_not_held_against_the_printed_values_and_many_are():
    cases = {("SLL, zero bias", 30): [0.4869, 0.49], ("SLL, corrected bias", 30): [0.4869, 0.4869]}
    table = _trained(cases)
    small = {**covertype.SETTINGS["small"], "depths": [30], "seeds": [0, 1]}
    found = {check.what: check for check in covertype.checks({"trained": table}, small)}
    what = "Covertype, SLL, corrected bias, depth 30: accuracy, %"
    assert found[what].ours is None
    assert "not run at this size; after 1 epoch instead of 25: 48.69" in found[what].verdict
    assert "all rows given to one class" in found[what].verdict
    assert "one class" not in found["Covertype, SLL, zero bias, depth 30: accuracy, %"].verdict
    paper = {**small, "epochs": 25}
    found = {check.what: check for check in covertype.checks({"trained": table}, paper)}
    assert found[what].verdict == "reproduced"


def test_the_remedy_is_confirmed_to_be_none_only_where_it_gains_nothing():
    setting = {**covertype.SETTINGS["small"], "depths": [30], "epochs": 25}
    for corrected, shows in ((0.4869, True), (0.71, False)):
        cases = {("SLL, zero bias", 30): [0.4869], ("SLL, corrected bias", 30): [corrected]}
        last = covertype.checks({"trained": _trained(cases)}, setting)[-1]
        assert (last.erratum, last.shows) == (9, shows)
        soon = covertype.checks({"trained": _trained(cases)}, {**setting, "epochs": 1})[-1]
        assert (soon.erratum, soon.shows) == (None, None)


def test_means_over_seeds_have_an_error_where_there_are_several():
    table = _trained({("a", 5): [0.5, 0.7], ("b", 5): [0.1]})
    found = over_seeds(table, ["case", "depth"], "test_accuracy")
    assert list(found["mean"]) == pytest.approx([0.6, 0.1])
    assert found["error"].iloc[0] == pytest.approx(0.1)
    assert pd.isna(found["error"].iloc[1])
