"""A headline number against depth or width, read back from the axes."""

import numpy as np
import pandas as pd
import pytest

from lipexp.plots import abscissae, decay, groups, labels, style

METRIC = "decay_per_layer_forward"


def runs(rows, **columns):
    """Rows of (model, depth, width, metric)."""
    frame = pd.DataFrame(rows, columns=["model", "depth", "width", METRIC])
    return frame.assign(**{"init": "normal", **columns})


TWO_MODELS = [
    ("aol", 10, 64, -1.0),
    ("aol", 10, 64, -1.2),
    ("aol", 30, 64, -1.1),
    ("sll", 10, 64, -0.1),
    ("sll", 30, 64, -0.1),
]


def lines(figure):
    """label -> (x, y) of the lines with a label."""
    found = {line.get_label(): line.get_xydata().T for line in figure.axes[0].get_lines()}
    return {label: xy for label, xy in found.items() if not label.startswith("_")}


def bars(figure):
    """(lower, upper) ends of every bar, in the order of drawing."""
    collections = figure.axes[0].collections
    return [(s[0][1], s[1][1]) for c in collections for s in c.get_segments()]


def test_a_group_is_a_line_through_the_means_over_seeds():
    drawn = lines(decay.decay(runs(TWO_MODELS)))
    assert list(drawn) == ["aol, normal, n = 1–2 runs", "sll, normal"]
    assert drawn["aol, normal, n = 1–2 runs"].tolist() == [[10, 30], [pytest.approx(-1.1), -1.1]]
    assert drawn["sll, normal"].tolist() == [[10, 30], [-0.1, -0.1]]


def test_bars_are_one_standard_deviation_and_none_for_one_run():
    deviation = 0.2 / np.sqrt(2)  # of -1.0 and -1.2, with n - 1
    figure = decay.decay(runs(TWO_MODELS))
    assert bars(figure) == [pytest.approx((-1.1 - deviation, -1.1 + deviation))]
    caps = [line for line in figure.axes[0].get_lines() if line.get_marker() in (2, 3, "_")]
    assert all(line.get_xdata().tolist() == [10] for line in caps)


def test_a_marker_stands_exactly_at_its_depth():
    axes = decay.decay(runs([(m, d, 64, -1.0) for m in "abcdefgh" for d in (10, 1000)])).axes[0]
    for line in axes.get_lines():
        assert line.get_xdata().tolist() == [10, 1000]
        assert line.get_transform() == axes.transData


@pytest.mark.parametrize(
    ("seeds", "label"),
    [
        ((0, 1, 2, 0, 1, 2), "aol, normal, n = 3 seeds"),
        ((0, 0, 0, 0, 1, 2), "aol, normal, n = 3 runs"),
    ],
)
def test_a_label_says_how_many_seeds_or_runs_a_marker_is_of(seeds, label):
    frame = runs([("aol", d, 64, -1.0) for d in (10, 10, 10, 30, 30, 30)], seed=seeds)
    assert list(lines(decay.decay(frame))) == [label]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (METRIC, ("decay of the signal per layer", "log₁₀")),
        (f"predicted_{METRIC}", ("decay of the signal per layer, law", "log₁₀")),
        (f"predicted_typical_{METRIC}", ("decay of the signal per layer, typical law", "log₁₀")),
        ("cra_36/255", ("cra 36/255", "")),
    ],
)
def test_a_metric_is_written_in_words(metric, words):
    assert decay.in_words(metric) == words
    figure = decay.decay(runs(TWO_MODELS).rename(columns={METRIC: metric}), metric=metric)
    what, unit = words
    assert figure.get_suptitle() == f"{what} against depth"
    assert figure.axes[0].get_ylabel().replace("\n", " ") == (f"{what}, {unit}" if unit else what)


def test_the_y_axis_holds_every_bar():
    wide = [("aol", 10, 64, -1.0), ("aol", 10, 64, 1.0)]
    figure = decay.decay(runs(wide))
    low, high = figure.axes[0].get_ylim()
    assert low < -np.sqrt(2) < np.sqrt(2) < high


@pytest.mark.parametrize(
    ("depths", "widths", "expected"),
    [
        ((10, 30), (64, 64), "depth"),
        ((10, 10), (64, 128), "width"),
        ((10, 30), (64, 128), "depth"),
        ((10, 10), (64, 64), "depth"),
    ],
)
def test_the_abscissa_is_what_varies_and_depth_in_doubt(depths, widths, expected):
    rows = [("aol", d, w, -1.0) for d, w in zip(depths, widths, strict=True)]
    assert abscissae.abscissa(runs(rows)) == expected
    assert decay.decay(runs(rows)).axes[0].get_xlabel() == expected


