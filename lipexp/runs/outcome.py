"""How a request ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lipexp.errors import RunError, UserError


@dataclass(frozen=True)
class Outcome:
    """``status``: 0 done, 1 broke on the way, 2 a wrong request; ``line``: why, where not 0.

    ``text`` is what there is to say of a finished run; ``fresh`` is False for a run that had been
    done before.
    """

    status: int
    line: str
    folder: Path | None = None
    text: str = ""
    fresh: bool = True

    def raise_for_status(self) -> None:
        if self.status == 2:
            raise UserError(self.line)
        if self.status:
            raise RunError(self.line)
