"""Accuracies of many trained runs against depth or width, read back from the axes."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lipexp.plots import groups, robustness, style


def runs(models=("aol", "sll"), depths=(3, 10), seeds=(0, 1), eps=("0.3", "1.58"), width=512):
    """Clean accuracy 0.9 - depth / 100, + 0.02 in seed 1; each eps costs another 0.1."""
    rows = []
    for model, depth, seed in itertools.product(models, depths, seeds):
        row = {"model": model, "init": "orthogonal", "depth": depth, "width": width, "seed": seed}
        row["test_accuracy"] = 0.9 - depth / 100 + 0.02 * seed
        for position, name in enumerate(eps):
            row[f"cra_{name}"] = row["test_accuracy"] - 0.1 * (position + 1)
        rows.append(row)
    return pd.DataFrame(rows)


def lines(axes):
    """The lines through means, by the label of their group."""
    found = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    return {line.get_label(): line.get_xydata().T for line in found if len(line.get_xdata())}


def labels(figure):
    return [axes.get_ylabel() for axes in figure.axes]


def test_there_is_a_panel_for_clean_accuracy_and_one_per_eps_in_per_cent():
    figure = robustness.robustness(runs(eps=("1", "36/255")))
    assert labels(figure) == ["clean, %", "CRA at 36/255, %", "CRA at 1, %"]
    for axes, cost in zip(figure.axes, (0, 20, 10), strict=True):
        drawn = lines(axes)
        assert list(drawn) == ["aol, orthogonal, n = 2 seeds", "sll, orthogonal, n = 2 seeds"]
        for x, y in drawn.values():
            assert x.tolist() == [3, 10]
            assert y == pytest.approx([88 - cost, 81 - cost])
    assert figure.axes[-1].get_xlabel() == "depth"


def test_bars_are_one_standard_deviation_and_the_note_says_so():
    figure = robustness.robustness(runs(models=("aol",), depths=(3,)), note="a note")
    (bar,) = figure.axes[0].collections[0].get_segments()
    assert bar[:, 1] == pytest.approx([88 - np.sqrt(2), 88 + np.sqrt(2)])
    assert "a note; bars: one standard deviation" in [text.get_text() for text in figure.texts]
    single = robustness.robustness(runs(seeds=(0,)))
    assert not any(axes.collections for axes in single.axes)
    assert not any("bars" in text.get_text() for text in single.texts)


def test_every_marker_and_bar_lies_inside_its_panel(tmp_path):
    figure = robustness.robustness(runs(depths=(3,)))
    style.save(figure, tmp_path / "a.png")
    for axes in figure.axes:
        low, high = axes.get_ylim()
        ends = np.concatenate([s[:, 1] for c in axes.collections for s in c.get_segments()])
        edge = 0.04 * (high - low)
        assert low + edge < ends.min() < ends.max() < high - edge


def test_width_is_the_abscissa_where_only_it_varies():
    table = pd.concat([runs(depths=(3,), width=64), runs(depths=(3,), width=1024)])
    figure = robustness.robustness(table, by=("model", "init", "width"))
    assert figure.axes[-1].get_xlabel() == "width"
    assert figure.axes[-1].get_xscale() == "log"
    assert figure.get_suptitle() == "accuracy, clean and certified, against width"
    assert list(lines(figure.axes[0])) == [
        "aol, orthogonal, n = 2 seeds",
        "sll, orthogonal, n = 2 seeds",
    ]


def test_a_group_without_an_eps_is_left_out_of_that_panel_alone():
    mnist = runs(models=("aol",)).assign(dataset="mnist")
    cifar = runs(models=("aol",), eps=("36/255",)).assign(dataset="cifar10")
    figure = robustness.robustness(pd.concat([mnist, cifar]), by=("model", "dataset"))
    assert labels(figure) == ["clean, %", "CRA at 36/255, %", "CRA at 0.3, %", "CRA at 1.58, %"]
    drawn = [[label.split(", ")[1] for label in lines(axes)] for axes in figure.axes]
    assert drawn == [["cifar10", "mnist"], ["cifar10"], ["mnist"], ["mnist"]]
    first, *others = [
        {
            line.get_label()[:10]: line.get_color()
            for line in axes.get_lines()
            if line.get_label()[0] == "a"
        }
        for axes in figure.axes
    ]
    assert first["aol, cifar"] != first["aol, mnist"]
    assert all(panel.items() <= first.items() for panel in others)


def test_a_share_that_not_every_seed_of_a_marker_has_is_not_drawn():
    table = runs(models=("aol",))
    table.loc[(table["depth"] == 3) & (table["seed"] == 0), "cra_0.3"] = np.nan
    clean, share, _ = robustness.robustness(table).axes
    assert list(lines(clean)) == list(lines(share)) == ["aol, orthogonal, n = 2 seeds"]
    assert lines(share)["aol, orthogonal, n = 2 seeds"][0].tolist() == [10]


def test_a_group_without_an_eps_leaves_no_empty_line_in_that_panel():
    table = runs()
    table.loc[table["model"] == "sll", "cra_1.58"] = np.nan
    clean, _, largest = (
        [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")]
        for axes in robustness.robustness(table).axes
    )
    assert clean == ["aol, orthogonal, n = 2 seeds", "sll, orthogonal, n = 2 seeds"]
    assert largest == clean[:1]


def test_of_many_eps_both_ends_are_drawn_and_the_note_counts_the_rest():
    names = [f"{n}/255" for n in (9, 18, 27, 36, 45, 54, 63)]
    figure = robustness.robustness(runs(eps=names))
    shown = labels(figure)[1:]
    assert len(shown) == robustness.MOST_EPS
    assert (shown[0], shown[-1]) == ("CRA at 9/255, %", "CRA at 63/255, %")
    assert any("2 more ε not drawn" in text.get_text() for text in figure.texts)


def test_runs_without_a_test_accuracy_are_left_out_and_none_left_is_an_error():
    table = runs()
    table.loc[table["model"] == "sll", "test_accuracy"] = np.nan
    assert list(lines(robustness.robustness(table).axes[0])) == ["aol, orthogonal, n = 2 seeds"]
    with pytest.raises(ValueError, match="at least one run"):
        robustness.robustness(table[table["model"] == "sll"])


def test_columns_that_are_no_radius_or_no_number_are_no_panel():
    table = runs(eps=()).assign(cra_most=0.5, **{"cra_0.3": "high", "cra_1": np.nan})
    assert labels(robustness.robustness(table)) == ["clean, %"]


def test_whole_numbers_that_may_be_missing_and_a_single_run_are_drawn(tmp_path):
    table = runs(models=("aol",), depths=(3,), seeds=(0,))
    table["depth"] = table["depth"].astype("Int64")
    style.save(robustness.robustness(table), tmp_path / "a.png")


def test_of_many_groups_a_few_are_named():
    table = runs(models=[f"m{n:02}" for n in range(20)])
    drawn = robustness.robustness(table).legends[0].get_texts()
    assert len(drawn) == groups.NAMED_GROUPS + 1
    assert drawn[-1].get_text() == "and 4 more"
