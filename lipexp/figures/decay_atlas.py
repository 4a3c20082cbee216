"""Every layer, activation, init and bias: what a layer leaves of signal and gradient.

It answers the questions the paper leaves open: other activations, residual layers, the way back.
A combination whose measurement and law differ by more than 5 standard errors stands in the report.
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lipexp.config import BIASES
from lipexp.figures.atlas_picture import heat_map
from lipexp.figures.atlas_rates import DEEP, LARGEST_CHANGE, LOSSLESS, WAYS, rates
from lipexp.figures.atlas_words import paragraphs
from lipexp.figures.figure import (
    STANDARD_ERRORS,
    Check,
    Context,
    PaperFigure,
    Setting,
    Tables,
)

# widths: {width: [layers that are measured, networks]}; head: layers left out at both ends;
# deep: the widths at which what may be carried is sent through 1,000 layers.
_SMALL = {
    "widths": {"64": [60, 10]},
    "biases": ["zero"],
    "head": 10,
    "deep": [64],
    "deep_below": 0.05,
    "seed": 0,
}
_MORE = {"256": [30, 5], "1024": [10, 2]}
SETTINGS = {
    "small": _SMALL,
    "paper": {**_SMALL, "widths": {**_SMALL["widths"], **_MORE}, "biases": list(BIASES)},
}
EXACT = 1e-11  # a standard error below it is rounding

# What stands in the report by name, at zero bias: layer, init, activation.
NAMED = (
    *(("aol", "normal", name) for name in ("relu", "leaky_relu", "abs", "maxmin", "identity")),
    ("aol", "orthogonal", "relu"),
    *(("aol", "orthogonal", name) for name in ("abs", "maxmin", "identity")),
    ("aol", "identity", "relu"),
    *(("sll", "normal", name) for name in ("relu", "leaky_relu", "identity")),
    ("sll", "orthogonal", "relu"),
    ("linear", "kaiming_normal", "relu"),
    ("spectral", "normal", "relu"),
)


def measure(setting: Setting, context: Context) -> Tables:
    """``rates``: a row per combination, see `lipexp.figures.atlas_rates.rates`."""
    return {"rates": rates(setting, context)}


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """A row per combination and way: law, ours, error, and deviation in standard errors.

    The typical law against the mean of the logarithm; where only the law in expectation is known,
    that against the logarithm of the mean gain.  No law, no deviation (NaN).
    """
    parts = []
    for way in WAYS:
        typical = table[f"{way}_typical"].notna()
        keys = ["layer", "init", "activation", "bias", "width", "steps", "weight", "weight_law"]
        part = table[keys].assign(way=way)
        part["law"] = table[f"{way}_typical"].where(typical, table[f"{way}_law"])
        part["ours"] = table[way].where(typical, table[f"{way}_gain"])
        part["error"] = table[f"{way}_error"].where(typical, table[f"{way}_gain_error"])
        apart = part["ours"] - part["law"]
        exact = part["error"] < EXACT
        part["deviation"] = (apart / part["error"]).where(~exact, 0.0)
        part.loc[exact & (apart.abs() > LOSSLESS), "deviation"] = np.inf
        part.loc[part["law"].isna(), "deviation"] = np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def draw(tables: Tables, setting: Setting) -> Figure:
    how = ", ".join(
        f"width {width}: {networks} networks of {layers} layers"
        for width, (layers, networks) in setting["widths"].items()
    )
    note = (
        f"Measured ({how}; float64): mean of the logarithm, one input. Blue: signal and gradient "
        f"are both within {LARGEST_CHANGE:g} decades of their size after {DEEP:,} layers. Brown: "
        "decays; purple: grows; grey: not allowed, as the layer would not be 1-Lipschitz. Inits "
        "whose laws agree to 0.02 share a row, which shows their mean. sll: residual; sll_ff: "
        "sll_feedforward; q=normal: its q drawn as exp N(0, 1). Under a bias: the difference "
        "between two inputs."
    )
    title = "Decay atlas: log₁₀ of the factor by which one layer changes the second moment"
    return heat_map(tables["rates"], title, textwrap.fill(note, 155))


def checks(tables: Tables, setting: Setting) -> list[Check]:
    """The named combinations at zero bias, then all that are beyond 5 standard errors of a law."""
    table = compared(tables["rates"])
    named = pd.DataFrame(NAMED, columns=["layer", "init", "activation"])
    found = named.merge(table[table["bias"] == "zero"])
    beyond = table[table["deviation"].abs() > STANDARD_ERRORS]
    rows = pd.concat([found, beyond]).drop_duplicates()
    return [_check(row) for row in rows.itertuples()]


def _check(row) -> Check:
    exact = row.error < EXACT
    known = not np.isnan(row.law)
    lossless = known and abs(row.law) < LOSSLESS and exact
    what = f"{row.layer}, {row.init}, {row.activation}, width {row.width}"
    what += "" if row.bias == "zero" else f", bias {row.bias}"
    return Check(
        f"{what}: log10 per layer, {row.way}",
        row.law + 0.0 if known else None,
        round(row.ours, 9) + 0.0 if exact else row.ours,
        None if exact else row.error,
        f"{row.steps} layers",
        erratum=8 if lossless else None,
        shows=abs(row.ours) < LOSSLESS if lossless else None,
        note=_weights_note(row) if abs(row.deviation) > STANDARD_ERRORS else "",
    )


def _weights_note(row) -> str:
    """Whether a deviation from the law is that of the weights' mean square."""
    more = row.weight - row.weight_law
    left = (row.ours - row.law - more) / row.error
    return (
        f"the weights' mean square is {10**more - 1:+.1%} off the one the law takes; with the "
        f"measured one, {left:+.1f} standard errors are left"
    )


def words(tables: Tables, setting: Setting) -> list[str]:
    return paragraphs(tables["rates"], compared(tables["rates"]))


FIGURE = PaperFigure(SETTINGS, measure, draw, checks, words)
