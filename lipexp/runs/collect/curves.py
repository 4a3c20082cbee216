"""The layers.csv of many runs as curves to draw: means over replicates, rounded, thinned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

# Column of layers.csv, the panel it belongs to, what the line is called, and how it is drawn.
KINDS = (
    ("log10_second_moment", "forward", "signal z", "solid"),
    ("log10_variance", "forward", "variance over inputs", "thin"),
    ("predicted_log10_second_moment", "forward", "law (expectation)", "dashed"),
    ("predicted_typical_log10_second_moment", "forward", "law (typical network)", "dotted"),
    ("log10_gradient_second_moment", "backward", "gradient ∂/∂z", "solid"),
    ("predicted_log10_gradient_second_moment", "backward", "law (expectation)", "dashed"),
    (
        "predicted_typical_log10_gradient_second_moment",
        "backward",
        "law (typical network)",
        "dotted",
    ),
)
LAW_OF = {3: 2, 6: 5}  # the place of a typical law among KINDS, and of the law in expectation
MOST_NUMBERS = 1_500_000  # in all curves together, about 7 bytes each
# Layers of a curve, until all numbers fit; 400 are more than a screen shows.
FEWER = (400, 300, 200, 150, 100, 70, 50, 30, 20)
MOST_EPOCHS = 3
ALIKE = 0.005  # laws nearer than this share of the span are one line
DIGITS = 4  # of a curve's span, which are kept


def curves(layers: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By the column ``run``: what the report draws of a run's layers.

    ``epochs``: those drawn, at most MOST_EPOCHS, of ``probed``; ``replicates``; ``layers``: their
    numbers, or how many there are where all from 0 on are drawn, of ``of``; ``lines``: (place in
    KINDS, place in ``epochs``, values); a value is None where it is missing or log10 of 0.  Of
    laws in expectation and of a typical network that agree, the former alone.
    """
    known = [place for place, (column, *_) in enumerate(KINDS) if column in layers]
    if layers.empty or not known:
        return {}
    table = layers[["run", "epoch", "replicate", "layer", *(KINDS[k][0] for k in known)]]
    replicates = table.groupby("run", sort=False)["replicate"].nunique()
    if (replicates > 1).any():
        table = _means(table)
    names, starts = _starts(table["run"].to_numpy())
    epochs, rows = table["epoch"].to_numpy(), table["layer"].to_numpy()
    values = {k: table[KINDS[k][0]].to_numpy(dtype=float) for k in known}
    most = _most_layers(np.diff(starts), len(known))
    found = {}
    for name, start, stop in zip(names, starts[:-1], starts[1:], strict=True):
        its = {k: column[start:stop] for k, column in values.items()}
        found[name] = {
            "replicates": int(replicates[name]),
            **_of_run(epochs[start:stop], rows[start:stop], its, most),
        }
    return found


def _means(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["run", "epoch", "layer"]
    return table.groupby(keys, sort=False).mean().reset_index()


def _starts(run: np.ndarray) -> tuple[Sequence[str], np.ndarray]:
    """(names of the runs, where the rows of each begin, and where the last end)."""
    changes = np.flatnonzero(run[1:] != run[:-1]) + 1
    starts = np.concatenate([[0], changes, [len(run)]])
    return run[starts[:-1]].tolist(), starts


def _most_layers(rows: np.ndarray, kinds: int) -> int:
    """How many layers of each curve can be kept: the most of FEWER with which all numbers fit."""
    for most in FEWER:
        if np.minimum(rows, most * MOST_EPOCHS).sum() * kinds <= MOST_NUMBERS:
            return most
    return FEWER[-1]


def _of_run(
    epochs: np.ndarray, rows: np.ndarray, values: Mapping[int, np.ndarray], most: int
) -> dict[str, Any]:
    probed = np.unique(epochs)
    places = np.linspace(0, len(probed) - 1, min(len(probed), MOST_EPOCHS)).round().astype(int)
    chosen = probed[places]
    lines: list[tuple[int, int, list[float | None]]] = []
    all_layers = rows[epochs == chosen[0]]
    kept = _thinned(len(all_layers), most)
    for place, epoch in enumerate(chosen):
        at = np.flatnonzero(epochs == epoch)
        if len(at) != len(all_layers):  # of an epoch that is cut off
            continue
        these = {k: column[at[kept]] for k, column in values.items()}
        lines += [(k, place, _rounded(these[k])) for k in _drawn(these)]
    numbers = all_layers[kept]
    plain = np.array_equal(numbers, np.arange(len(numbers)))
    return {
        "epochs": chosen.tolist(),
        "probed": len(probed),
        "layers": len(numbers) if plain else numbers.tolist(),
        "of": len(all_layers),
        "lines": lines,
    }


def _thinned(count: int, most: int) -> np.ndarray:
    """Places of ``most`` or a few more of ``count`` layers, the first and last two among them."""
    if count <= most:
        return np.arange(count)
    even = np.linspace(0, count - 1, most).round().astype(int)
    return np.unique([0, 1, count - 2, count - 1, *even])


def _drawn(values: Mapping[int, np.ndarray]) -> list[int]:
    """The kinds with something to draw."""
    drawn = [k for k, column in values.items() if np.isfinite(column).any()]
    return [k for k in drawn if k not in LAW_OF or not _alike(values, k, LAW_OF[k])]


def _alike(values: Mapping[int, np.ndarray], first: int, second: int) -> bool:
    if second not in values:
        return False
    a, b = values[first], values[second]
    both = np.isfinite(a)
    if not np.array_equal(both, np.isfinite(b)):
        return False
    return bool(np.abs(a[both] - b[both]).max() <= ALIKE * max(float(np.ptp(a[both])), 0.01))


def _rounded(values: np.ndarray) -> list[float | None]:
    finite = np.isfinite(values)
    span = float(np.ptp(values[finite]))
    digits = DIGITS - int(np.ceil(np.log10(span))) if span > 0 else DIGITS
    rounded = (np.round(values, min(max(digits, 0), 6)) + 0.0).tolist()
    if finite.all():
        return rounded
    return [value if is_finite else None for value, is_finite in zip(rounded, finite, strict=True)]
