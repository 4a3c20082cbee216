"""Collecting runs: whatever is in a folder becomes one tidy table."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock

from lipexp.cli import text_table
from lipexp.cli.collect import main
from lipexp.errors import UserError
from lipexp.runs.collect.tables import collect, group, pooled, varying
from tests.runs.run_fakes import METRIC, configuration, layers_text, make_run

WAYS = ("forward", "backward")
TRACE = "Traceback (most recent call last):\n  ...\nZeroDivisionError: division by zero\n"


@pytest.fixture
def mixed(tmp_path):
    """One run of each status, their names out of order."""
    root = tmp_path / "outputs" / "runs"
    gnd = {"name": "gnd", "alpha": 1.0, "beta": float("inf")}
    make_run(root, "e", init=gnd, seed=3, summary={METRIC: -1.5, "law": "some law", "seconds": 2})
    make_run(root, "d", model="sll", summary={METRIC: None, "seconds": 0.5})
    make_run(root, "c")
    make_run(root, "b", layers=False, log=TRACE)
    make_run(root, "a", summary={METRIC: -1.0})
    (root / "probe" / "a" / "layers.csv").write_text("epoch,replicate,layer\n0,0,zero\n")
    return root


def test_there_is_one_row_per_run_sorted_by_name_with_its_status(mixed):
    runs, _ = collect(mixed)
    assert runs["name"].tolist() == ["a", "b", "c", "d", "e"]
    assert runs["status"].tolist() == ["unreadable", "failed", "unfinished", "done", "done"]


def test_settings_come_first_then_headline_numbers(mixed):
    runs, _ = collect(mixed)
    assert runs.columns.tolist() == [
        *("name", "status", "task", "model", "network", "depth", "width"),
        *("init", "init.alpha", "init.beta", "bias", "activation", "dataset", "seed"),
        *("replicates", "batch", "dataset.verify", "dtype", "model.rows", "network.activation"),
        *("task.cotangent", "task.histograms", METRIC, "seconds", "law"),
        *("folder", "command"),
    ]
    last = runs.iloc[-1]
    assert (last["model"], last["init"], last["init.beta"], last["seed"]) == (
        "aol",
        "gnd",
        np.inf,
        3,
    )
    assert (last[METRIC], last["law"], last["seconds"]) == (-1.5, "some law", 2)
    assert runs["depth"].dtype == "Int64"
    assert last["task.histograms"] == "1,2"
    assert last["model.rows"] == "false"
    assert np.isnan(runs[METRIC].iloc[3])


def test_layers_carry_their_run_and_keep_minus_infinity(mixed):
    _, layers = collect(mixed)
    assert layers.columns[:2].tolist() == ["run", "epoch"]
    assert layers["run"].tolist() == [name for name in "cde" for _ in range(3)]
    one = layers[layers["run"] == "e"]
    assert one["log10_second_moment"].tolist() == [-0.1, -1.5, -3.0]
    assert np.isneginf(one["log10_variance"].iloc[1:]).all()
    assert np.isnan(one["log10_variance"].iloc[0])
    assert one["fan_in"].tolist() == [pd.NA, 64, 64]


def test_the_same_folder_gives_the_same_tables(mixed):
    for first, second in zip(collect(mixed), collect(mixed), strict=True):
        pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    "folder", ["outputs/runs", "outputs/runs/probe", "outputs/runs/probe/e", "outputs"]
)
def test_runs_are_found_at_and_below_a_folder(mixed, folder):
    runs, _ = collect(mixed.parent.parent / folder)
    assert "e" in set(runs["name"])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", None),
        ("config.yaml", ""),
        ("config.yaml", "depth: [1\n"),
        ("config.yaml", "depth: thirty\n"),
        ("config.yaml", yaml.safe_dump({**configuration(), "depth": 2.5})),
        ("config.yaml", yaml.safe_dump({**configuration(), "depth": True})),
        ("summary.json", ""),
        ("summary.json", '{"seconds": 1'),
        ("summary.json", "[1]"),
        ("summary.json", "[" * 5000),
        ("layers.csv", None),
        ("layers.csv", ""),
        ("layers.csv", "a,b\n"),
        ("layers.csv", "epoch,replicate,layer\n0,0,1,2,3\n"),
        ("layers.csv", "epoch,replicate,layer\n0,0,\n"),
        ("layers.csv", "epoch,replicate,layer\n0,0,1e999\n"),
        ("layers.csv", layers_text().rstrip("\n")),
        ("layers.csv", "\xff\xfe\n"),
    ],
)
def test_one_broken_run_is_unreadable_and_the_others_are_read(tmp_path, file, content):
    make_run(tmp_path, "whole", summary={METRIC: -1.0})
    broken = make_run(tmp_path, "broken", summary={METRIC: -9.0})
    if content is None:
        (broken / file).unlink()
    else:
        (broken / file).write_bytes(content.encode("latin-1"))
    runs, layers = collect(tmp_path)
    assert runs["status"].tolist() == ["unreadable", "done"]
    assert runs[METRIC].tolist()[1:] == [-1.0]
    assert np.isnan(runs[METRIC].iloc[0])
    assert "whole" in set(layers["run"])


@pytest.mark.parametrize(("long", "kind"), [(10**30, "float64"), (10**400, "str")])
def test_a_whole_number_that_no_column_holds_is_no_error(tmp_path, long, kind):
    make_run(tmp_path, "a", summary={METRIC: -1.0, "count": long})
    make_run(tmp_path, "b", summary={METRIC: -1.0, "count": 2})
    counts = collect(tmp_path)[0]["count"]
    assert counts.dtype == kind
    assert counts.tolist() == ([1e30, 2.0] if kind == "float64" else [str(10**400), "2"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_makes_its_run_unreadable(tmp_path):
    (make_run(tmp_path, "secret", summary={}) / "config.yaml").chmod(0)
    assert collect(tmp_path)[0]["status"].tolist() == ["unreadable"]


def test_a_run_that_vanishes_while_it_is_read_is_no_run(tmp_path, monkeypatch):
    import shutil

    import lipexp.runs.collect.reading as module

    make_run(tmp_path, "stays", summary={METRIC: -1.0})
    going = make_run(tmp_path, "goes", summary={METRIC: -1.0})
    read = module._settings

    def settings(path):
        if path.parent == going:
            shutil.rmtree(going)
        return read(path)

    monkeypatch.setattr(module, "_settings", settings)
    assert collect(tmp_path)[0]["name"].tolist() == ["stays"]


def test_a_trace_of_an_earlier_attempt_is_no_failure_of_this_one(tmp_path):
    folder = make_run(tmp_path, "again", log=TRACE)
    assert collect(tmp_path)[0]["status"].item() == "failed"
    later = (folder / "log.txt").stat().st_mtime + 10
    os.utime(folder / "config.yaml", (later, later))
    assert collect(tmp_path)[0]["status"].item() == "unfinished"


def test_a_run_whose_folder_a_process_holds_is_running_and_one_that_was_killed_is_not(tmp_path):
    for name in ("held", "killed"):
        (make_run(tmp_path, name) / ".lock").touch()
    make_run(tmp_path, "never_locked")
    with FileLock(tmp_path / "probe" / "held" / ".lock"):
        runs, _ = collect(tmp_path)
        assert runs["status"].tolist() == ["running", "unfinished", "unfinished"]
        assert collect(tmp_path)[0]["status"].tolist() == runs["status"].tolist()  # given back
    assert not (tmp_path / "probe" / "never_locked" / ".lock").exists()
    assert collect(tmp_path)[0]["status"].tolist() == ["unfinished"] * 3


def test_a_run_that_is_done_or_has_failed_says_so_while_its_folder_is_still_held(tmp_path):
    for name, keys in {"a": {"summary": {METRIC: -1.0}}, "b": {"log": TRACE}}.items():
        lock = FileLock(make_run(tmp_path, name, **keys) / ".lock")
        lock.acquire()
    assert collect(tmp_path)[0]["status"].tolist() == ["done", "failed"]


def test_what_an_earlier_collection_left_is_no_run(mixed):
    main([str(mixed), "--out", str(mixed / "collected")])
    assert collect(mixed)[0]["name"].tolist() == ["a", "b", "c", "d", "e"]


def test_folders_without_runs_give_empty_tables(tmp_path):
    (tmp_path / "probe" / "just_made").mkdir(parents=True)
    (tmp_path / "stray.txt").write_text("")
    runs, layers = collect(tmp_path)
    assert runs.empty
    assert layers.empty


@pytest.fixture
def sweep(tmp_path):
    """aol at depth 2 and 3 with two seeds each, gnd and normal."""
    root = tmp_path / "outputs" / "runs"
    inits = {"normal": {"name": "normal"}, "gnd": {"name": "gnd", "alpha": 1.0, "beta": 0.5}}
    for name, init in inits.items():
        for depth in (2, 3):
            for seed in (0, 1):
                summary = {METRIC: -float(depth) - seed, "law": "law"}
                summary[f"predicted_typical_{METRIC}"] = -float(depth)
                keys = {"init": init, "depth": depth, "seed": seed}
                make_run(root, f"{name}{depth}{seed}", summary=summary, **keys)
    make_run(root, "unfinished")
    return root


def test_groups_have_mean_standard_deviation_and_n(sweep):
    grouped = group(collect(sweep)[0], ["init", "depth"], METRIC)
    assert grouped.columns.tolist() == ["init", "depth", "mean", "standard_deviation", "n"]
    assert grouped[["init", "depth"]].to_numpy().tolist() == [
        *(["gnd", 2], ["gnd", 3], ["normal", 2], ["normal", 3])
    ]
    assert grouped["mean"].tolist() == [-2.5, -3.5] * 2
    assert grouped["standard_deviation"].tolist() == pytest.approx([0.5**0.5] * 4)
    assert grouped["n"].tolist() == [2] * 4


def test_runs_without_a_key_are_a_group_of_their_own(sweep):
    grouped = group(collect(sweep)[0], ["init.beta"], METRIC)
    assert grouped["n"].tolist() == [4, 4]
    assert np.isnan(grouped["init.beta"].iloc[1])


def test_what_varies_leaves_out_the_seed_and_keys_of_one_choice(sweep):
    runs, _ = collect(sweep)
    assert varying(runs) == ["depth", "init"]


def test_runs_that_differ_in_more_than_the_seed_are_pooled_unlike_runs(sweep):
    runs, _ = collect(sweep)
    assert pooled(runs, ["init", "depth"], METRIC) == []
    assert pooled(runs, ["init"], METRIC) == ["depth"]
    assert pooled(runs, ["dataset"], METRIC) == ["depth", "init"]  # beta: of one choice alone
    assert pooled(runs, ["name"], METRIC) == []


def test_a_run_without_the_metric_is_pooled_with_nothing(sweep):
    make_run(sweep, "wide", width=128)
    make_run(sweep, "wider", width=256, summary={METRIC: None})
    assert pooled(collect(sweep)[0], ["init", "depth"], METRIC) == []


def test_a_run_in_two_folders_counts_once_in_a_mean(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        make_run(tmp_path / "here", f"s{seed}", seed=seed, summary={METRIC: -1.0 - seed})
    make_run(tmp_path / "there", "s0", seed=0, summary={METRIC: -1.0})
    runs, _ = collect(tmp_path)
    assert len(runs) == 3
    (row,) = group(runs, ["model"], METRIC).itertuples()
    assert (row.mean, row.standard_deviation, row.n) == (-1.5, np.sqrt(0.5), 2)
    assert main(["."]) == 0
    line = "3 runs: 3 done; 1 of them a second time, which no mean counts"
    assert capsys.readouterr().out.splitlines()[0] == line
    make_run(tmp_path / "elsewhere", "s0", seed=2, summary={METRIC: -3.0})  # of that name only
    assert group(collect(tmp_path)[0], ["model"], METRIC)["n"].tolist() == [3]


def test_runs_that_differ_in_their_names_alone_are_counted_and_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_run(tmp_path, name, seed=seed, summary={METRIC: -1.0})
    assert group(collect(tmp_path)[0], ["model"], METRIC)["n"].tolist() == [3]
    assert main(["."]) == 0
    line = "1 as another but in name, and counted: a plugin changed, or a copy renamed"
    assert capsys.readouterr().out.splitlines()[0] == f"3 runs: 3 done; {line}"


def test_a_data_set_that_goes_with_a_width_is_named_beside_it(tmp_path):
    make_run(tmp_path, "a", width=8, dataset="digits", summary={METRIC: -1.0})
    make_run(tmp_path, "b", width=16, dataset="mnist", summary={METRIC: -1.0})
    assert varying(collect(tmp_path)[0], without=["width"]) == ["dataset"]
    make_run(tmp_path, "c", width=32, dataset="mnist", summary={METRIC: -1.0})
    assert varying(collect(tmp_path)[0]) == ["width", "dataset"]


def test_unknown_columns_and_metrics_name_the_nearest(sweep):
    runs, _ = collect(sweep)
    with pytest.raises(UserError, match=r"no column 'modle'; nearest: model\b"):
        group(runs, ["modle"], METRIC)
    with pytest.raises(UserError, match=f"unknown metric 'decay_forward'; nearest: {METRIC}"):
        group(runs, ["model"], "decay_forward")
    with pytest.raises(UserError, match="unknown metric 'law'; known"):
        group(runs, ["model"], "law")
    with pytest.raises(UserError, match="unknown metric 'depth'; "):
        group(runs, ["model"], "depth")
    bare = runs.assign(commit=np.nan)  # of runs that were made outside of a clone
    with pytest.raises(UserError, match=r"unknown metric 'commot'; (?!.*commit)"):
        group(bare, ["model"], "commot")
    nobody = runs[runs["status"] != "done"]
    with pytest.raises(UserError, match=f"no finished run has {METRIC}"):
        group(nobody, ["model"], METRIC)


@pytest.fixture
def here(sweep, monkeypatch):
    monkeypatch.chdir(sweep.parent.parent)
    return sweep.parent.parent


def test_the_command_writes_tables_and_a_plot_and_prints_every_run(here, capsys):
    assert main([]) == 0
    out = here / "outputs" / "collected"
    assert sorted(path.name for path in out.iterdir()) == [
        *("decay.png", "layers.csv", "report.html", "runs.csv")
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "9 runs: 8 done, 1 unfinished"
    assert lines[1].split() == ["run", "status", "forward", "typical"]
    assert lines[3].split() == ["gnd20", "done", "-2.0000", "-2.0000"]
    assert lines[11].split() == ["unfinished", "unfinished"]
    assert lines[12] == ("files in outputs/collected: runs.csv, layers.csv, decay.png, report.html")
    runs, layers = collect(here / "outputs")
    assert len(pd.read_csv(out / "runs.csv")) == len(runs)
    written = pd.read_csv(out / "layers.csv")
    assert written["log10_variance"].tolist()[:2] == [pytest.approx(np.nan, nan_ok=True), -np.inf]
    assert len(written) == len(layers)


def test_writing_twice_gives_the_same_bytes(here):
    out = here / "outputs" / "collected"
    main([])
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    main([])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_groups_are_printed_and_written_beside_a_plot(here, capsys):
    assert main(["outputs", "--by", "init, depth", "--metric", METRIC, "--out", "o"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["init", "depth", "mean", "standard", "deviation", "n"]
    assert lines[4].split() == ["gnd", "2", "-2.5000", "0.7071", "2"]
    stem = f"{METRIC}_by_init_depth"
    assert len(pd.read_csv(here / "o" / f"{stem}.csv")) == 4
    assert (here / "o" / f"{stem}.png").is_file()


def test_a_mean_over_unlike_runs_is_called_one(here, capsys):
    main(["--by", "init,depth"])
    assert "pooled" not in capsys.readouterr().out
    main(["--by", "init"])
    assert "pooled over depth: add it to --by" in capsys.readouterr().out.splitlines()
    main(["--by", "dataset"])
    assert "pooled over depth, init: add them to --by" in capsys.readouterr().out.splitlines()


def test_rounding_noise_is_printed_as_zero_and_settings_as_they_were_asked_for(tmp_path, capsys):
    gnd = {"name": "gnd", "alpha": 1.0, "beta": 1e-5}
    for name, value in {"a": 7.809e-19, "b": -0.0, "c": -4e-5, "d": -6e-5}.items():
        make_run(tmp_path, name, init=gnd, summary={METRIC: value})
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:7]]
    assert [row[-1] for row in rows] == ["0.0000", "0.0000", "0.0000", "-0.0001"]
    main([str(tmp_path), "--by", "init.beta", "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.splitlines()[4].split() == ["1e-05", "0.0000", "0.0000", "4"]


LONG = "sll-mlp-d100-w64-gnd-digits-s0-{:08x}"


@pytest.fixture
def terminal(monkeypatch):
    """Lets stdout be a terminal of so many letters a line."""

    def of(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    return of


@pytest.mark.parametrize("columns", [30, 50, 60, 80, 100, 120])
def test_a_terminal_gets_one_line_per_run_and_whole_headings(tmp_path, capsys, terminal, columns):
    numbers = [f"{law}decay_per_layer_{way}" for law in ("", "predicted_typical_") for way in WAYS]
    summary = dict.fromkeys(numbers, -1.25) | {"seconds": 1.5}
    for number in range(3):
        make_run(tmp_path, LONG.format(number), summary=summary)
    make_run(tmp_path, "unfinished")
    terminal(columns)
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    head, rule, *rows = capsys.readouterr().out.splitlines()[1:7]
    every = ["run", "status", "forward", "typical", "backward", "typical", "seconds"]
    assert head.split() == every[: len(head.split())]
    assert len(head.split()) >= (7 if columns >= 80 else 3)
    assert max(map(len, [head, rule, *rows])) <= max(columns, 41)  # what three columns need
    names = [row.split()[0] for row in rows]
    assert [name[-9:] for name in names[:3]] == [f"-{n:08x}" for n in range(3)]
    assert all(name.startswith("sll-") for name in names[:3])
    assert ("…" in names[0]) == (columns < 100)


def test_a_table_of_numbers_is_left_as_wide_as_it_is(here, capsys, terminal):
    terminal(10)
    main(["--by", "depth"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["depth", "mean", "standard", "deviation", "n"]


def test_a_text_is_cut_in_its_middle():
    assert text_table.shortened("abcdefghij", 10) == "abcdefghij"
    assert text_table.shortened("abcdefghij", 7) == "ab…ghij"
    assert text_table.shortened(LONG.format(7), 20) == "sll-mlp-d1…-00000007"


def test_a_metric_with_a_fraction_in_its_name_makes_one_file(tmp_path, capsys):
    make_run(tmp_path, "a", summary={"cra_36/255": 0.5})
    main([str(tmp_path), "--by", "model", "--metric", "cra_36/255", "--out", str(tmp_path / "o")])
    assert (tmp_path / "o" / "cra_36-255_by_model.csv").is_file()
    assert capsys.readouterr().out.splitlines()[4].split() == ["aol", "0.5000", "1"]


def test_a_metric_alone_is_grouped_by_what_varies(here, capsys):
    main(["--metric", METRIC])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["depth", "init", "mean"]


def test_of_a_folder_of_outputs_the_runs_are_taken(here, capsys):
    make_run(here / "outputs" / "sweeps", "of_a_sweep")
    main(["outputs"])
    assert capsys.readouterr().out.startswith("9 runs: ")


def test_long_tables_are_cut_and_say_so(tmp_path, capsys):
    for number in range(33):
        make_run(tmp_path, f"r{number:02}", layers=False)
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "33 runs: 33 unfinished"
    assert lines[-3].split() == ["r29", "unfinished"]
    assert lines[-2] == "... 3 more in runs.csv"


def test_without_a_finished_run_an_old_plot_is_taken_away(tmp_path, capsys):
    make_run(tmp_path / "runs", "a")
    out = tmp_path / "out"
    out.mkdir()
    (out / "decay.png").write_bytes(b"of other runs")
    main([str(tmp_path), "--out", str(out)])
    assert sorted(path.name for path in out.iterdir()) == ["layers.csv", "report.html", "runs.csv"]
    assert "decay.png" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nowhere"], "there is no folder nowhere; `lipexp run` makes outputs/runs"),
        (["nothing"], "no runs in nothing or up to three folders below it; `lipexp run` makes one"),
        (["--by", "modl"], "runs have no column 'modl'; nearest: model"),
        (["--by", ","], "--by ',' names no column; for example --by model,init"),
        (["--metric", "decay"], f"unknown metric 'decay'; nearest: {METRIC}"),
        (["--out", "taken"], "--out taken: cannot be written (File exists)"),
        (["--metrc", METRIC], "lipexp collect has no option '--metrc'; nearest: --metric"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(here, argv, line):
    (here / "nothing").mkdir()
    (here / "taken").write_text("")
    with pytest.raises(UserError) as error:
        main(argv)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
    assert not (here / "outputs" / "collected").exists()


def test_help_ends_in_examples_that_run(here, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    examples = capsys.readouterr().out.partition("examples:\n")[2].splitlines()
    assert len(examples) == 2
    for example in examples:
        program, command, *argv = example.split()
        assert (program, command) == ("lipexp", "collect")
        assert main(argv) == 0


def test_the_command_line_alone_imports_nothing_heavy():
    code = (
        "import sys, lipexp.cli.collect; "
        "print([m for m in ('pandas', 'matplotlib', 'rich', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_collecting_imports_no_torch(here):
    code = (
        "import sys; from lipexp.cli.collect import main; main(['--by', 'model']); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
