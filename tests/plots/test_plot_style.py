"""One style: a column of print, the same bytes for the same data, nothing left half-written."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from lipexp.plots import style


@style.styled
def line(values, title="a title"):
    figure, axes = style.figure(title)
    axes.plot(values, label="a line")
    style.arrange(figure)
    return figure


def test_the_same_data_give_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        style.save(line([1, 2, 4]), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"Software" not in (tmp_path / "a.png").read_bytes()


def test_a_figure_is_one_column_wide_at_200_dots_per_inch(tmp_path):
    style.save(line([1, 2, 4]), tmp_path / "a.png")
    assert imread(tmp_path / "a.png").shape[1] == 700


def test_saving_makes_the_folder_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "plots" / "a.png"
    style.save(line([1, 2]), path)
    before = path.read_bytes()
    style.save(line([2, 1]), path)
    assert path.read_bytes() != before
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


def test_a_plot_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    (tmp_path / "a.png" / "in_the_way").mkdir(parents=True)
    with pytest.raises(OSError):  # noqa: PT011 - its kind depends on the system
        style.save(line([1, 2]), tmp_path / "a.png")
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_settings_do_not_leak_into_matplotlib():
    before = dict(matplotlib.rcParams)
    line([1, 2])
    assert dict(matplotlib.rcParams) == before


def test_the_legend_and_a_long_title_cover_no_data():
    figure = line([1, 2, 3], title="a title that is much longer than a line of the figure " * 3)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    top = figure.axes[0].get_window_extent(renderer).y1
    legend = figure.legends[0].get_window_extent(renderer)
    title = figure._suptitle.get_window_extent(renderer)
    assert top < legend.y0 < legend.y1 < title.y0 < title.y1 < figure.bbox.y1
    assert 0 < title.x0 < title.x1 < figure.bbox.x1


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([1.0, 1.0 + 1e-12], 0.75, 1.25),
        ([-100.0, 0.0], -104.0, 4.0),
        ([np.nan, -np.inf, 2.0], 1.75, 2.25),
        ([np.nan], -0.25, 0.25),
    ],
)
def test_y_limits_surround_the_finite_values_and_never_magnify_rounding(values, low, high):
    _, axes = style.figure("")
    style.widen(axes, [np.array(values)])
    assert axes.get_ylim() == pytest.approx((low, high))


def test_plots_import_no_pyplot():
    modules = ("layers", "decay", "training", "certificates", "robustness")
    names = ", ".join(f"lipexp.plots.{name}" for name in modules)
    code = f"import sys, {names}; print('pyplot' in str(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
