"""What is drawn of a training, read back from the axes."""

import numpy as np
import pandas as pd
import pytest

from lipexp.plots import panels, style, training


def metrics(epochs=4, eps=("0.3", "1.58"), validation=False, loss=0.5):
    """A training whose accuracies rise to 0.98 while the loss halves with every epoch."""
    epoch = np.arange(1, epochs + 1)
    accuracy = 0.98 - 0.1 / epoch
    frame = pd.DataFrame(
        {
            "epoch": epoch,
            "step": 235 * epoch,
            "lr": 0.003 * (1 - epoch / (epochs + 1)),
            "train_loss": loss**epoch,
            "train_accuracy": accuracy + 0.005,
        }
    )
    for prefix in ("", "validation_") if validation else ("",):
        frame[f"{prefix or 'test_'}accuracy"] = accuracy - 0.01 * bool(prefix)
        for position, name in enumerate(eps):
            shift = 0.1 * (position + 1) + 0.01 * bool(prefix)
            frame[f"{prefix}estimated_cra_{name}"] = accuracy - shift
    return frame.assign(seconds=10.0, images_per_second=6000.0)


def curves(axes):
    """(colour, dashes) -> (x, y) of the lines that hold data and are no hairs."""
    lines = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    drawn = [line for line in lines if len(line.get_xdata())]
    found = {(line.get_color(), line.get_linestyle()): line.get_xydata().T for line in drawn}
    assert len(found) == len(drawn), "no two lines look the same"
    return found


def texts(axes):
    return [text.get_text() for text in axes.texts]


def boxes(figure, artists):
    figure.canvas.draw()
    return [artist.get_window_extent(figure.canvas.get_renderer()) for artist in artists]


def test_accuracies_are_per_cent_against_the_epoch_dashed_for_training():
    table = metrics()
    loss, accuracy, rate = training.learning_curves(table, "t").axes
    drawn = curves(accuracy)
    assert set(drawn) == {
        (style.BLUE, "--"),
        (style.BLUE, "-"),
        (style.VERMILION, "-"),
        (style.GREEN, "-"),
    }
    for key, column in {
        (style.BLUE, "--"): "train_accuracy",
        (style.BLUE, "-"): "test_accuracy",
        (style.VERMILION, "-"): "estimated_cra_0.3",
        (style.GREEN, "-"): "estimated_cra_1.58",
    }.items():
        x, y = drawn[key]
        assert x.tolist() == [1, 2, 3, 4]
        assert y.tolist() == (100 * table[column]).tolist()
    assert curves(loss)[style.BLACK, "--"][1].tolist() == table["train_loss"].tolist()
    assert curves(rate)[style.GREY, "-"][1].tolist() == table["lr"].tolist()
    assert rate.get_ylim()[0] == 0


def test_validation_is_dotted_in_the_colours_of_the_test_set():
    figure = training.learning_curves(metrics(validation=True), "t")
    drawn = curves(figure.axes[1])
    assert drawn[style.VERMILION, ":"][1] == pytest.approx(drawn[style.VERMILION, "-"][1] - 1)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["training", "test", "validation"]
    plain = training.learning_curves(metrics(), "t").legends[0].get_texts()
    assert [text.get_text() for text in plain] == ["training", "test"]


def test_eps_are_named_at_the_ends_of_their_lines_by_size_not_by_column():
    figure = training.learning_curves(metrics(eps=("1", "36/255", "72/255")), "t")
    assert set(texts(figure.axes[1])) == {"clean", "ε = 36/255", "ε = 72/255", "ε = 1"}
    drawn = curves(figure.axes[1])
    smallest = drawn[style.VERMILION, "-"][1]
    assert smallest == pytest.approx(100 * metrics(eps=("36/255",))["estimated_cra_36/255"] - 10)


@pytest.mark.parametrize("epochs", [1, 2, 16, 100])
@pytest.mark.parametrize("gap", [0.0, 1e-4, 0.2])
def test_names_of_lines_overlap_nothing_and_are_not_cut(epochs, gap):
    eps = ("9/255", "18/255", "36/255", "72/255", "108/255", "1")
    table = metrics(epochs, eps)
    for position, name in enumerate(eps):
        table[f"estimated_cra_{name}"] = table["test_accuracy"] - gap * position
    figure = training.learning_curves(table, "a title", "a note")
    axes = figure.axes[1]
    found = boxes(figure, axes.texts)
    inside = axes.get_window_extent()
    for number, box in enumerate(found):
        assert inside.x1 < box.x0 < box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in found[:number])
    by_height = sorted(zip(found, texts(axes), strict=True), key=lambda pair: -pair[0].y0)
    if gap:
        assert [text for _, text in by_height] == ["clean", *(f"ε = {name}" for name in eps)]


