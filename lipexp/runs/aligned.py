"""Columns of text under their headings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2  # letters between two columns


@dataclass(frozen=True)
class Column:
    """A heading and the cells below it; numbers stand at the right."""

    heading: str
    cells: list[str]
    numeric: bool = True

    @property
    def width(self) -> int:
        return max(map(len, [self.heading, *self.cells]))

    def lines(self) -> list[str]:
        """Heading and cells, all of the column's width."""
        justify = str.rjust if self.numeric else str.ljust
        return [justify(text, self.width) for text in (self.heading, *self.cells)]


def width(columns: Sequence[Column]) -> int:
    """Letters of the longest line."""
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def aligned(columns: Sequence[Column]) -> list[str]:
    """The headings, a rule, and a line for each row."""
    rows = zip(*(column.lines() for column in columns), strict=True)
    headings, *others = ((" " * GAP).join(cells).rstrip() for cells in rows)
    return [headings, "─" * width(columns), *others]
