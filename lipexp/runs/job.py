"""What a task hands over when it is ready, and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Progress = Callable[[int, int], None]  # (done, total)


@dataclass
class Result:
    """Tables by file name, figures by name (plots/NAME.png), and the headline numbers."""

    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figure] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


class Job(Protocol):
    """A request that has passed every check.  ``folder`` is this process's alone while it runs."""

    def run(self, folder: Path, progress: Progress) -> Result: ...