def test_labels_keep_their_distance_and_their_order_and_are_moved_no_more_than_needed():
    assert panels._apart([0, 5, 9], 2).tolist() == [0, 5, 9]
    assert panels._apart([1, 1], 2).tolist() == [0, 2]
    assert panels._apart([1, 1, 1], 2).tolist() == [-1, 1, 3]
    placed = panels._apart([0, 0.1, 7, 7.5, 7.6, 20], 1)
    assert (np.diff(placed) >= 1 - 1e-12).all()
    assert placed[-1] == 20


def test_what_is_not_finite_or_missing_is_left_out():
    table = metrics(5)
    table.loc[2, "train_loss"] = np.inf
    table.loc[[1, 3], "test_accuracy"] = np.nan
    loss, accuracy, _ = training.learning_curves(table.drop(columns="estimated_cra_0.3"), "t").axes
    assert curves(loss)[style.BLACK, "--"][0].tolist() == [1, 2, 4, 5]
    assert curves(accuracy)[style.BLUE, "-"][0].tolist() == [1, 3, 5]
    assert "ε = 0.3" not in texts(accuracy)


@pytest.mark.parametrize(("epochs", "marker"), [(1, "o"), (12, "o"), (13, "")])
def test_a_few_epochs_are_marked_so_that_one_can_be_seen(epochs, marker, tmp_path):
    figure = training.learning_curves(metrics(epochs), "t")
    for axes in figure.axes[:2]:
        shown = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
        assert {line.get_marker() for line in shown if len(line.get_xdata())} == {marker}
    style.save(figure, tmp_path / "a.png")


def test_a_tiny_learning_rate_has_plain_ticks(tmp_path):
    figure = training.learning_curves(metrics(1).assign(lr=7e-6), "t")
    style.save(figure, tmp_path / "a.png")
    axis = figure.axes[2].yaxis
    assert axis.get_offset_text().get_text() == ""
    assert "4e-06" in [label.get_text() for label in axis.get_ticklabels()]


def test_no_epoch_at_all_is_drawn_empty(tmp_path):
    figure = training.learning_curves(metrics(3).iloc[:0], "t")
    assert curves(figure.axes[1]) == {}
    style.save(figure, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("loss", "epochs", "scale"), [(0.5, 4, "linear"), (0.1, 2, "log"), (0.1, 6, "log")]
)
def test_a_loss_that_falls_over_a_decade_is_logarithmic_with_plain_numbers(loss, epochs, scale):
    figure = training.learning_curves(metrics(epochs, loss=loss), "t")
    axes = figure.axes[0]
    assert axes.get_yscale() == scale
    figure.canvas.draw()
    shown = [tick.get_text() for tick in axes.get_yticklabels() if tick.get_text()]
    assert shown
    assert not any("$" in text for text in shown)
    low, high = axes.get_ylim()
    assert low <= loss**epochs < loss <= high


def test_a_loss_of_zero_or_below_zero_is_drawn():
    for lowest in (0.0, -1.0):
        table = metrics(3).assign(train_loss=[2.0, 1.0, lowest])
        axes = training.learning_curves(table, "t").axes[0]
        assert axes.get_yscale() == "linear"
        assert axes.get_ylim()[0] <= lowest


def test_the_note_says_that_certified_accuracy_is_an_estimate_where_there_is_one():
    told = "at ε: certified accuracy as estimated while training"
    for note, eps, expected in (
        ("4 epochs", ("1",), f"4 epochs; {told}"),
        ("", ("1",), told),
        ("4 epochs", (), "4 epochs"),
    ):
        figure = training.learning_curves(metrics(eps=eps), "t", note)
        assert expected in [text.get_text() for text in figure.texts]


# layers.csv of a training


def layers(epochs=(0, 1, 5), depth=4, head=False, replicates=1, rate=-1.0):
    """Signals that decay by ``rate`` / (epoch + 1) per layer; replicate r lies r above 0."""
    parts = []
    for epoch in epochs:
        for replicate in range(replicates):
            layer = np.arange(depth + 1 + head)
            decaying = rate / (epoch + 1) * layer + replicate
            names = ["input", *(f"body.layer{n}" for n in range(1, depth + 1)), *["head"] * head]
            columns = {"epoch": epoch, "replicate": replicate, "layer": layer, "name": names}
            columns["log10_second_moment"] = decaying
            columns["log10_gradient_second_moment"] = decaying[::-1] - 3
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def bodies(axes):
    """Lines with data, in the order of drawing."""
    return [
        line for line in axes.get_lines() if line.get_linestyle() == "-" and line.get_xdata().size
    ]


