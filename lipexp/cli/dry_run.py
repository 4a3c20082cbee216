"""`lipexp run -m --dry-run`: the points of a sweep, which of them are done, and the time left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lipexp.launching.points import Point


def listing(points: Sequence[Point]) -> str:
    """A line per point, then the counts and, from the finished ones, how long the others take.

    The time is that of one run after another, as those that are done took on the average.
    """
    from lipexp.runs.execute import done_before
    from lipexp.runs.summary import plural, read_summary

    lines, seconds, done, left, refused = [], [], 0, 0, 0
    seen = set()
    for point in points:
        if point.error:
            refused += 1
            lines.append(f"refused {point.asked}: {point.error}")
            continue
        folder = point.request.folder
        if folder in seen:
            continue  # the same request twice is one run
        seen.add(folder)
        if done_before(point.request) and not point.request.force:
            done += 1
            seconds += _took(read_summary(folder) or {})
            lines.append(f"done    {point.asked}  {folder}")
        else:
            left += 1
            lines.append(f"to do   {point.asked}  {folder}")
    counts = f"{plural(len(lines), 'point')}: {done:,} done, {left:,} to do"
    if refused:
        counts += f", {refused:,} refused"
    if left and seconds:
        each = sum(seconds) / len(seconds)
        counts += f"; about {_duration(left * each)} one after the other, at {each:.1f} s each"
    return "\n".join([*lines, counts])


def _took(summary: Mapping[str, Any]) -> list[float]:
    """The seconds that a run took, where they are told.

    ``seconds`` are those of the last attempt; ``training_seconds``, of all epochs, may be more.
    """
    told = (summary.get(key) for key in ("seconds", "training_seconds"))
    numbers = [number for number in told if isinstance(number, (int, float))]
    return [max(numbers)] if numbers else []


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
