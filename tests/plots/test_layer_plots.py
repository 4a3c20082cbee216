"""What is drawn of a probe, read back from the axes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lipexp.plots import layers, style

COLUMNS = {
    "log10_second_moment": "predicted_log10_second_moment",
    "log10_gradient_second_moment": "predicted_log10_gradient_second_moment",
}


def table(depth=4, replicates=1, head=False, rate=-1.0, **columns):
    """Layers of networks that decay by ``rate``; replicate r lies r above replicate 0."""
    rows = depth + 1 + head
    layer = np.tile(np.arange(rows), replicates)
    replicate = np.repeat(np.arange(replicates), rows)
    decaying = rate * layer + replicate
    names = ["input", *(f"body.layer{n}" for n in range(1, depth + 1)), *(["head"] * head)]
    frame = pd.DataFrame(
        {"epoch": 0, "replicate": replicate, "layer": layer, "name": names * replicates}
    )
    frame["log10_second_moment"] = frame["log10_variance"] = decaying
    frame["log10_gradient_second_moment"] = decaying[::-1]
    frame["log10_weight_gradient_second_moment"] = np.where(layer == 0, np.nan, -depth)
    for quantity in ("log10_second_moment", "log10_gradient_second_moment"):
        frame[f"predicted_{quantity}"] = frame[f"predicted_typical_{quantity}"] = np.nan
    return frame.assign(**columns)


def lines(figure):
    """label -> (x, y) of the lines that have one; those without are the heads of others."""
    drawn = {}
    for line in figure.axes[0].get_lines():
        drawn.setdefault(line.get_label(), line.get_xydata().T)
    return drawn


def test_the_measured_line_starts_at_the_input_and_ends_at_the_last_layer():
    x, y = lines(layers.forward(table(depth=4), "t"))["signal z, measured"]
    assert x.tolist() == [0, 1, 2, 3, 4]
    assert y.tolist() == [0, -1, -2, -3, -4]


def test_replicates_are_averaged_in_the_logarithm_and_drawn_one_by_one():
    figure = layers.forward(table(depth=2, replicates=3), "t")
    _, y = lines(figure)["signal z, measured, 3 networks"]
    assert y.tolist() == [1, 0, -1]
    singles = [path[:, 1].tolist() for path in figure.axes[0].collections[0].get_segments()]
    assert singles == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]


def test_a_variance_that_is_the_second_moment_is_not_drawn_twice():
    same = table()
    apart = table(log10_variance=table()["log10_second_moment"] - 0.5)
    assert list(lines(layers.forward(same, "t"))) == ["signal z, measured"]
    _, y = lines(layers.forward(apart, "t"))["variance over inputs"]
    assert y.tolist() == [-0.5, -1.5, -2.5, -3.5, -4.5]


@pytest.mark.parametrize(
    ("plot", "quantity"), [*zip((layers.forward, layers.backward), COLUMNS, strict=True)]
)
def test_both_laws_are_drawn_where_they_differ_and_one_where_they_agree(plot, quantity):
    law = -0.9 * table()["layer"]
    apart = table(**{f"predicted_{quantity}": law, f"predicted_typical_{quantity}": law - 0.2})
    drawn = lines(plot(apart, "t"))
    assert drawn["law (expectation)"][1].tolist() == law.tolist()
    assert drawn["law (typical network)"][1].tolist() == (law - 0.2).tolist()
    one = table(**{f"predicted_{quantity}": law, f"predicted_typical_{quantity}": law - 1e-6})
    assert [label for label in lines(plot(one, "t")) if "law" in label] == ["law"]


def test_a_law_that_knows_its_start_alone_is_not_drawn():
    start = table(depth=9)["layer"].map({0: 0.0, 1: -1.0})
    figure = layers.forward(table(depth=9, predicted_log10_second_moment=start), "t")
    assert list(lines(figure)) == ["signal z, measured"]


def test_the_weight_gradient_begins_at_layer_1():
    _, y = lines(layers.backward(table(depth=4), "t"))["∂/∂W, measured"]
    assert np.flatnonzero(np.isnan(y)).tolist() == [0]
    assert y[1:].tolist() == [-4] * 4


def weights_at(value, rate):
    """The picture of networks whose weight gradients all are 10^value."""
    frame = table(rate=rate, depth=4)
    frame.loc[frame["layer"] > 0, "log10_weight_gradient_second_moment"] = value
    return layers.backward(frame, "t")


@pytest.mark.parametrize(
    ("value", "rate", "label", "shown"),
    [
        (-9.5, -1.0, "∂/∂W, measured", True),  # 1.375 of the 4 decades below them
        (-10.5, -1.0, "∂/∂W near 1e-10, not shown", False),
        (6.5, -1.0, "∂/∂W near 1e+6, not shown", False),
        (-1178.0, -1.0, "∂/∂W near 1e-1178, not shown", False),
        (2.3, 0.0, "∂/∂W, measured", True),  # nothing of a flat line can be squeezed
        (-3.1, 0.0, "∂/∂W near 1e-3, not shown", False),
    ],
)
def test_a_weight_gradient_far_off_is_told_and_not_shown(value, rate, label, shown):
    figure = weights_at(value, rate)
    assert label in lines(figure)
    low, high = figure.axes[0].get_ylim()
    assert (low < value < high) == shown
    assert low < min(0, 4 * rate)
    assert high > 0


def test_a_weight_gradient_beneath_the_gradient_is_told_and_drawn_thin():
    frame = table(depth=4)
    near = frame["log10_gradient_second_moment"] + 0.03
    frame["log10_weight_gradient_second_moment"] = near.where(frame["layer"] > 0)
    figure = layers.backward(frame, "t")
    assert "∂/∂W, beneath ∂/∂z" in lines(figure)
    drawn = {line.get_label(): line for line in figure.axes[0].get_lines()}
    weights, gradient = drawn["∂/∂W, beneath ∂/∂z"], drawn["∂/∂z, measured"]
    assert weights.get_linewidth() < gradient.get_linewidth()
    assert weights.get_zorder() < gradient.get_zorder()


def test_a_weight_gradient_alone_is_drawn(tmp_path):
    frame = table().assign(log10_gradient_second_moment=np.nan)
    frame["log10_weight_gradient_second_moment"] = -1.0
    figure = layers.backward(frame, "t")
    assert "∂/∂W, measured" in lines(figure)
    style.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize("note", ["", "4 networks, 1,000 inputs, float64, cpu"])
@pytest.mark.parametrize("plot", ["forward", "backward", "histograms"])
def test_a_note_stands_in_small_between_title_and_legend(plot, note):
    what = [histogram(1, [1, 1])] if plot == "histograms" else table()
    figure = getattr(layers, plot)(what, "a title", note=note)
    notes = [text for text in figure.texts if text.get_text() == note and note]
    assert len(notes) == bool(note)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    title = figure._suptitle.get_window_extent(renderer)
    legend = figure.legends[0].get_window_extent(renderer)
    assert figure.axes[0].get_window_extent(renderer).y1 < legend.y0 < legend.y1 <= title.y0
    for text in notes:
        box = text.get_window_extent(renderer)
        assert legend.y1 <= box.y0 < box.y1 <= title.y0
        assert text.get_fontsize() < figure._suptitle.get_fontsize()
        assert 0 < box.x0 < box.x1 < figure.bbox.x1


def test_the_head_is_a_marker_of_its_own():
    drawn = lines(layers.forward(table(depth=3, head=True), "t"))
    assert drawn["signal z, measured"][0].tolist() == [0, 1, 2, 3]
    assert drawn["head"].T.tolist() == [[4, -4]]


def test_a_signal_that_dies_leaves_a_gap_that_the_legend_names(tmp_path):
    dead = table(depth=6)
    dead.loc[dead["layer"] > 3, "log10_second_moment"] = -np.inf
    dead["log10_variance"] = -np.inf
    figure = layers.forward(dead, "t")
    _, y = lines(figure)["signal z, measured (0 at 4–6)"]
    assert y[:4].tolist() == [0, -1, -2, -3]
    assert np.isnan(y[4:]).all()
    assert "variance over inputs" not in "".join(lines(figure))
    style.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize("plot", [layers.forward, layers.backward])
def test_a_table_without_one_finite_number_is_an_empty_plot(plot, tmp_path):
    nothing = table(replicates=2)
    moments = [column for column in nothing if "log10" in column]
    nothing[moments] = np.nan
    style.save(plot(nothing, "t"), tmp_path / "a.png")


def test_rounding_around_a_flat_line_stays_flat():
    noise = 1e-12 * np.sin(np.arange(31))
    figure = layers.forward(table(depth=30, log10_second_moment=noise, log10_variance=noise), "t")
    low, high = figure.axes[0].get_ylim()
    assert high - low >= 0.5


def test_one_layer_can_be_drawn_with_ticks_at_0_and_1():
    figure = layers.forward(table(depth=1), "t")
    inside = [tick for tick in figure.axes[0].get_xticks() if 0 <= tick <= 1]
    assert inside == [0, 1]


def test_ten_thousand_layers_reach_minus_12000(tmp_path):
    deep = table(depth=10_000, rate=-1.2)
    figure = layers.forward(deep, "t")
    assert lines(figure)["signal z, measured"][1][-1] == -12_000
    low, high = figure.axes[0].get_ylim()
    assert low < -12_000 < 0 < high
    style.save(figure, tmp_path / "a.png")
    renderer = figure.canvas.get_renderer()
    assert figure.axes[0].yaxis.label.get_window_extent(renderer).x0 > 0


def test_of_a_training_the_last_epoch_is_drawn():
    epochs = pd.concat([table(rate=-1.0), table(rate=-2.0).assign(epoch=3)])
    assert lines(layers.forward(epochs, "t"))["signal z, measured"][1][-1] == -8


def histogram(layer, counts, edges=None):
    counts = np.array(counts)
    edges = np.linspace(-6, 6, len(counts) + 1) if edges is None else edges
    return SimpleNamespace(layer=layer, edges=edges, counts=counts)


def test_histograms_are_densities_of_area_one():
    figure = layers.histograms([histogram(n, [0, 3, 1, 0]) for n in (1, 5)], "t")
    for axes, layer in zip(figure.axes, (1, 5), strict=False):
        heights, edges, _ = axes.patches[0].get_data()
        assert heights.tolist() == [0, 0.25, 1 / 12, 0]
        assert heights @ np.diff(edges) == pytest.approx(1)
        assert axes.texts[0].get_text() == f"layer {layer}"


def test_the_reference_is_the_standard_normal_density():
    x, y = layers.histograms([histogram(1, [1, 1])], "t").axes[0].get_lines()[0].get_xydata().T
    assert y[x == 0].item() == pytest.approx(0.3989422804014327)
    assert y[np.isclose(x, 1)].item() == pytest.approx(0.24197072451914337)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_every_column_of_panels_has_its_scale_below_the_lowest(count, tmp_path):
    figure = layers.histograms([histogram(n, [1, 2, 1]) for n in range(count)], "t")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == count
    style.save(figure, tmp_path / "a.png")
    columns = {}
    for axes in shown:
        columns.setdefault(round(axes.get_position().x0, 6), []).append(axes)
    for column in columns.values():
        lowest = min(column, key=lambda axes: axes.get_position().y0)
        labelled = [a for a in column if a.xaxis.get_tick_params()["labelbottom"]]
        assert labelled == [lowest]


def test_a_signal_of_zeros_is_a_peak_and_an_empty_histogram_is_drawn_empty(tmp_path):
    zeros = np.zeros(121, int)
    peak = zeros.copy()
    peak[60] = 1000
    figure = layers.histograms([histogram(1, peak), histogram(2, zeros)], "t")
    assert figure.axes[0].get_ylim()[1] > peak[60] / 1000 / (12 / 121)
    style.save(figure, tmp_path / "a.png")


def test_no_histogram_at_all_is_an_error():
    with pytest.raises(ValueError, match="at least one histogram"):
        layers.histograms([], "t")
