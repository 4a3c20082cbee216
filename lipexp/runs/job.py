"""What a task hands over when it is ready, what it tells on the way, and what when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHECKPOINT = "checkpoint.safetensors"  # a folder with one is kept when its run is interrupted


class Progress(Protocol):
    """Who is told how far a run is, in units such as layers or steps."""

    unit: str

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """``note``: what there is to say beside the numbers, at this moment."""

    def line(self, text: str) -> None:
        """A line that stays."""


class Silent:
    """Nobody is told."""

    unit = ""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        pass

    def line(self, text: str) -> None:
        pass


@dataclass
class Result:
    """Tables by file name, figures by name (plots/NAME.png), and the headline numbers.

    ``log``: lines that were told on the way, for log.txt.
    """

    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figure] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)


class Job(Protocol):
    """A request that has passed every check.  ``folder`` is this process's alone while it runs."""

    unit: str  # what is counted by ``progress``: layers, steps

    def run(self, folder: Path, progress: Progress) -> Result: ...
