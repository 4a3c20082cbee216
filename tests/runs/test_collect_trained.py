"""Collecting trained runs beside probes: accuracies by group, runs under way, the picture."""

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from lipexp.cli.collect import main
from lipexp.errors import UserError
from lipexp.runs.collect.tables import accuracies, collect, group, trained
from tests.runs.run_fakes import METRIC, make_run, make_training, metrics_text

ORTHOGONAL = {"name": "orthogonal"}


@pytest.fixture
def trainings(tmp_path):
    """aol and sll, at depth 3 with two seeds and at depth 10 with one."""
    root = tmp_path / "outputs" / "runs"
    for model, top in (("aol", 0.97), ("sll", 0.95)):
        for depth, seed in ((3, 0), (3, 1), (10, 0)):
            accuracy = top - depth / 1000 + 0.02 * seed
            make_training(
                root,
                f"{model}-d{depth}-s{seed}",
                accuracy=accuracy,
                cra={"0.3": accuracy - 0.1, "1.58": accuracy - 0.5},
                **{"model": model, "depth": depth, "seed": seed, "init": ORTHOGONAL},
            )
    return root


@pytest.fixture
def here(trainings, monkeypatch):
    monkeypatch.chdir(trainings.parent.parent)
    return trainings.parent.parent


def test_trained_runs_stand_beside_probes_with_their_own_numbers(trainings):
    make_run(trainings, "probe", summary={METRIC: -1.0})
    runs, layers = collect(trainings)
    one = runs.set_index("name").loc["aol-d3-s1"]
    assert (one["task"], one["status"], one["epochs_done"]) == ("train", "done", 3)
    assert (one["test_accuracy"], one["cra_0.3"]) == (pytest.approx(0.987), pytest.approx(0.887))
    assert (one["parameters"], one["task.lr"], one["dtype"]) == (669706, 0.003, "float32")
    assert np.isnan(one[METRIC])
    probe = runs.set_index("name").loc["probe"]
    assert probe[METRIC] == -1.0
    assert np.isnan(probe["test_accuracy"])
    assert probe["epochs_done"] is pd.NA
    assert set(layers["run"]) == set(runs["name"])


def test_probes_alone_have_no_column_of_trainings(tmp_path):
    make_run(tmp_path, "probe", summary={METRIC: -1.0})
    assert "epochs_done" not in collect(tmp_path)[0]


@pytest.mark.parametrize(
    ("content", "epochs"),
    [
        (metrics_text(2), 2),
        (metrics_text(0), 0),
        ("epoch,st", 0),
        ("", 0),
        (metrics_text(2) + "3,705,0.00", 2),
        (metrics_text(2)[:-1], 1),
    ],
    ids=["two", "none", "half a header", "empty", "half a line", "no line end"],
)
def test_a_run_under_way_says_how_many_epochs_are_done(tmp_path, content, epochs):
    folder = make_training(tmp_path, "under_way", layers=False)
    (folder / "metrics.csv").write_text(content)
    (folder / ".lock").touch()
    with FileLock(folder / ".lock"):
        runs, _ = collect(tmp_path)
    assert runs["status"].tolist() == ["running"]
    assert runs["epochs_done"].tolist() == [epochs]
    assert trained(runs).empty


def test_a_training_that_has_just_begun_is_a_run_without_epochs(tmp_path):
    make_training(tmp_path, "begun", epochs=None, layers=False)
    make_training(tmp_path, "other")
    runs, _ = collect(tmp_path)
    assert runs["status"].tolist() == ["unfinished"] * 2
    assert runs["epochs_done"].tolist() == [pd.NA, 3]


def test_a_training_needs_no_layers(tmp_path):
    make_training(tmp_path, "unprobed", accuracy=0.9, layers=False)
    runs, layers = collect(tmp_path)
    assert runs["status"].tolist() == ["done"]
    assert layers.empty