def lightness(line):
    from matplotlib.colors import to_rgb

    return sum(to_rgb(line.get_color()))


def test_every_probed_epoch_is_a_line_in_both_panels_the_later_the_darker():
    up, down = training.layers_over_training(layers(), "t").axes
    for axes, row in (
        (up, lambda e: -np.arange(5) / (e + 1)),
        (down, lambda e: -(4 - np.arange(5)) / (e + 1) - 3),
    ):
        drawn = bodies(axes)
        assert [line.get_label() for line in drawn] == ["epoch 0", "epoch 1", "epoch 5"]
        for line, epoch in zip(drawn, (0, 1, 5), strict=True):
            assert line.get_xdata().tolist() == [0, 1, 2, 3, 4]
            assert line.get_ydata() == pytest.approx(row(epoch))
        shades = [lightness(line) for line in drawn]
        assert shades == sorted(shades, reverse=True)
        assert len(set(shades)) == 3


def test_the_epochs_that_are_probed_by_themselves_are_all_named():
    probed = [0, 1, 2, 5, 10, 20, 50, 100, 200]
    figure = training.layers_over_training(layers(probed), "t")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"epoch {n}" for n in probed]


def test_of_many_epochs_six_are_named_first_and_last_among_them(tmp_path):
    figure = training.layers_over_training(layers(range(101)), "t")
    assert len(bodies(figure.axes[0])) == 101
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"epoch {n}" for n in (0, 20, 40, 60, 80, 100)]
    style.save(figure, tmp_path / "a.png")


def test_replicates_are_averaged_in_the_logarithm():
    table = layers((0,), depth=2, replicates=3)
    (line,) = bodies(training.layers_over_training(table, "t").axes[0])
    assert line.get_ydata().tolist() == [1, 0, -1]


def test_a_table_without_replicates_is_one_network():
    table = layers((0,), depth=2).drop(columns="replicate")
    (line,) = bodies(training.layers_over_training(table, "t").axes[0])
    assert line.get_ydata().tolist() == [0, -1, -2]


def test_the_head_is_a_hollow_marker_apart_from_the_layers():
    figure = training.layers_over_training(layers((0, 5), depth=3, head=True), "t")
    axes = figure.axes[0]
    assert [line.get_xdata().tolist() for line in bodies(axes)] == [[0, 1, 2, 3]] * 2
    heads = [
        line for line in axes.get_lines() if line.get_marker() == "D" and line.get_xdata().size
    ]
    assert [line.get_xydata().tolist() for line in heads] == [
        [[4, -4]],
        [[4, pytest.approx(-4 / 6)]],
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "head"


@pytest.mark.parametrize(
    ("epochs", "depth", "head"),
    [((0,), 1, False), ((0, 3), 1, True), ((7,), 200, True), ((), 1, False)],
)
def test_one_epoch_one_layer_and_none_are_drawn(epochs, depth, head, tmp_path):
    table = layers(epochs, depth, head) if epochs else layers().iloc[:0]
    figure = training.layers_over_training(table, "t", "a note")
    assert len(bodies(figure.axes[0])) == len(epochs)
    style.save(figure, tmp_path / "a.png")


def test_a_signal_that_dies_leaves_a_gap_and_the_note_says_so(tmp_path):
    table = layers(depth=6)
    assert not any("gaps" in t.get_text() for t in training.layers_over_training(table, "t").texts)
    table.loc[(table["epoch"] == 1) & (table["layer"] > 3), "log10_second_moment"] = -np.inf
    figure = training.layers_over_training(table, "t", "a note")
    drawn = bodies(figure.axes[0])[1].get_ydata()
    assert np.flatnonzero(np.isnan(drawn)).tolist() == [4, 5, 6]
    assert "a note; gaps: exactly 0" in [text.get_text() for text in figure.texts]
    style.save(figure, tmp_path / "a.png")


def test_a_gradient_that_was_not_probed_leaves_its_panel_empty(tmp_path):
    table = layers().assign(log10_gradient_second_moment=np.nan)
    figure = training.layers_over_training(table, "t")
    assert all(np.isnan(line.get_ydata()).all() for line in bodies(figure.axes[1]))
    assert not any("gaps" in text.get_text() for text in figure.texts)
    style.save(figure, tmp_path / "a.png")
