"""A table of data as aligned text that fits the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lipexp.runs.aligned import Column, aligned, width

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 30
PLAIN_WIDTH = 200  # letters of a line where there is no terminal to fit
SHORTEST = 15  # letters to which a name may be cut before columns are left out
HASH = 9  # letters that end a run's name and tell it from its like


def text_table(table: pd.DataFrame, headings: Sequence[str], rest: str, keep: int) -> str:
    """Aligned columns, at most SHOWN_ROWS rows; the first ``keep`` columns at any width."""
    shown = table.head(SHOWN_ROWS)
    columns = [
        Column(heading, [_cell(value, key) for value in shown[key]], _is_number(shown[key].dtype))
        for heading, key in zip(headings, shown, strict=True)
    ]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH
    lines = aligned(_fitted(columns, room, min(keep, len(columns))))
    if len(table) > SHOWN_ROWS:
        lines.append(f"... {len(table) - SHOWN_ROWS} more in {rest}")
    return "\n".join(lines)


def _fitted(columns: list[Column], letters: int, keep: int) -> list[Column]:
    """What a line has room for: the widest text is cut, and then the last columns are left out."""
    texts = [place for place in range(keep) if not columns[place].numeric]
    if not texts:
        return columns
    place = max(texts, key=lambda place: columns[place].width)
    widest = columns[place]
    least = min(widest.width, max(len(widest.heading), SHORTEST))
    while len(columns) > keep and width(columns) - letters > widest.width - least:
        columns = columns[:-1]
    room = max(widest.width - max(width(columns) - letters, 0), least)
    cut = replace(widest, cells=[shortened(cell, room) for cell in widest.cells])
    return [*columns[:place], cut, *columns[place + 1 :]]


def shortened(text: str, room: int) -> str:
    """Start and end of a text: "aol-mlp-d10-w64-normal-c33715f9", 20 -> "aol-mlp-d1…-c33715f9"."""
    if len(text) <= room:
        return text
    end = min(HASH, 2 * (room - 1) // 3)
    return f"{text[: room - 1 - end]}…{text[-end:]}"


def _is_number(kind: Any) -> bool:
    from pandas.api.types import is_numeric_dtype

    return is_numeric_dtype(kind)


def _cell(value: Any, column: str) -> str:
    """A setting as it was asked for; what came out of a run with four decimals."""
    import pandas as pd

    from lipexp.runs.collect.reading import is_setting

    if pd.isna(value):
        return ""
    if not isinstance(value, float):
        return str(value)
    if is_setting(column) or abs(value) >= 1e6:
        return f"{value:.4g}"
    return f"{value:z.4f}"  # z: what rounds to zero has no sign
