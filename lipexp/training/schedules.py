"""Schedules: the learning rate of a step, relative to its maximum.

Each is a pure function of the progress in [0, 1], so that a resumed run needs nothing stored.
"""

from __future__ import annotations

import math

WARM_UP = 0.3
FIRST = 1 / 25


def _cosine(start: float, stop: float, share: float) -> float:
    """From ``start`` at share 0 to ``stop`` at 1, flat at both ends."""
    return stop + (start - stop) * (1 + math.cos(math.pi * share)) / 2


def onecycle(progress: float) -> float:
    """Cosine from 1/25 up to 1 in the first 30 %, cosine down to 0 (Smith, arXiv 1708.07120)."""
    if progress < WARM_UP:
        return _cosine(FIRST, 1.0, progress / WARM_UP)
    return _cosine(1.0, 0.0, (progress - WARM_UP) / (1 - WARM_UP))


def cosine(progress: float) -> float:
    """Cosine from 1 down to 0 (Loshchilov & Hutter, arXiv 1608.03983, without restarts)."""
    return _cosine(1.0, 0.0, progress)


def constant(progress: float) -> float:
    return 1.0
