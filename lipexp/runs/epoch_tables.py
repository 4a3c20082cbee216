"""metrics.csv and layers.csv of a training: rows by epoch, cut back where a run is resumed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lipexp.files import write_text


class EpochTable:
    """A CSV file whose rows carry their epoch; it is whole after every ``add``.

    Rows of epochs beyond ``epoch`` are dropped at the start: what was written behind the last
    checkpoint is written again.  Rows are kept as text, so that they stay what they were to the
    last digit; a line that is cut off, or another header, is dropped with all that follow.
    """

    def __init__(self, path: Path, *, epoch: int):
        self._path = path
        self._header, self._lines = "", list[str]()
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        lines = text.splitlines(keepends=True)
        if not lines or epoch < 0 or "epoch" not in lines[0].strip().split(","):
            return
        self._header, place = lines[0], lines[0].strip().split(",").index("epoch")
        for line in lines[1:]:
            cell = line.split(",")[place] if line.endswith("\n") else ""
            if not cell.isdigit():
                break
            if int(cell) <= epoch:
                self._lines.append(line)

    def add(self, rows: pd.DataFrame) -> None:
        """Writes these rows behind the others.  NaN is empty."""
        text = rows.to_csv(index=False, lineterminator="\n")
        self._header, _, body = text.partition("\n")
        self._header += "\n"
        self._lines += body.splitlines(keepends=True)
        write_text(self._header + "".join(self._lines), self._path)