@pytest.mark.parametrize(
    "content",
    [
        *(None, "", "a,b\n1,2\n", "epoch,step\n", "epoch,step\n1\n", "epoch,step\none,2\n"),
        *(metrics_text()[:-1], metrics_text() + "4,940", b"\xff\xfe\n1\n"),
    ],
)
def test_a_done_training_without_a_whole_table_of_epochs_is_unreadable(tmp_path, content):
    make_training(tmp_path, "whole", accuracy=0.9)
    broken = make_training(tmp_path, "broken", accuracy=0.1) / "metrics.csv"
    if content is None:
        broken.unlink()
    else:
        broken.write_bytes(content if isinstance(content, bytes) else content.encode())
    runs, _ = collect(tmp_path)
    assert runs["status"].tolist() == ["unreadable", "done"]
    assert trained(runs)["name"].tolist() == ["whole"]


def test_accuracies_are_means_over_seeds_with_deviation_and_n(trainings):
    table, by = accuracies(trained(collect(trainings)[0]))
    assert by == ["model", "depth", "init"]
    assert table.columns.tolist() == [
        *("model", "depth", "init", "n", "test_accuracy", "test_accuracy_sd"),
        *("cra_0.3", "cra_0.3_sd", "cra_1.58", "cra_1.58_sd"),
    ]
    assert table[["model", "depth"]].to_numpy().tolist() == [
        *(["aol", 3], ["aol", 10], ["sll", 3], ["sll", 10])
    ]
    assert table["n"].tolist() == [2, 1, 2, 1]
    assert table["test_accuracy"].tolist() == pytest.approx([0.977, 0.96, 0.957, 0.94])
    deviation = [0.02 / 2**0.5, np.nan] * 2
    assert table["cra_1.58_sd"].tolist() == pytest.approx(deviation, nan_ok=True)


def test_what_else_varies_is_never_averaged_over(trainings):
    make_training(trainings, "cifar", accuracy=0.5, cra={"36/255": 0.3}, depth=3, dataset="cifar10")
    table, by = accuracies(trained(collect(trainings)[0]))
    assert by == ["model", "depth", "init", "dataset"]
    metrics = [c for c in table if c.startswith("cra") and not c.endswith("_sd")]
    assert metrics == ["cra_36/255", "cra_0.3", "cra_1.58"]
    cifar = table[table["dataset"] == "cifar10"].iloc[0]
    assert (cifar["test_accuracy"], cifar["cra_36/255"], cifar["n"]) == (0.5, 0.3, 1)
    assert np.isnan(cifar["cra_0.3"])


def test_a_share_that_not_every_seed_has_is_no_mean_of_the_group(tmp_path):
    for seed, eps in ((0, "0.3"), (1, "1")):
        cra = {"0.5": 0.5, eps: 0.8}
        make_training(tmp_path, f"s{seed}", accuracy=0.9, cra=cra, seed=seed)
    table, _ = accuracies(trained(collect(tmp_path)[0]))
    assert table["n"].tolist() == [2]
    assert table["cra_0.5"].tolist() == [0.5]
    assert table[["cra_0.3", "cra_1", "cra_1_sd"]].isna().all(axis=None)


def test_only_done_runs_are_averaged(trainings):
    make_training(trainings, "under_way", depth=3, epochs=2)
    runs, _ = collect(trainings)
    assert len(trained(runs)) == 6
    with pytest.raises(UserError, match="no finished run has epochs_done"):
        group(runs[runs["status"] != "done"], ["model"], "epochs_done")
    assert group(runs, ["model"], "epochs_done")["n"].tolist() == [3, 3]


def test_the_command_prints_accuracies_and_draws_them(here, capsys):
    assert main([]) == 0
    out = here / "outputs" / "collected"
    files = ["layers.csv", "report.html", "robustness.png", "runs.csv"]
    assert sorted(path.name for path in out.iterdir()) == files
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 runs: 6 done"
    assert lines[1] == "trained, mean and standard deviation (sd) over n seeds:"
    heads = [
        "model",
        "depth",
        "init",
        "n",
        "accuracy",
        "sd",
        "CRA",
        "0.3",
        "sd",
        "CRA",
        "1.58",
        "sd",
    ]
    assert lines[2].split() == heads
    assert lines[4].split()[:6] == ["aol", "3", "orthogonal", "2", "0.9770", "0.0141"]
    assert lines[5].split() == ["aol", "10", "orthogonal", "1", "0.9600", "0.8600", "0.4600"]
    files = "runs.csv, layers.csv, robustness.png, report.html"
    assert lines[8] == f"files in outputs/collected: {files}"


