"""How a request ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lipexp.errors import RunError, UserError


@dataclass(frozen=True)
class Outcome:
    """What came of one request: a finished folder, or the error that stands in its place.

    ``text`` is what there is to say of a finished run; ``fresh`` is False for a run that had been
    done before.  ``held``: nothing came of it, for somebody else was at the folder.
    """

    folder: Path | None = None
    text: str = ""
    fresh: bool = True
    held: bool = False
    error: UserError | RunError | None = None

    @property
    def status(self) -> int:
        """0 done, 1 broke on the way, 2 a wrong request."""
        return self.error.status if self.error else 0

    @property
    def line(self) -> str:
        """Why it is not done; empty where it is."""
        return " ".join(str(self.error).split()) if self.error else ""
