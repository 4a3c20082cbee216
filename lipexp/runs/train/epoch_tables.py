"""metrics.csv and layers.csv of a training: rows by epoch, cut back where a run is resumed."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd

from lipexp.files import write_table


class EpochTable:
    """A CSV file whose rows carry their epoch; it is whole after every ``add``.

    ``resumed``: the epochs that are done, of a training that goes on: what was written of later
    ones, behind the last checkpoint, is dropped, as is all that stands there when it begins anew
    (0).  Cells are kept as text, so that they stay what they were to the last digit; where columns
    differ (other eps than before), what a row lacks is empty.
    """

    def __init__(self, path: Path, *, resumed: int):
        self._path = path
        self._rows = pd.DataFrame()
        if resumed:
            self._rows = _text_table(path, last=resumed)

    def add(self, rows: pd.DataFrame) -> None:
        """Writes these rows behind the others.  NaN is empty."""
        text = StringIO(rows.to_csv(index=False))
        added = pd.read_csv(text, dtype=str, keep_default_na=False)
        columns = dict.fromkeys([*added.columns, *self._rows.columns])
        self._rows = pd.concat([self._rows, added], ignore_index=True)[list(columns)]
        write_table(self._rows, self._path)


def _text_table(path: Path, last: int) -> pd.DataFrame:
    """The rows of epochs up to ``last``; none where there is no such table."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table[pd.to_numeric(table["epoch"]) <= last]
    except (OSError, ValueError, KeyError):
        return pd.DataFrame()
