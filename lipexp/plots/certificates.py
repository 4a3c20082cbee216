"""What a trained network certifies: accuracy against the size of the perturbation, and radii."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lipexp import rationals
from lipexp.plots import style

# A second curve can be told from the first where it lies so far above it and to its right.
ABOVE, BESIDE = 0.4, 0.004  # per cent of all images, share of the x axis
MARGIN = 1.03  # where the x axis ends, relative to the last thing in it
LEAST_BINS, MOST_BINS = 10, 60
NARROWEST = 0.01  # share of the x axis, the least width of a bin


@style.styled
def certified_accuracy(
    certificates: pd.DataFrame,
    eps: Sequence[str],
    title: str,
    inputs: str,
    note: str = "",
    word: str = "image",
) -> Figure:
    """Share of all images, in per cent, that are correct with radius > eps, against eps (l2).

    ``certificates`` has the columns of certificates.csv, one row per image.  The curve is exact: it
    steps at every radius.  Each of ``eps``, texts such as "36/255", is marked, compared as the
    exact rational that it is; the clean accuracy stands at 0.  The curve of ``radius_tight`` is
    drawn thin where it can be told from the other.  ``inputs``: what the norm is taken over;
    ``word``: what one of them is called.
    """
    radii, images = positive_radii(certificates, "radius"), len(certificates)
    tight = radii
    if "radius_tight" in certificates:
        tight = positive_radii(certificates, "radius_tight")
    eps = sorted(eps, key=rationals.value)
    end = axis_end(np.union1d(radii, tight), eps)
    gained = share_beyond(tight, radii + BESIDE * end, images) - share_beyond(radii, radii, images)
    tighter = gained.max(initial=0.0) >= ABOVE
    if not tighter:
        end = axis_end(radii, eps)
    decimals = 1 if images <= 1000 else 2  # tells single images apart

    figure, axes = style.figure(title)
    label = counted("certified", images, word)
    draw_steps(axes, radii, images, end, color=style.BLUE, lw=1.4, label=label)
    if tighter:
        label = "bounds not clamped at 1"
        draw_steps(axes, tight, images, end, color=style.BLACK, lw=0.7, zorder=1.9, label=label)
    clean = 100 * correct(certificates).mean() if images else 0.0
    look = {"ms": 4.5, "mfc": "white", "mew": 1.1, "zorder": 3, "ls": "", "clip_on": False}
    label = f"clean: {clean:.{decimals}f} %"
    axes.plot([0], [clean], marker=style.MARKERS[0], mec=style.BLUE, label=label, **look)
    for position, name in enumerate(eps):
        limit, colour = rationals.limit(name), style.eps_colour(position)
        share = share_beyond(radii, np.array([limit]), images).item()
        axes.vlines(limit, 0, share, color=colour, lw=0.8, ls=":", zorder=1.8)
        marker = EPS_MARKERS[position % len(EPS_MARKERS)]
        label = f"{style.eps_label(name)}: {share:.{decimals}f} %"
        axes.plot([limit], [share], marker=marker, mec=colour, label=label, **look)
    axes.set(xlim=(0, end), ylim=(0, 100), ylabel="certified accuracy, %")
    axes.set_xlabel(f"perturbation ε, ℓ₂ over {inputs}")
    style.arrange(figure, note)
    return figure


@style.styled
def radius_histogram(
    certificates: pd.DataFrame,
    eps: Sequence[str],
    title: str,
    inputs: str,
    note: str = "",
    word: str = "image",
) -> Figure:
    """Certified radii (l2) of the correctly classified images; each of ``eps`` is a line.

    What cannot stand in a histogram of radii is counted in the note: misclassified images, correct
    ones whose radius is 0, and infinite radii.  Otherwise as `certified_accuracy`.
    """
    right = correct(certificates)
    radii = positive_radii(certificates, "radius")
    drawn = radii[np.isfinite(radii)]
    eps = sorted(eps, key=rationals.value)
    end = axis_end(drawn, eps)
    figure, axes = style.figure(title)
    label = counted("correct", drawn.size, word)
    edges = _bins(drawn, end)
    counts, _ = np.histogram(drawn, edges)
    axes.stairs(counts, edges, fill=True, color=style.SKY, lw=0, label=label)
    for position, name in enumerate(eps):
        look = {"color": style.eps_colour(position), "ls": _DASHES[position % len(_DASHES)]}
        axes.axvline(rationals.limit(name), lw=1.2, label=style.eps_label(name), **look)
    axes.set(xlim=(0, end), ylim=(0, 1.08 * max(counts.max(initial=0), 1)), ylabel=f"{word}s")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(f"certified radius, ℓ₂ over {inputs}")
    left_out = {
        "misclassified": len(right) - right.sum(),
        "correct with radius 0": right.sum() - radii.size,
        "of infinite radius": radii.size - drawn.size,
    }
    told = ", ".join(f"{count:,} {what}" for what, count in left_out.items() if count)
    style.arrange(figure, note, told and f"not drawn: {told}")
    return figure


EPS_MARKERS = style.MARKERS[1:]  # the first is the clean accuracy's
_DASHES = ("-", "--", "-.", ":")


def correct(certificates: pd.DataFrame) -> np.ndarray:
    """The label alone has the highest score: a tie is no prediction, and NaN is none."""
    return (certificates["margin"] > 0).to_numpy(dtype=bool)


def positive_radii(certificates: pd.DataFrame, column: str) -> np.ndarray:
    """The positive radii of the correctly classified images, ascending."""
    radii = certificates[column].to_numpy(dtype=float)[correct(certificates)]
    return np.sort(radii[radii > 0])


def counted(what: str, count: int, word: str) -> str:
    """A legend's "what, so many images"."""
    return f"{what}, {count:,} {word}" + "s" * (count != 1)


def share_beyond(radii: np.ndarray, limits: np.ndarray, images: int) -> np.ndarray:
    """Per cent of all images whose radius exceeds each limit; ``radii`` ascending."""
    beyond = radii.size - np.searchsorted(radii, limits, side="right")
    return 100 * beyond / max(images, 1)


def draw_steps(axes: Axes, radii: np.ndarray, images: int, end: float, **look) -> None:
    """From 0 to ``end``, with a step down at every radius: at eps = radius it is not exceeded."""
    x = np.unique([0.0, *radii[np.isfinite(radii)], end])
    axes.plot(x, share_beyond(radii, x, images), drawstyle="steps-post", clip_on=False, **look)


def axis_end(radii: Sequence[float] | np.ndarray, eps: Sequence[str]) -> float:
    """Where the x axis ends: behind every finite radius and every eps."""
    reach = [*np.ravel(radii), *map(rationals.limit, eps)]
    return MARGIN * max((x for x in reach if np.isfinite(x) and x > 0), default=1.0)


def _bins(radii: np.ndarray, end: float) -> np.ndarray:
    """Edges of equal bins from 0 to the largest radius, none too narrow to be seen.

    As many as Freedman and Diaconis say, within limits.
    """
    last = radii.max(initial=0.0) or end
    low, high = np.percentile(radii, (25, 75)) if radii.size else (0.0, 0.0)
    width = 2 * (high - low) / max(radii.size, 1) ** (1 / 3)
    count = math.ceil(last / width) if width > last / MOST_BINS else MOST_BINS
    count = min(max(count, LEAST_BINS), MOST_BINS, int(last / end / NARROWEST))
    return np.linspace(0, last, max(count, 1) + 1)