def test_deviations_of_single_seeds_are_no_columns(tmp_path, capsys):
    make_training(tmp_path, "one", accuracy=0.9, cra={"0.3": 0.8})
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["model", "depth", "init", "n", "accuracy", "CRA", "0.3"]
    assert lines[4].split() == ["aol", "2", "normal", "1", "0.9000", "0.8000"]


def test_probes_trainings_under_way_and_accuracies_are_three_tables(here, capsys):
    make_run(here / "outputs" / "runs", "probed", summary={METRIC: -1.0})
    make_training(here / "outputs" / "runs", "under_way", epochs=2)
    (here / "outputs" / "runs" / "train" / "odd").mkdir()
    (here / "outputs" / "runs" / "train" / "odd" / "config.yaml").write_text("depth: [")
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 runs: 7 done, 1 unfinished, 1 unreadable"
    assert lines[1].split() == ["run", "status", "forward"]
    assert [line.split() for line in lines[3:5]] == [
        ["odd", "unreadable"],
        ["probed", "done", "-1.0000"],
    ]
    assert lines[5] == ""
    assert lines[6].split() == ["run", "status", "epochs", "of"]
    assert lines[8].split() == ["under_way", "unfinished", "2", "3"]
    assert lines[9] == ""
    assert lines[10].startswith("trained, mean")
    assert lines[-1].endswith("layers.csv, decay.png, robustness.png, report.html")


def test_a_failed_training_is_among_those_that_are_not_done(tmp_path, capsys):
    make_training(tmp_path, "failed", epochs=1, log="Traceback (most recent call last):\n")
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.splitlines()[3].split() == ["failed", "failed", "1", "3"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_picture_compares_two_trainings_or_more(tmp_path, count, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "robustness.png").write_bytes(b"of other runs")
    for seed in range(count):
        make_training(tmp_path / "runs", f"s{seed}", accuracy=0.9, seed=seed)
    main([str(tmp_path), "--out", str(out)])
    assert (out / "robustness.png").is_file() == (count == 2)
    assert ("robustness.png" in capsys.readouterr().out) == (count == 2)
    assert b"of other runs" not in [path.read_bytes() for path in out.iterdir()]


def test_a_share_is_grouped_printed_and_drawn_by_name(here, capsys):
    assert main(["--by", "model,depth", "--metric", "cra_0.3", "--out", "o"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "cra_0.3, mean and standard deviation over n runs:"
    assert lines[4].split() == ["aol", "3", "0.8770", "0.0141", "2"]
    assert (here / "o" / "cra_0.3_by_model_depth.png").is_file()
    assert len(pd.read_csv(here / "o" / "cra_0.3_by_model_depth.csv")) == 4


def test_the_metric_of_trainings_alone_is_accuracy_and_beside_probes_the_decay(here, capsys):
    main(["--by", "model"])
    assert capsys.readouterr().out.splitlines()[1].startswith("test_accuracy, mean")
    make_run(here / "outputs" / "runs", "probed", summary={METRIC: -1.0})
    main(["--by", "model"])
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{METRIC}, mean")


def test_what_varies_is_asked_of_runs_that_have_the_metric(here, capsys):
    make_run(here / "outputs" / "runs", "probed", summary={METRIC: -1.0}, width=8)
    main(["--metric", "test_accuracy"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["model", "depth", "mean", "standard", "deviation", "n"]


def test_writing_twice_gives_the_same_bytes(here):
    make_training(here / "outputs" / "runs", "under_way", epochs=2)
    out = here / "outputs" / "collected"
    main([])
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    main([])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
