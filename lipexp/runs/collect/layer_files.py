"""The layers.csv of many runs as one table, parsed together: one by one pandas takes 3 ms each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
import pandas as pd

NEEDED = {"epoch", "replicate", "layer"}
_KINDS = defaultdict(
    lambda: float,
    {"epoch": int, "replicate": int, "layer": int, "fan_in": "Int64", "fan_out": "Int64"},
    name=str,
)
PLACE = "_place"  # of a row's file among all; taken out before the table is handed on


def together(files: Mapping[int, bytes]) -> tuple[pd.DataFrame, set[int]]:
    """(one table, those that are no table of layers) of files by their numbers.

    The rows stand in the order of the numbers, which are in the column ``PLACE``; columns that a
    file does not have are missing in its rows.
    """
    alike: dict[bytes, list[int]] = {}
    broken = set()
    for number, content in files.items():
        head = content.partition(b"\n")[0]
        if content.endswith(b"\n") and set(head.decode("utf-8", "replace").split(",")) >= NEEDED:
            alike.setdefault(head, []).append(number)
        else:
            broken.add(number)
    parts = []
    for numbers in alike.values():
        # A quote could swallow the line that follows: such a file is parsed alone.
        odd = [number for number in numbers if b'"' in files[number] or b"\r" in files[number]]
        plain = sorted(set(numbers) - set(odd))
        for group in (plain, *([number] for number in odd)):
            parts += _parsed(files, group, broken)
    if not parts:
        return pd.DataFrame({PLACE: np.empty(0, dtype=int)}), broken
    table = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    if not table[PLACE].is_monotonic_increasing:
        table = table.sort_values(PLACE, kind="stable", ignore_index=True)
    return table, broken


def _parsed(
    files: Mapping[int, bytes], numbers: Sequence[int], broken: set[int]
) -> list[pd.DataFrame]:
    """Tables of files with the same head; halves of them where one cannot be parsed."""
    if not numbers:
        return []
    bodies = [files[number].partition(b"\n")[2] for number in numbers]
    head = files[numbers[0]].partition(b"\n")[0]
    rows = [body.count(b"\n") for body in bodies]
    try:
        with np.errstate(invalid="raise"):  # an infinite layer is no number of a layer
            table = pd.read_csv(BytesIO(b"".join([head, b"\n", *bodies])), dtype=_KINDS)
        # Rows longer than the head would become an index.
        regular = isinstance(table.index, pd.RangeIndex)
        if regular and len(numbers) == 1:
            rows = [len(table)]
        if regular and len(table) == sum(rows):
            return [table.assign(**{PLACE: np.repeat(numbers, rows)})]
    except (ValueError, FloatingPointError):
        pass
    if len(numbers) == 1:
        broken.update(numbers)
        return []
    half = len(numbers) // 2
    first, second = numbers[:half], numbers[half:]
    return [*_parsed(files, first, broken), *_parsed(files, second, broken)]
