"""Histograms in root mean squares, a panel each, with the standard normal density dashed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lipexp.plots import style


def draw_densities(
    grid: Sequence[Axes],
    columns: int,
    densities: Sequence[tuple[np.ndarray, np.ndarray]],
    label: str,
) -> float:
    """Draws (edges, density) of each panel, (bins + 1,) and (bins,), in units of the root mean
    square; panels of the grid beyond these vanish.

    Panels share their axes, and y is left to whoever calls.  Returns the highest density.
    """
    x = np.linspace(-4, 4, 161)
    normal = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    for axes, (edges, density) in zip(grid, densities, strict=False):
        axes.stairs(density, edges, fill=True, color=style.SKY, lw=0, label=label)
        axes.plot(x, normal, "--", color="black", lw=0.9, label="N(0, 1)")
    for position, axes in enumerate(grid):
        axes.set_visible(position < len(densities))
        lowest = position + columns >= len(densities)  # nothing is drawn below it
        axes.tick_params(labelbottom=lowest)
    grid[0].set(xlim=(-4, 4), xticks=(-3, 0, 3))
    grid[0].yaxis.set_major_locator(MaxNLocator(3))
    return max(normal.max(), *(density.max() for _, density in densities))
