"""What the figures of histograms share: bins in root mean squares of a layer, panel by panel.

Fifteen layers can so be seen in one picture: each is a mixture of Gaussians over inputs and units,
more pointed with depth as the inputs' lengths spread.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.figures import page
from lipexp.figures.figure import Check, Setting, Tables
from lipexp.plots import style
from lipexp.plots.densities import draw_densities


def with_scale(tables: Tables, layer: str = "layer") -> Tables:
    """``histograms`` of a figure of variances, with ``log10_rms`` of each layer, over networks.

    ``layer``: the column of its ``variance`` that numbers the layers.
    """
    scale = tables["variance"].groupby(layer)["log10_second_moment"].mean() / 2
    histograms = tables["histograms"]
    return {"histograms": histograms.assign(log10_rms=histograms["layer"].map(scale))}


@style.styled
def panels(table: pd.DataFrame, title: str, note: str, symbol: str) -> Figure:
    """One panel per layer of columns layer, low, high, count, log10_rms."""
    layers = sorted(set(table["layer"]))
    columns = 3
    figure, grid = page.page(
        title, rows=-(-len(layers) // columns), columns=columns, width=page.TWO, height=1.1
    )
    densities = []
    for axes, layer in zip(grid, layers, strict=False):
        rows = table[table["layer"] == layer]
        edges = np.append(rows["low"], rows["high"].iloc[-1])
        densities.append((edges, rows["count"] / (rows["count"].sum() * np.diff(edges))))
        size = f"layer {layer}\nrms {10 ** rows['log10_rms'].iloc[0]:.2g}"
        axes.text(0.03, 0.96, size, va="top", transform=axes.transAxes, fontsize=7)
    label = f"{symbol} / rms({symbol})"
    peak = draw_densities(grid, columns, densities, label)
    # A peak far above the normal density is cut: it says "a point mass" and no more.
    grid[0].set_ylim(0, 1.15 * min(peak, 1.6))
    page.arrange(figure, note, height=1.1)
    figure.supxlabel(label, fontsize=8, y=0.015)
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
