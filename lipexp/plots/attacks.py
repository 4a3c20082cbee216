"""What attacks found on certified points: accuracies against eps, and what nearly broke."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipexp import rationals
from lipexp.plots import style
from lipexp.plots.certificates import (
    EPS_MARKERS,
    axis_end,
    correct,
    counted,
    draw_steps,
    positive_radii,
    share_beyond,
)

IMAGE, WORDS = 0.82, 0.2  # inches: a picture's side, and the room under it
FEATURES = 5  # of a row, those that moved most
LINE = 0.125  # inches of a line of text


@style.styled
def attacked_accuracy(
    certificates: pd.DataFrame,
    eps: Sequence[str],
    title: str,
    inputs: str,
    note: str = "",
    word: str = "image",
) -> Figure:
    """Shares of the attacked images, in per cent, certified and standing under attack, against eps.

    ``certificates`` has the columns of certificates.csv with attack_distance and, for each of
    ``eps``, broken_<eps>; images that were not attacked are left out, from the certified curve too.
    What is true lies between the curves.  ``inputs``: what the norm is taken over; ``word``:
    what one of them is called.
    """
    eps = sorted(eps, key=rationals.value)
    tried = certificates[certificates["attack_distance"].notna()]
    radii, images = positive_radii(tried, "radius"), len(tried)
    end = axis_end(radii, eps)
    decimals = 1 if images <= 1000 else 2  # tells single images apart
    figure, axes = style.figure(title)
    label = counted("certified", images, word)
    draw_steps(axes, radii, images, end, color=style.BLUE, lw=1.4, label=label)
    _draw_attacked(axes, tried, max(map(rationals.limit, eps)))
    clean = 100 * correct(tried).mean() if images else 0.0
    look = {"ms": 4.5, "mew": 1.1, "zorder": 3, "ls": "", "clip_on": False}
    label = f"clean: {clean:.{decimals}f} %"
    axes.plot([0], [clean], marker="o", mfc="white", mec=style.BLUE, label=label, **look)
    for position, name in enumerate(eps):
        place, colour = rationals.limit(name), style.eps_colour(position)
        proven = share_beyond(radii, np.array([place]), images).item()
        stands = 100 * (1 - float(tried[f"broken_{name}"].mean())) if images else 0.0
        marker = EPS_MARKERS[position % len(EPS_MARKERS)]
        label = f"{style.eps_label(name)}: {stands:.{decimals}f} % stand, "
        label += f"{proven:.{decimals}f} % certified"
        axes.vlines(place, proven, stands, color=colour, lw=0.8, ls=":", zorder=1.8)
        axes.plot([place], [stands], marker=marker, mfc=colour, mec=colour, label=label, **look)
        axes.plot([place], [proven], marker=marker, mfc="white", mec=colour, **look)
    axes.set(xlim=(0, end), ylim=(0, 100), ylabel="accuracy, %")
    axes.set_xlabel(f"perturbation ε, ℓ₂ over {inputs}")
    style.arrange(figure, note, "the truth lies between the curves")
    return figure


def _draw_attacked(axes: Axes, tried: pd.DataFrame, last: float) -> None:
    """Share of images that no attack broke within eps, up to the largest eps that was attacked."""
    distances = np.sort(tried["attack_distance"].to_numpy(dtype=float))
    x = np.unique([0.0, *distances[distances <= last], last])
    left = distances.size - np.searchsorted(distances, x, side="right")
    label = "standing under attack"
    shares = 100 * left / max(distances.size, 1)
    look = {"color": style.BLACK, "lw": 0.9, "zorder": 1.9, "clip_on": False}
    axes.plot(x, shares, drawstyle="steps-post", label=label, **look)


@style.styled
def closest_images(
    rows: pd.DataFrame, originals: np.ndarray, attacked: np.ndarray, title: str, note: str = ""
) -> Figure:
    """A line for each image: original, attacked, and the difference, with margins and distance.

    ``rows``: index, label, other, margin, attacked_margin, distance; ``originals``, ``attacked``:
    (n, channels, height, width), in [0, 1].  One channel's difference is red where it was made
    brighter and blue where darker, of several it is shown around grey; each to its own largest.
    """
    figure, axes = style.panels(title, rows=len(rows), columns=3, height=IMAGE + WORDS)
    for line, (row, before, after) in enumerate(
        zip(rows.itertuples(), originals, attacked, strict=True)
    ):
        three = axes[3 * line : 3 * line + 3]
        moved = after - before
        most = float(np.abs(moved).max())
        _show(three[0], before, f"margin {row.margin:.3g}")
        _show(three[1], after, f"margin {row.attacked_margin:.3g}")
        _show_difference(three[2], moved, most, f"ℓ₂ {row.distance:.2g}, most {most:.2g}")
        words = f"image {row.index:,}\nlabel {row.label}\nthen {row.other}"
        middle = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 6}
        three[0].set_ylabel(words, labelpad=4, **middle)
    for panel, head in zip(axes, ("original", "attacked", "difference"), strict=False):
        panel.set_title(head, fontsize=7, pad=2)
    style.arrange(figure, note, _said(rows))
    return figure


def _show(axes: Axes, image: np.ndarray, words: str) -> None:
    colours = np.moveaxis(image, 0, -1) if len(image) == 3 else image.mean(axis=0)
    axes.imshow(colours, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _bare(axes, words)


def _show_difference(axes: Axes, moved: np.ndarray, most: float, words: str) -> None:
    span = most or 1.0
    if len(moved) == 3:
        shown = np.clip(np.moveaxis(moved, 0, -1) / (2 * span) + 0.5, 0, 1)
        axes.imshow(shown, interpolation="nearest")
    else:
        look = {"cmap": "RdBu_r", "vmin": -span, "vmax": span, "interpolation": "nearest"}
        axes.imshow(moved.mean(axis=0), **look)
    _bare(axes, words)


def _bare(axes: Axes, words: str) -> None:
    axes.set_anchor("N")
    axes.grid(False)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    axes.set_xlabel(words, fontsize=6, labelpad=2)
    for spine in axes.spines.values():
        spine.set_visible(True)


@style.styled
def closest_rows(
    rows: pd.DataFrame, originals: np.ndarray, attacked: np.ndarray, title: str, note: str = ""
) -> Figure:
    """As `closest_images` for rows of a table, (n, features): the features that moved most."""
    count = min(FEATURES, originals.shape[1])
    figure, axes = style.figure(title, height=LINE * len(rows) * (count + 3))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(rows) * (count + 3), 0))
    at = 0.5
    places = (0.16, 0.44, 0.72, 1.0)
    for row, before, after in zip(rows.itertuples(), originals, attacked, strict=True):
        head = (
            f"row {row.index:,}, label {row.label}, then {row.other}: margin {row.margin:.3g} → "
            f"{row.attacked_margin:.3g}, ℓ₂ {row.distance:.3g}"
        )
        axes.text(-0.12, at, head, va="center", fontsize=7)
        moved = after - before
        order = np.argsort(-np.abs(moved), kind="stable")[:count]
        lines = [("feature", "original", "attacked", "difference")]
        lines += [
            (str(k), f"{before[k]:.4g}", f"{after[k]:.4g}", f"{moved[k]:+.3g}") for k in order
        ]
        for number, line in enumerate(lines, 1):
            colour = style.GREY if number == 1 else style.BLACK
            for place, cell in zip(places, line, strict=True):
                look = {"ha": "right", "va": "center", "fontsize": 6.5, "color": colour}
                axes.text(place, at + number, cell, **look)
        at += count + 3
    style.arrange(figure, note, _said(rows))
    return figure


def _said(rows: pd.DataFrame) -> str:
    broke = int((~(rows["attacked_margin"] > 0)).sum())
    words = "attacked inside the proven radius, least share of the margin left first"
    return f"{words}; {broke:,} BROKE" if broke else f"{words}; none broke"
