"""Mean, spread and n of groups against depth, width or init."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lipexp.plots import abscissae, decay
from lipexp.plots.series import series

METRIC = "decay_per_layer_forward"


def runs(inits=("normal", "gnd"), depths=(10, 30), seeds=(0, 1, 2), models=("aol",), betas=(0.5,)):
    """The metric: minus the depth, less a hundredth of the seed, a tenth more for gnd."""
    rows = []
    for model, init, depth, seed in itertools.product(models, inits, depths, seeds):
        for beta in betas if init == "gnd" else (np.nan,):
            value = -depth - seed / 100 + (0.1 if init == "gnd" else 0.0)
            rows.append((model, init, beta, depth, 64, seed, value))
    names = ["model", "init", "init.beta", "depth", "width", "seed", METRIC]
    return pd.DataFrame(rows, columns=names)


def means(found):
    return {group.label: group.points["mean"].tolist() for group in found.groups}


def test_each_point_is_mean_standard_deviation_and_number_of_its_runs():
    found = series(runs(), ["init"], METRIC)
    assert (found.against, found.ticks, found.x.tolist()) == ("depth", [], [10, 30])
    assert means(found) == {
        "gnd, n = 3 seeds": pytest.approx([-9.91, -29.91]),
        "normal, n = 3 seeds": pytest.approx([-10.01, -30.01]),
    }
    for group in found.groups:
        assert group.points["spread"].tolist() == pytest.approx([0.01, 0.01])
        assert group.points["n"].tolist() == [3, 3]


def test_one_run_has_no_spread():
    found = series(runs(seeds=(0,)), ["init"], METRIC)
    assert np.isnan(found.groups[0].points["spread"]).all()


@pytest.mark.parametrize(
    ("table", "axes"),
    [
        (runs(), ["depth", "init"]),
        (runs(depths=(10,)), ["init"]),
        (runs(inits=("gnd",), depths=(10,), betas=(0.5, 1.0)), ["init"]),
        (runs(inits=("gnd",), depths=(10,)), []),
        (runs(inits=("normal",)), ["depth"]),
    ],
)
def test_what_varies_of_depth_width_and_init_can_be_drawn_against(table, axes):
    assert abscissae.varying_axes(table) == axes
    assert abscissae.abscissa(table) == (axes or ["depth"])[0]


def test_inits_with_their_own_keys_are_named_places_on_the_axis():
    table = runs(inits=("normal", "gnd"), depths=(10,), betas=(2.0, 0.5))
    found = series(table, ["model", "init", "init.beta"], METRIC)
    assert found.against == "init"
    assert found.ticks == ["gnd, beta 0.5", "gnd, beta 2.0", "normal"]
    (group,) = found.groups
    assert group.label == "aol, n = 3 seeds"
    assert group.points.index.tolist() == [0, 1, 2]
    assert group.points["mean"].tolist() == pytest.approx([-9.91, -9.91, -10.01])


def test_a_key_that_is_the_same_in_all_runs_of_an_init_is_not_named():
    assert series(runs(depths=(10,)), [], METRIC).ticks == ["gnd", "normal"]


def test_a_metric_that_one_init_lacks_leaves_its_place_empty():
    table = runs(depths=(10,))
    table.loc[table["init"] == "gnd", METRIC] = np.nan
    found = series(table, [], METRIC, "init")
    assert found.ticks == ["gnd", "normal"]
    assert found.groups[0].points.index.tolist() == [1]


def test_the_axis_that_is_asked_for_goes_before_what_varies():
    found = series(runs(), ["model", "depth", "init"], METRIC, against="init")
    assert (found.against, found.ticks) == ("init", ["gnd", "normal"])
    assert list(means(found)) == ["aol, depth 10, n = 3 seeds", "aol, depth 30, n = 3 seeds"]


def test_spread_is_a_band_between_neighbours_and_no_band_joins_inits():
    (band,) = [c for c in decay.decay(runs(inits=("normal",))).axes[0].collections if not bars(c)]
    y = band.get_paths()[0].vertices
    assert {(x, round(v, 6)) for x, v in y} == {
        *((10, -10.02), (10, -10.0)),
        *((30, -30.02), (30, -30.0)),
    }
    assert not any(not bars(c) for c in decay.decay(runs(depths=(10,))).axes[0].collections)
    lone = pd.concat([runs(depths=(10,)), runs(depths=(30,), seeds=(0,))])
    assert not any(not bars(c) for c in decay.decay(lone).axes[0].collections)


def bars(collection):
    return hasattr(collection, "get_segments")


def test_markers_of_inits_are_not_joined_and_their_names_are_ticks():
    law = {f"predicted_{METRIC}": -10.0}
    axes = decay.decay(runs(depths=(10,)).assign(**law)).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["gnd", "normal"]
    assert axes.get_xlabel() == "init"
    drawn = [line for line in axes.get_lines() if len(line.get_xdata())]
    assert {line.get_linestyle() for line in drawn} <= {"None", "-"}
    assert all(line.get_linestyle() == "None" for line in drawn if line.get_marker() == "o")
    dashes = [line for line in drawn if line.get_marker() == "_" and line.get_markersize() == 9]
    assert [line.get_ydata().tolist() for line in dashes] == [[-10.0, -10.0]]


def test_names_of_inits_lie_inside_the_picture(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    table = runs(inits=("kaiming_uniform", "normal", "gnd"), depths=(10,), betas=(0.5, 1e-5))
    figure = decay.decay(table)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    low = min(
        label.get_window_extent(canvas.get_renderer()).y0
        for label in [*figure.axes[0].get_xticklabels(), figure.axes[0].xaxis.label]
    )
    assert low >= 0


def test_no_run_with_the_metric_is_an_error():
    with pytest.raises(ValueError, match="at least one run must have"):
        series(runs().assign(**{METRIC: np.nan}), [], METRIC)
