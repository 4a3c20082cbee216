"""What a figure is: settings by size, a measurement, a picture, and what to check of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SIZES = ("small", "paper")  # two CPU cores and seconds; the paper's own sizes

# How a value of the papers is known: by a plot, in words, by the formula of the plotting script,
# or by files of their repository's revision.
READ, PRINTED, FORMULA = "read off the plot", "printed", "plotted formula"
LATER = "in the authors' later data"

# A value read off a plot with a logarithmic axis is good to about a tenth; a printed one to its
# last digit.
READING = {READ: 0.12, PRINTED: 0.02, FORMULA: 0.001, LATER: 0.02}
STANDARD_ERRORS = 5.0  # beyond which a measurement contradicts a law

Setting = Mapping[str, Any]
Tables = Mapping[str, "pd.DataFrame"]
T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What a measurement may use beside its setting.

    ``tick(done, total)`` tells how far it is; ``tables(name)`` gives those of another figure at the
    same size, measured now if need be; ``folder`` is where the figure will be (sweeps of runs keep
    theirs in it); ``run(overrides)`` does one run, or finds it done, and returns its folder.
    """

    tick: Callable[[int, int], None]
    tables: Callable[[str], Tables]
    folder: Path
    run: Callable[[Sequence[str]], Path] | None = None

    def ticking(self, things: Iterable[T]) -> Iterator[T]:
        """The things one by one, told after each."""
        things = list(things)
        for done, thing in enumerate(things, 1):
            yield thing
            self.tick(done, len(things))


@dataclass(frozen=True)
class Check:
    """One number of a figure: as printed, by law, and ours with its spread.

    ``printed`` is None for what the papers do not print, ``source`` says how it is known;
    ``printed_law``: the law at the size of print, where that is not the size of ours (``law`` is
    at the size of ours).  ``ours`` is None where nothing was measured; ``error`` is its standard
    error over ``n``.  ``erratum``: the number of the error in print that it bears on, and
    ``shows`` whether it does show that error.  ``note`` goes behind the verdict.
    ``approximate``: relative error that the law itself is known to have; ``draw``: relative
    standard deviation of what is printed, where that is a single draw;
    ``reading``: relative error of the printed value, READING's where None; ``bound``: what is
    printed claims to be an upper bound of ours.
    """

    what: str
    law: float | None = None
    ours: float | None = None
    error: float | None = None
    n: str = ""
    printed: float | None = None
    source: str = ""
    printed_law: float | None = None
    erratum: int | None = None
    shows: bool | None = None
    note: str = ""
    approximate: float = 0.0
    draw: float = 0.0
    reading: float | None = None
    bound: bool = False

    def __post_init__(self) -> None:
        if self.error is not None and math.isnan(self.error):
            raise ValueError(f"error of {self.what!r} must be known or None. Got NaN instead.")

    @property
    def _spread_known(self) -> bool:
        return bool(self.error)

    @property
    def ratio(self) -> float | None:
        """Ours by the printed value; None where that is missing or 0."""
        if not self.printed or self.ours is None:
            return None
        return self.ours / self.printed

    @property
    def deviation(self) -> float | None:
        """Of ours from the law in standard errors, what the law leaves open taken off first."""
        if self.ours is None or self.law is None or not self._spread_known:
            return None
        apart = self.ours - self.law
        open_ = self.approximate * abs(self.law)
        return math.copysign(max(abs(apart) - open_, 0.0), apart) / self.error

    @property
    def agrees(self) -> bool | None:
        """Whether ours is the law's; None where they cannot be compared."""
        if self.ours is None or self.law is None:
            return None
        if not self._spread_known:
            return math.isclose(self.ours, self.law, rel_tol=1e-6 + self.approximate, abs_tol=1e-9)
        return abs(self.deviation) <= STANDARD_ERRORS

    @property
    def verdict(self) -> str:
        """Reproduced, off, or not run; then the law, then the note."""
        parts = [self._print_verdict(), self._law_verdict(), self.note]
        return "; ".join(part for part in parts if part)

    def _print_verdict(self) -> str:
        if self.printed is None:
            return ""
        value = f"the {self.source}" if self.source == FORMULA else f"the value {self.source}"
        error = self.error if self._spread_known else 0.0
        if self.bound and self.ours is not None:
            holds = self.ours - 4 * error <= self.printed * (1 + 1e-9)
            return f"{value} {'holds' if holds else 'lies below the truth: no upper bound'}"
        if self.ours is not None:
            slack = self._slack() + 3 * error
            return "reproduced" if abs(self.ours - self.printed) <= slack else f"{value} is off"
        law = self.law if self.printed_law is None else self.printed_law
        if law is None:
            return "not run at this size"
        near = abs(law - self.printed) <= self._slack()
        return f"not run at this size; {value} {'agrees with' if near else 'is off'} the law there"

    def _slack(self) -> float:
        """What reading, and a single draw, leave open of the printed value."""
        reading = READING[self.source] if self.reading is None else self.reading
        return (reading + 2 * self.draw) * abs(self.printed)

    def _law_verdict(self) -> str:
        if self.agrees is None:
            return ""
        how = "agrees with the law" if self.agrees else "CONTRADICTS THE LAW"
        apart = "" if self.deviation is None else f" ({self.deviation:+.1f} standard errors)"
        return how + apart


@dataclass(frozen=True)
class PaperFigure:
    """A figure: its parts are functions of a setting, so that each size is the same code.

    ``measure(setting, context)`` gives the tables that are kept; ``draw(tables, setting)`` the
    picture; ``checks(tables, setting)`` what the report says of them, number by number, and
    ``words(tables, setting)`` what it says in paragraphs.  All three use nothing but the tables,
    which are read from disk where they have been measured already.
    """

    settings: Mapping[str, Setting]
    measure: Callable[[Setting, Context], Tables]
    draw: Callable[[Tables, Setting], Figure]
    checks: Callable[[Tables, Setting], list[Check]] = field(default=lambda tables, setting: [])
    words: Callable[[Tables, Setting], list[str]] = field(default=lambda tables, setting: [])


def mean_and_error(values: Any) -> tuple[float, float]:
    """Mean and its standard error; the error of a single value is NaN."""
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))
