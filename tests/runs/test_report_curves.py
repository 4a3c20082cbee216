"""Curves of the report: what is drawn of layers.csv, and what is left out and said so."""

import json

import numpy as np
import pandas as pd
import pytest

from lipexp.runs.collect import curves
from lipexp.runs.collect.curves import KINDS

MOMENT, VARIANCE, LAW, TYPICAL = (kind[0] for kind in KINDS[:4])


def table(name="a", layers=5, epochs=(0,), replicates=1, **columns):
    """A run's rows, as layers.csv has them; a column is a function of (epoch, replicate, layer)."""
    rows = [(e, r, n) for e in epochs for r in range(replicates) for n in range(layers)]
    frame = pd.DataFrame(rows, columns=["epoch", "replicate", "layer"])
    for key, value in columns.items():
        frame[key] = [float(value(*row)) for row in rows]
    frame.insert(0, "run", name)
    return frame


def test_a_line_is_the_mean_of_the_logarithm_over_replicates():
    frame = table(replicates=3, **{MOMENT: lambda e, r, n: -n - 0.5 * r})
    one = curves.curves(frame)["a"]
    assert one["replicates"] == 3
    assert one["lines"] == [(0, 0, [-0.5, -1.5, -2.5, -3.5, -4.5])]
    assert (one["layers"], one["of"], one["epochs"], one["probed"]) == (5, 5, [0], 1)


def test_of_many_epochs_the_first_a_middle_and_the_last_are_drawn():
    frame = table(epochs=(0, 1, 2, 5, 10), **{MOMENT: lambda e, r, n: -n - e})
    one = curves.curves(frame)["a"]
    assert (one["epochs"], one["probed"]) == ([0, 2, 10], 5)
    assert [(place, values[0]) for _, place, values in one["lines"]] == [(0, 0), (1, -2), (2, -10)]


def test_an_epoch_that_is_cut_off_is_left_out():
    frame = table(epochs=(0, 1), **{MOMENT: lambda e, r, n: -n - e}).iloc[:-2]
    assert [place for _, place, _ in curves.curves(frame)["a"]["lines"]] == [0]


def test_what_is_missing_or_zero_is_none_and_what_nobody_measured_is_no_line():
    frame = table(
        **{MOMENT: lambda e, r, n: -np.inf if n == 3 else np.nan if n == 1 else -n},
        **{VARIANCE: lambda e, r, n: np.nan, LAW: lambda e, r, n: -np.inf},
    )
    assert curves.curves(frame)["a"]["lines"] == [(0, 0, [0.0, None, -2.0, None, -4.0])]


@pytest.mark.parametrize(("apart", "drawn"), [(0.0, [2]), (0.01, [2]), (0.1, [2, 3])])
def test_laws_that_agree_are_one_line(apart, drawn):
    frame = table(**{LAW: lambda e, r, n: -n, TYPICAL: lambda e, r, n: -n * (1 + apart / 4)})
    assert [kind for kind, *_ in curves.curves(frame)["a"]["lines"]] == drawn


@pytest.mark.parametrize("slope", [1e-3, 0.1, 1.2, 300.0])
def test_rounding_is_finer_than_a_screen_shows(slope):
    frame = table(layers=101, **{MOMENT: lambda e, r, n: -slope * n / 3})
    (line,) = curves.curves(frame)["a"]["lines"]
    error = np.abs(np.array(line[2]) - frame[MOMENT]).max()
    assert error <= slope * 100 / 3 / 1000


def test_a_deep_network_keeps_its_ends_and_says_how_many_layers_it_has():
    frame = table(layers=10_002, **{MOMENT: lambda e, r, n: -n})
    one = curves.curves(frame)["a"]
    assert one["of"] == 10_002
    assert curves.FEWER[0] <= len(one["layers"]) <= curves.FEWER[0] + 4
    assert (one["layers"][:2], one["layers"][-2:]) == ([0, 1], [10_000, 10_001])
    assert one["layers"] == sorted(set(one["layers"]))
    assert one["lines"][0][2] == [-float(n) for n in one["layers"]]


@pytest.mark.parametrize(("runs", "layers"), [(2000, 101), (2000, 1001), (240, 101)])
def test_all_curves_together_fit(runs, layers):
    rows = np.full(runs, layers)
    most = curves._most_layers(rows, len(KINDS))
    assert np.minimum(rows, most).sum() * len(KINDS) <= curves.MOST_NUMBERS
    assert (most >= layers) == (layers == 101)
    number = len(json.dumps(-123.45)) + 1
    assert curves.MOST_NUMBERS * number < 16e6


def test_runs_without_layers_have_no_curves():
    assert curves.curves(pd.DataFrame({"run": []})) == {}
    assert curves.curves(table()) == {}


def test_every_run_gets_its_own_rows():
    frames = [table(name, **{MOMENT: lambda e, r, n, k=k: -k * n}) for k, name in enumerate("cab")]
    found = curves.curves(pd.concat(frames, ignore_index=True))
    assert {name: one["lines"][0][2][1] for name, one in found.items()} == {
        "c": 0,
        "a": -1,
        "b": -2,
    }