def test_the_typical_law_goes_before_the_law_in_expectation():
    laws = {f"predicted_{METRIC}": -1.0, f"predicted_typical_{METRIC}": [-1.5] * 3 + [np.nan] * 2}
    figure = decay.decay(runs(TWO_MODELS, **laws))
    dashed = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in dashed if len(line.get_xdata())] == [
        [-1.5, -1.5],
        [-1.0, -1.0],
    ]
    assert "law or typical law" in lines(figure)


def test_the_legend_calls_the_typical_law_by_its_name():
    for prefix, name in (("predicted_typical_", "typical law"), ("predicted_", "law")):
        figure = decay.decay(runs(TWO_MODELS, **{f"{prefix}{METRIC}": -1.0}))
        assert list(lines(figure))[-1] == name


def test_laws_are_never_averaged():
    law = [-1.0, 0.0, -1.0, -0.1, -0.1 - 1e-5]  # the last two, of one law, are at two depths
    figure = decay.decay(runs(TWO_MODELS, **{f"predicted_typical_{METRIC}": law}))
    shown = [line for line in figure.axes[0].get_lines() if len(line.get_xdata())]
    dashed = [line.get_ydata().tolist() for line in shown if line.get_linestyle() == "--"]
    assert dashed == [[-0.1, -0.1 - 1e-5]]
    dashes = [line for line in shown if line.get_marker() == "_" and line.get_markersize() == 9]
    assert [line.get_ydata()[1].item() for line in dashes] == [-1.0]
    assert np.isnan(dashes[0].get_ydata()[0])


def test_a_law_that_only_some_runs_of_a_mean_have_is_not_drawn():
    law = [-1.0, np.nan, np.nan, np.nan, np.nan]
    figure = decay.decay(runs(TWO_MODELS, **{f"predicted_{METRIC}": law}))
    assert "law" not in lines(figure)


def test_a_single_depth_shows_its_law_as_a_dash():
    figure = decay.decay(runs(TWO_MODELS[:2], **{f"predicted_{METRIC}": -1.1}))
    dashes = [line for line in figure.axes[0].get_lines() if line.get_marker() == "_"]
    assert dashes[-1].get_xydata().tolist() == [[10, -1.1]]  # those before are caps of bars


def test_runs_without_the_metric_are_left_out_and_none_left_is_an_error():
    rows = [("aol", 10, 64, -1.0), ("aol", 30, 64, np.nan), ("sll", 30, 64, -np.inf)]
    drawn = lines(decay.decay(runs(rows)))
    assert drawn["aol, normal"].T.tolist() == [[10, -1.0]]
    assert list(drawn) == ["aol, normal"]
    with pytest.raises(ValueError, match="at least one run"):
        decay.decay(runs(rows[1:]))


def test_whole_numbers_that_may_be_missing_are_drawn(tmp_path):
    frame = runs(TWO_MODELS)
    frame["depth"] = frame["depth"].astype("Int64")
    style.save(decay.decay(frame, by=()), tmp_path / "a.png")


@pytest.mark.parametrize(("last", "scale"), [(79, "linear"), (80, "log"), (10, "linear")])
def test_a_sweep_over_a_decade_has_a_logarithmic_axis_with_its_depths_as_ticks(last, scale):
    axes = decay.decay(runs([("aol", d, 64, -1.0) for d in (10, last)])).axes[0]
    assert axes.get_xscale() == scale
    assert axes.get_xticks().tolist() == sorted({10, last})
    low, high = axes.get_xlim()
    assert low < 10 <= last < high


def test_labels_name_keys_but_not_choices_and_skip_what_is_missing():
    by = ("model", "width", "init.beta")
    assert labels.label(by, ("aol", 64, np.nan)) == "aol, width 64"
    assert labels.label(("init.beta",), (np.nan,)) == "no init.beta"
    assert labels.label((), ()) == "all runs"


def test_a_missing_key_is_a_group_of_its_own():
    frame = runs(TWO_MODELS, **{"init.beta": [0.5] * 3 + [np.nan] * 2})
    assert list(lines(decay.decay(frame, by=("init.beta",)))) == [
        "beta 0.5, n = 1–2 runs",
        "no init.beta",
    ]


def test_the_legend_names_a_few_of_many_groups():
    frame = runs([("aol", 10, 64, -1.0)] * 40, seed=range(40))
    labels = list(lines(decay.decay(frame, by=("seed",))))
    assert len(labels) == groups.NAMED_GROUPS + 1
    assert labels[-1] == "and 24 more"
