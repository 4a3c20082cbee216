"""What is drawn of certificates, read back from the axes, against counting image by image."""

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lipexp.plots import certificates as plots
from lipexp.plots import style


def table(radii, *, wrong=0, tight=None):
    """Correct images of these radii, and misclassified ones."""
    radii = [*radii, *[0.0] * wrong]
    right = np.arange(len(radii)) < len(radii) - wrong
    frame = pd.DataFrame(
        {
            "index": np.arange(len(radii)),
            "label": 3,
            "prediction": np.where(right, 3, 5),
            "margin": np.where(right, np.array(radii, dtype=float) * math.sqrt(2) + 1e-9, -1.0),
            "slack": 1e-13,
            "radius": np.array(radii, dtype=float),
        }
    )
    frame["radius_tight"] = frame["radius"] * (tight or 1.0)
    return frame


def lines(figure):
    """label -> (x, y)"""
    return {line.get_label(): line.get_xydata().T for line in figure.axes[0].get_lines()}


def notes(figure):
    title, *others = figure.texts
    assert title is figure._suptitle
    return " ".join(text.get_text() for text in others).replace("\n", " ")


def curve(figure):
    (found,) = [xy for label, xy in lines(figure).items() if label.startswith("certified, ")]
    return found


def height(figure, eps):
    """The curve at eps: lines hold their value up to the next step."""
    x, y = curve(figure)
    return y[np.searchsorted(x, eps, side="right") - 1]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.30000000000000004, 1.0]), max_size=9),
    st.integers(0, 3),
    st.lists(
        st.sampled_from(["0.05", "0.1", "1/10", "0.25", "0.3", "1", "36/255", "7"]), max_size=4
    ),
)
@example([0.30000000000000004], 0, ["0.3"])
@example([0.1], 1, ["0.1", "1/10"])
def test_the_curve_and_its_marks_count_images_exactly_as_rationals(radii, wrong, eps):
    figure = plots.certified_accuracy(table(radii, wrong=wrong), eps, "t", "pixels")
    images = max(len(radii) + wrong, 1)
    for place in [0.0, *radii, *(np.nextafter(r, 0) for r in radii if r), 0.2, 0.7]:
        beyond = sum(Fraction(radius) > Fraction(place) for radius in radii)
        assert height(figure, place) == pytest.approx(100 * beyond / images)
    for name in eps:
        # strictly, against the float64 above eps: as exact and as safe as floats can be
        beyond = sum(r > 0 and Fraction(np.nextafter(r, 0)) >= Fraction(name) for r in radii)
        marks = [xy.T for label, xy in lines(figure).items() if label.startswith(f"ε = {name}:")]
        assert len(marks) == 1
        assert marks[0][:, 0] == pytest.approx(float(Fraction(name)))
        assert marks[0][:, 1] == pytest.approx(100 * beyond / images)
        assert marks[0][:, 1] == pytest.approx(height(figure, marks[0][0, 0]))


def test_the_curve_is_made_of_steps():
    figure = plots.certified_accuracy(table([0.5, 1.0]), [], "t", "pixels")
    (line,) = [line for line in figure.axes[0].get_lines() if "certified" in line.get_label()]
    assert line.get_drawstyle() == "steps-post"


def test_a_radius_of_exactly_eps_is_not_certified():
    figure = plots.certified_accuracy(table([0.5, 0.5, 1.0, 1.0]), ["0.5", "1/2"], "t", "pixels")
    assert lines(figure)["ε = 0.5: 50.0 %"][1].tolist() == [50]
    assert lines(figure)["ε = 1/2: 50.0 %"][1].tolist() == [50]
    assert height(figure, 0.5) == 50
    assert height(figure, np.nextafter(0.5, 0)) == 100


def test_ties_and_nan_are_never_correct_and_misclassified_ones_have_no_radius():
    frame = table([0.5, 0.7, 0.9, 1.1])
    frame.loc[0, "margin"] = 0.0
    frame.loc[1, "margin"] = np.nan
    frame.loc[2, ["prediction", "margin"]] = 5, -1e-9  # whatever its radius says
    figure = plots.certified_accuracy(frame, [], "t", "pixels")
    assert lines(figure)["clean: 25.0 %"].T.tolist() == [[0, 25]]
    assert height(figure, 0) == 25


def test_clean_accuracy_stands_at_zero_above_images_of_radius_zero():
    figure = plots.certified_accuracy(table([0.0, 0.0, 1.0], wrong=1), [], "t", "pixels")
    assert lines(figure)["clean: 75.0 %"].T.tolist() == [[0, 75]]
    assert height(figure, 0) == 25


@pytest.mark.parametrize(("images", "label"), [(3, "33.3 %"), (1000, "0.1 %"), (1001, "0.10 %")])
def test_shares_have_the_decimals_that_tell_images_apart(images, label):
    figure = plots.certified_accuracy(table([1.0], wrong=images - 1), ["0.5"], "t", "pixels")
    assert f"ε = 0.5: {label}" in lines(figure)


@pytest.mark.parametrize(
    ("tight", "count", "drawn"),
    [(1.0, 1000, 0), (1.0001, 1000, 0), (1.2, 1000, 1), (1 + 1e-12, 1, 0), (1.2, 1, 1)],
)
def test_tighter_radii_are_drawn_thin_where_they_can_be_told_apart(tight, count, drawn):
    radii = np.linspace(1, 0.01, count)
    figure = plots.certified_accuracy(table(radii, tight=tight), ["0.5"], "t", "pixels")
    found = {line.get_label(): line for line in figure.axes[0].get_lines()}
    tighter = [line for label, line in found.items() if "clamped" in label]
    assert len(tighter) == drawn
    for line in tighter:
        (main,) = [line for label, line in found.items() if label.startswith("certified, ")]
        assert line.get_linewidth() < main.get_linewidth()
        assert line.get_xdata()[-2] == pytest.approx(tight)
        assert figure.axes[0].get_xlim()[1] > tight


