"""Whose turn it is among the points of a sweep that other processes may work on too."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator, Sequence

from lipexp.runs.outcome import Outcome


class Turns:
    """Groups of points, one after the other, for any number of threads.

    Iterating gives (group, wait).  What somebody else is at is put off, so that two sweeps over the
    same points share them; ``wait`` is True when its turn comes again, at the end.
    """

    def __init__(self, groups: Iterable[Sequence[int]]):
        self._queue: queue.SimpleQueue[tuple[Sequence[int], bool]] = queue.SimpleQueue()
        for group in groups:
            self._queue.put((group, False))

    def __iter__(self) -> Iterator[tuple[Sequence[int], bool]]:
        while True:
            try:
                turn = self._queue.get_nowait()
            except queue.Empty:
                return
            yield turn

    def ended(
        self, group: Sequence[int], outcomes: Iterable[Outcome]
    ) -> Iterator[tuple[int, Outcome]]:
        """(number, outcome) of the points that have ended; the others get another turn."""
        held = []
        for number, outcome in zip(group, outcomes, strict=True):
            if outcome.held:
                held.append(number)
            else:
                yield number, outcome
        if held:
            self._queue.put((held, True))
