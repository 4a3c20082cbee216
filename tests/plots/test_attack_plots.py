"""What is drawn of attacks, read back from the axes, against counting image by image."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp import rationals
from lipexp.plots import attacks as plots
from lipexp.plots import style


def table(radii, distances, eps, *, rest=0):
    """Images of these radii (0: misclassified, as a distance of 0 says) and ``rest`` unattacked."""
    distances = np.array([*distances, *[np.nan] * rest], dtype=float)
    radii = np.array([*radii, *[9.0] * rest], dtype=float)
    frame = pd.DataFrame({"index": range(len(radii)), "radius": radii})
    frame["margin"] = np.where(distances == 0, -1.0, radii + 1e-9)
    frame["attack_distance"] = distances
    for name in eps:
        broken = pd.array(distances <= float(rationals.value(name)), dtype="boolean")
        broken[np.isnan(distances)] = pd.NA
        frame[f"broken_{name}"] = broken
    return frame


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def height(line, eps):
    x, y = line.get_xydata().T
    return y[np.searchsorted(x, eps, side="right") - 1]


shares = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.3]), st.sampled_from([0.3, 0.5, 1.0, np.inf])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30, deadline=None)
@given(shares, st.integers(0, 3), st.integers(0, 3))
def test_both_curves_count_the_attacked_images_alone(pairs, wrong, rest):
    eps = ["0.2", "1/2", "0.9"]
    radii = [*(radius for radius, _ in pairs), *[0.0] * wrong]
    distances = [*(distance for _, distance in pairs), *[0.0] * wrong]
    figure = plots.attacked_accuracy(table(radii, distances, eps, rest=rest), eps, "t", "pixels")
    found, images = lines(figure), len(radii)
    (certified,) = [line for label, line in found.items() if label.startswith("certified, ")]
    attacked = found["standing under attack"]
    assert f"{images:,} image" in certified.get_label()
    for place in (0.0, 0.05, 0.1, 0.2, 0.3, 0.31, 0.5, 0.7, 0.9):
        holds = 100 * np.mean([radius > place for radius in radii])
        stands = 100 * np.mean([distance > place for distance in distances])
        assert height(certified, place) == pytest.approx(holds)
        assert height(attacked, place) == pytest.approx(stands)
        assert holds <= stands
    assert attacked.get_xdata()[-1] == rationals.limit("0.9")
    for name in eps:
        place = rationals.limit(name)
        (label,) = [label for label in found if label.startswith(f"ε = {name}:")]
        stands = height(attacked, place)
        assert found[label].get_ydata() == pytest.approx([stands])
        assert label == (
            f"ε = {name}: {stands:.1f} % stand, {height(certified, place):.1f} % certified"
        )


def rows(count, broke=False):
    return pd.DataFrame(
        {
            "index": [7, 1234, 99999, 4, 5][:count],
            "label": 3,
            "other": 5,
            "margin": np.linspace(1e-3, 12.5, count),
            "attacked_margin": np.linspace(-1e-3 if broke else 1e-4, 1.0, count),
            "distance": np.linspace(1e-4, 2.0, count),
        }
    )


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5])
def test_a_line_shows_an_image_before_and_after_and_what_was_moved(channels, count, tmp_path):
    generator = np.random.default_rng(0)
    before = generator.random((count, channels, 8, 8))
    after = np.clip(before + 0.1 * generator.standard_normal(before.shape), 0, 1)
    figure = plots.closest_images(rows(count), before, after, "a title", "a note")
    assert len(figure.axes) == 3 * count
    for line in range(count):
        first, second, third = (axes.images[0] for axes in figure.axes[3 * line : 3 * line + 3])
        if channels == 3:
            assert np.array_equal(first.get_array(), np.moveaxis(before[line], 0, -1))
            assert np.array_equal(second.get_array(), np.moveaxis(after[line], 0, -1))
        else:
            assert np.array_equal(first.get_array(), before[line].mean(0))
            assert np.allclose(third.get_array(), (after - before)[line].mean(0))
            assert third.get_clim() == pytest.approx(
                (-np.abs(after - before)[line].max(), np.abs(after - before)[line].max())
            )
            assert first.get_clim() == (0, 1)
    style.save(figure, tmp_path / "a.png")
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0


def words(figure):
    found = [text.get_text() for text in figure.texts]
    return " ".join(" ".join(found).split())


def test_what_broke_is_said_and_so_is_that_nothing_did():
    images = np.zeros((2, 1, 4, 4))
    assert "none broke" in words(plots.closest_images(rows(2), images, images, "t"))
    figure = plots.closest_images(rows(2, broke=True), images, images + 0.1, "t")
    assert "1 BROKE" in words(figure)


@pytest.mark.parametrize(("count", "features"), [(1, 1), (5, 54), (2, 3)])
def test_rows_of_a_table_show_the_features_that_moved_most(count, features, tmp_path):
    generator = np.random.default_rng(0)
    before = generator.standard_normal((count, features))
    moved = generator.standard_normal((count, features))
    figure = plots.closest_rows(rows(count), before, before + moved, "a title", "a note")
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert sum("margin" in cell for cell in cells) == count
    for line in range(count):
        most = int(np.abs(moved[line]).argmax())
        place = cells.index(f"{moved[line, most]:+.3g}")
        assert cells[place - 3 : place] == [
            str(most),
            f"{before[line, most]:.4g}",
            f"{before[line, most] + moved[line, most]:.4g}",
        ]
    style.save(figure, tmp_path / "a.png")
    renderer = figure.canvas.get_renderer()
    for text in figure.axes[0].texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
