"""What runs are drawn against: depth, width, or the init with its own keys."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lipexp.plots.labels import label

AXES = ("depth", "width", "init")
OWN = "init."  # begins the keys that some inits have


def varying_axes(table: pd.DataFrame) -> list[str]:
    """Those of depth, width and init that differ between the runs."""
    return [key for key in AXES if any(_varies(table[own]) for own in told(table, key))]


def abscissa(table: pd.DataFrame) -> str:
    """What varies over the runs: depth, else width, else init; depth where nothing does."""
    return next(iter(varying_axes(table)), "depth")


def told(table: pd.DataFrame, against: str) -> list[str]:
    """The columns that an axis tells, which need not be told by a group: init and its own keys."""
    own = [key for key in table if key.startswith(OWN)] if against == "init" else []
    return [*([against] if against in table else []), *own]


def places(table: pd.DataFrame, against: str) -> tuple[pd.Series, list[str]]:
    """(x of every run, names of x = 0, 1, ...): inits have names, depth and width are numbers."""
    if against != "init":
        return table[against].astype(float), []
    keys = [key for key in told(table, against) if key == "init" or _differs(table, key)]
    groups = table.groupby(keys, dropna=False)
    values = [values for values, _ in groups]
    return groups.ngroup().astype(float), [label(keys, each) for each in values]


def without(by: Sequence[str], table: pd.DataFrame, against: str) -> list[str]:
    """``by`` less what the axis tells."""
    return [key for key in by if key not in told(table, against)]


def _varies(column: pd.Series) -> bool:
    return column.nunique() > 1


def _differs(table: pd.DataFrame, key: str) -> bool:
    """Between runs of the same init."""
    return bool((table.groupby("init")[key].nunique() > 1).any())
