"""Ctrl-C and SIGTERM: raised where they arrive, and once more where that was swallowed.

A signal that arrives inside a destructor or an import callback is printed and lost by Python; the
flag is looked at between layers and between the points of a sweep.
"""

from __future__ import annotations

import signal

from lipexp.errors import Terminated

_KINDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
_arrived: list[int] = []


def install() -> None:
    """From here on both signals raise KeyboardInterrupt or its subclass Terminated."""
    for number in _KINDS:
        signal.signal(number, _arrive)


def _arrive(number: int, frame) -> None:
    _arrived.append(number)
    raise _KINDS[signal.Signals(number)]


def check() -> None:
    """Raises what has arrived, if anything has."""
    if _arrived:
        raise _KINDS[signal.Signals(_arrived[0])]
