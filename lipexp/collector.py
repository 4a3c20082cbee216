"""Python's garbage collector, whose full passes walk through all of torch unless told not to.

Neither the second of many runs nor the end of a process needs them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def passing_by_what_is_loaded(items: Iterable[Item]) -> Iterator[Item]:
    """The items; from the second on, the collector passes by whatever the first has left.

    That is what was imported for it, and walking through it costs a seventh of a small probe.
    """
    try:
        for position, item in enumerate(items):
            if position == 1:
                gc.collect()
                gc.freeze()
            yield item
    finally:
        gc.unfreeze()


def end() -> None:
    """Before the process ends: without its last collection, which takes 0.7 s.

    With triton it is made all the same: triton reports what is never collected as leaked.
    """
    if "triton" not in sys.modules:
        gc.freeze()