def test_a_table_without_tight_radii_has_one_curve():
    figure = plots.certified_accuracy(table([1.0]).drop(columns="radius_tight"), [], "t", "pixels")
    assert len(lines(figure)) == 2


def test_infinite_radii_are_certified_as_far_as_the_axis_goes(tmp_path):
    figure = plots.certified_accuracy(table([np.inf, 0.5], wrong=2), ["2"], "t", "pixels")
    x, y = curve(figure)
    assert y.tolist() == [50, 25, 25]
    assert x[-1] == figure.axes[0].get_xlim()[1] > 2
    style.save(figure, tmp_path / "a.png")


def test_eps_are_told_from_small_to_large_with_their_colours_in_both_pictures():
    eps = ("1", "36/255", "108/255", "72/255")
    for plot in (plots.certified_accuracy, plots.radius_histogram):
        figure = plot(table(np.linspace(0.01, 2, 50)), eps, "t", "pixels")
        found = [line for line in figure.axes[0].get_lines() if line.get_label().startswith("ε")]
        names = [line.get_label().partition(":")[0] for line in found]
        assert names == ["ε = 36/255", "ε = 72/255", "ε = 108/255", "ε = 1"]
        colours = [
            c.get_markeredgecolor() if c.get_marker() != "None" else c.get_color() for c in found
        ]
        assert colours == [style.VERMILION, style.GREEN, style.PURPLE, style.SKY]


def test_the_histogram_is_of_correct_images_with_a_finite_radius_above_zero():
    radii = [0.1, 0.2, 0.2, 0.95, 1.0, 0.0, 0.0, np.inf]
    figure = plots.radius_histogram(table(radii, wrong=3), ["0.3"], "t", "pixels", "a note")
    counts, edges, _ = figure.axes[0].patches[0].get_data()
    assert edges[0] == 0
    assert edges[-1] == 1.0
    assert np.diff(edges) == pytest.approx(np.full(len(counts), 1 / len(counts)))
    assert counts.sum() == 5
    assert counts.tolist() == np.histogram([0.1, 0.2, 0.2, 0.95, 1.0], edges)[0].tolist()
    told = "not drawn: 3 misclassified, 2 correct with radius 0, 1 of infinite radius"
    assert notes(figure) == f"a note; {told}"


def test_a_histogram_that_leaves_nothing_out_has_its_note_alone():
    figure = plots.radius_histogram(table([0.1, 0.2]), [], "t", "pixels", "a note")
    assert notes(figure) == "a note"
    assert notes(plots.radius_histogram(table([0.1]), [], "t", "pixels")) == ""


def test_radii_far_below_eps_are_a_bar_that_can_be_seen():
    figure = plots.radius_histogram(table([0.001, 0.002, 0.0116]), ["1.58"], "t", "pixels")
    counts, edges, _ = figure.axes[0].patches[0].get_data()
    assert counts.sum() == 3
    assert edges[1] - edges[0] >= 0.007 * figure.axes[0].get_xlim()[1]


def test_the_lines_of_a_histogram_stand_at_their_eps():
    figure = plots.radius_histogram(table([0.1, 0.2]), ["0.3", "36/255"], "t", "pixels")
    assert lines(figure)["ε = 0.3"][0] == pytest.approx([0.3, 0.3])
    assert lines(figure)["ε = 36/255"][0] == pytest.approx([36 / 255] * 2)
    assert figure.axes[0].get_xlim()[1] > 0.3


@pytest.mark.parametrize("plot", [plots.certified_accuracy, plots.radius_histogram])
@pytest.mark.parametrize(
    "frame",
    [
        *(table([]), table([], wrong=1), table([0.9]), table([0.0]), table([np.inf])),
        *(table([0.5] * 20), table([1e-300]), table([1e6, 1e-6])),
    ],
    ids=["none", "wrong", "one", "zero", "infinite", "equal", "tiny", "apart"],
)
@pytest.mark.parametrize("eps", [(), ("36/255", "1")])
def test_few_and_odd_radii_are_drawn_inside_the_figure(plot, frame, eps, tmp_path):
    figure = plot(frame, eps, "aol, depth 4, width 512, orthogonal, bias zero, maxmin, mnist", "n")
    style.save(figure, tmp_path / "a.png")
    renderer = figure.canvas.get_renderer()
    axes = figure.axes[0]
    legend = figure.legends[0].get_window_extent(renderer)
    assert axes.get_window_extent(renderer).y1 < legend.y0
    assert legend.x1 < figure.bbox.x1
    for label in (axes.xaxis.label, axes.yaxis.label):
        box = label.get_window_extent(renderer)
        assert 0 < box.x0 < box.x1 < figure.bbox.x1
        assert 0 < box.y0 < box.y1 < figure.bbox.y1


def test_inputs_that_are_no_pixels_are_called_what_they_are():
    for plot in (plots.certified_accuracy, plots.radius_histogram):
        label = plot(table([1.0]), [], "t", inputs="54 features").axes[0].get_xlabel()
        assert "ℓ₂ over 54 features" in label
