"""The points that a command line makes."""

from __future__ import annotations

from lipexp.cli import composing
from lipexp.cli.explaining import explain
from lipexp.launching.points import expand


def points_of(words):
    """The points that the command line makes of words."""
    found = []

    class Listener:
        def sweep(self, context, master, arguments, seeds):
            found.extend(expand(context, master, arguments, explain))

        def __call__(self, composed):
            raise AssertionError("Hydra's own sweeper is at work")

    composing.compose(["-m"], list(words), Listener())
    return found
