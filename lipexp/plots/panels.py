"""Panels one below the other, and names at the ends of lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipexp.plots import style

LETTER, LEADER = 0.056, 0.14  # inches: of a label at the end of a line, and from the axes to it
LABEL_LINE = 0.11  # inches between the middles of two labels


def stacked(title: str, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """An empty figure of panels of these heights, in inches, that share the x axis alone."""
    figure, only = style.figure(title, height=sum(heights) + (len(heights) - 1) * style.GAP)
    only.remove()
    grid = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)
    return figure, list(grid.flat)


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Names lines, label -> (y, x, colour) of the end, to the right of the axes, which shrink.

    A hair leads from an end to its label, and labels keep a line's distance.
    """
    if not ends:
        return
    room = LEADER + LETTER * max(map(len, ends)) + 0.04
    axes.figure.subplots_adjust(right=1 - room / style.COLUMN)
    box = axes.get_position()
    inch = 1 / (box.width * style.COLUMN)  # in shares of the axes' width
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    # from the highest down; of ends at the same height the first stays on top
    ends = dict(sorted(ends.items(), key=lambda item: item[1][0], reverse=True))
    tall = box.height * axes.figure.get_figheight()
    places = -_apart([-y for y, _, _ in ends.values()], LABEL_LINE / tall * (high - low))
    for (label, (y, x, colour)), place in zip(ends.items(), places, strict=True):
        start, stop = (x - left) / (right - left), 1 + (LEADER - 0.02) * inch
        hair = {"color": colour, "lw": 0.7, "clip_on": False, "zorder": 1.9}
        across = axes.get_yaxis_transform()
        axes.plot([start, 1 + 0.03 * inch, stop], [y, y, place], transform=across, **hair)
        where = {"va": "center_baseline", "fontsize": 7, "transform": across}
        axes.text(1 + LEADER * inch, place, label, **where)


def _apart(values: Sequence[float], distance: float) -> np.ndarray:
    """Ascending values moved as little as brings neighbours to at least this distance.

    The mean of pushing up from below and pushing down from above: both keep the distance.
    """
    steps = distance * np.arange(len(values))
    loose = np.asarray(values) - steps
    up = np.maximum.accumulate(loose)
    down = np.minimum.accumulate(loose[::-1])[::-1]
    return (up + down) / 2 + steps
