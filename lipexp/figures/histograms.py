"""What the figures of histograms share: bins in root mean squares of a layer, panel by panel.

Fifteen layers can so be seen in one picture: each is a mixture of Gaussians over inputs and units,
more pointed with depth as the inputs' lengths spread.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lipexp.figures import page
from lipexp.figures.figure import Check, Setting
from lipexp.plots import style


def with_scale(histograms: pd.DataFrame, variance: pd.DataFrame, layer: str) -> pd.DataFrame:
    """Histograms with ``log10_rms`` of their layer, mean over networks.

    ``layer``: the column of ``variance`` that numbers the layers.
    """
    scale = variance.groupby(layer)["log10_second_moment"].mean() / 2
    return histograms.assign(log10_rms=histograms["layer"].map(scale))


@style.styled
def panels(table: pd.DataFrame, title: str, note: str, symbol: str) -> Figure:
    """One panel per layer of columns layer, low, high, count, log10_rms."""
    layers = sorted(set(table["layer"]))
    columns = 3
    figure, grid = page.page(
        title, rows=-(-len(layers) // columns), columns=columns, width=page.TWO, height=1.1
    )
    x = np.linspace(-4, 4, 161)
    normal = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    peak = normal.max()
    for axes, layer in zip(grid, layers, strict=False):
        rows = table[table["layer"] == layer]
        edges = np.append(rows["low"], rows["high"].iloc[-1])
        density = rows["count"] / (rows["count"].sum() * np.diff(edges))
        peak = max(peak, density.max())
        look = {"fill": True, "color": style.SKY, "lw": 0}
        axes.stairs(density, edges, label=f"{symbol} / rms({symbol})", **look)
        axes.plot(x, normal, "--", color="black", lw=0.9, label="N(0, 1)")
        size = f"layer {layer}\nrms {10 ** rows['log10_rms'].iloc[0]:.2g}"
        axes.text(0.03, 0.96, size, va="top", transform=axes.transAxes, fontsize=7)
    for position, axes in enumerate(grid):
        axes.set_visible(position < len(layers))
        axes.tick_params(labelbottom=position + columns >= len(layers))
    # A peak far above the normal density is cut: it says "a point mass" and no more.
    grid[0].set(xlim=(-4, 4), ylim=(0, 1.15 * min(peak, 1.6)), xticks=(-3, 0, 3))
    grid[0].yaxis.set_major_locator(MaxNLocator(3))
    page.arrange(figure, note, height=1.1)
    figure.supxlabel(f"{symbol} / rms({symbol})", fontsize=8, y=0.015)
    figure.supylabel("density", fontsize=8, x=0.012)
    return figure


def kurtosis(table: pd.DataFrame, layer: int) -> float:
    """E x^4 / (E x^2)^2 of a layer's histogram, by the middles of its bins."""
    rows = table[table["layer"] == layer]
    middle = (rows["low"] + rows["high"]) / 2
    share = rows["count"] / rows["count"].sum()
    return float((share * middle**4).sum() / (share * middle**2).sum() ** 2)


def kurtosis_checks(
    table: pd.DataFrame, setting: Setting, symbol: str, layers: tuple[int, ...]
) -> list[Check]:
    """The kurtosis of some layers, beside which no law stands."""
    n = f"{setting['networks']} networks, {setting['inputs']} inputs each"
    return [
        Check(
            f"kurtosis of {symbol}_{layer}, width {setting['width']} (3: normal)",
            ours=kurtosis(table, layer),
            n=n,
        )
        for layer in layers
    ]
