"""A headline number of many runs in groups: mean, spread and n at each depth, width or init."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lipexp.plots import abscissae, labels

ONE_LAW = 1e-3  # laws nearer than this are one: where a signal starts depends on the inputs drawn
_VALUE, _X = "_value", "_x"
_LAWS = {"_" + prefix: name for prefix, name in labels.LAWS.items()}  # column -> what it is called


@dataclass(frozen=True)
class Group:
    """One line of a plot.  ``points``: mean, spread (standard deviation, n - 1; missing for one
    run), n, seeds (n is a number of seeds) and law at each abscissa, which is the index."""

    name: str
    points: pd.DataFrame

    @property
    def label(self) -> str:
        """The name, and n where it is not 1."""
        return self.name + labels.count(self.points)


@dataclass(frozen=True)
class Series:
    """``ticks``: names of the abscissae 0, 1, ...; none where they are numbers.  ``law``: what
    the laws drawn are called, "" where there is none."""

    metric: str
    against: str
    groups: list[Group]
    ticks: list[str]
    law: str

    @property
    def x(self) -> np.ndarray:
        """All abscissae, ascending."""
        return np.unique(np.concatenate([group.points.index for group in self.groups]))


def series(
    table: pd.DataFrame, by: Sequence[str], metric: str, against: str | None = None
) -> Series:
    """``metric`` of the runs that agree in ``by``, against depth, width or init.

    ``table`` has one row per run; ``against`` is what varies unless it is given.  Runs without the
    metric are left out; raises ValueError if that is all of them.  The law is that of a typical
    network where the table has it, else the one in expectation; it is known where all runs of a
    point have the same one, for a mean of laws is no law.
    """
    numbers = {_VALUE: _numbers(table, metric)}
    numbers |= {column: _numbers(table, column[1:] + metric) for column in _LAWS}
    whole = table.assign(**numbers)
    has = np.isfinite(whole[_VALUE])
    if not has.any():
        raise ValueError(f"at least one run must have {metric}. Got none.")
    against = against or abscissae.abscissa(whole[has])
    by = abscissae.without(by, whole, against)
    x, ticks = abscissae.places(whole, against)  # also of those left out: one axis for all metrics
    table = whole.assign(**{_X: x})[has]
    found, drawn = [], set()
    for values, points in _split(_points(table, by), by):
        known = [column for column in _LAWS if points[column].notna().any()]
        points = points.assign(law=points[known[0]] if known else np.nan)
        drawn.update(_LAWS[column] for column in known[:1])
        points = points.drop(columns=list(_LAWS))
        found.append(Group(labels.label(by, values), points))
    return Series(metric, against, found, ticks, " or ".join(sorted(drawn)))


def _numbers(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    return pd.to_numeric(table[column]).astype(float)


def _points(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """A row for each group and abscissa."""
    at = table.groupby([*by, _X], dropna=False)
    points = at[_VALUE].agg(mean="mean", spread="std", n="count")
    points["seeds"] = at["seed"].nunique() == points["n"] if "seed" in table else False
    for column in _LAWS:
        laws = at[column]
        one = (laws.count() == points["n"]) & (laws.max() - laws.min() <= ONE_LAW)
        points[column] = laws.first().where(one)
    return points.reset_index()


def _split(points: pd.DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """(values of ``by``, points) of every group; a missing value is a value."""
    groups = points.groupby(list(by), dropna=False) if by else [((), points)]
    return [(values, part.set_index(_X).drop(columns=list(by))) for values, part in groups]
