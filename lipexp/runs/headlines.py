"""The headline numbers of layers.csv, with the warning that follows, and of certificates.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lipexp.config import Request
from lipexp.theory import carrying

# Adam divides by the root of the gradient's second moment plus 1e-8: below 1e-16 it stands still.
TRAINABLE_LOG10 = -16.0


def rates(table: pd.DataFrame, depth: int) -> dict[str, float | None]:
    """Decay per layer, measured and predicted: slopes over layers 2..depth, means over replicates.

    log10 of second moments per layer; negative where signal is lost on the way, forward going up,
    backward going down.  None where there are fewer than two layers, or values are not finite.
    """
    inner = table[table["layer"].between(2, depth)]
    means = inner.groupby("layer").mean(numeric_only=True)
    layers = means.index.to_numpy(dtype=float)

    def slope(column: str) -> float | None:
        values = means[column].to_numpy(dtype=float)
        if len(values) < 2 or not np.isfinite(values).all():
            return None
        return float(np.polyfit(layers - layers.mean(), values, 1)[0])

    result: dict[str, float | None] = {}
    for way, column, sign in (
        ("forward", "log10_second_moment", 1),
        ("backward", "log10_gradient_second_moment", -1),
    ):
        for prefix in ("", "predicted_", "predicted_typical_"):
            value = slope(prefix + column)
            key = f"{prefix}decay_per_layer_{way}"
            result[key] = None if value is None else sign * value
        rate = result[f"decay_per_layer_{way}"]
        decays = rate is not None and rate < -1e-6
        result[f"half_life_layers_{way}"] = math.log10(2) / -rate if decays else None
    result["input_variance_per_layer"] = slope("log10_variance")
    return result


def warning(table: pd.DataFrame, request: Request) -> str | None:
    """What a student should know before training this network; None where signal arrives."""
    signal, law = _known(table, request.depth, "log10_second_moment")
    gradient, _ = _known(table, 1, "log10_gradient_second_moment")
    if signal < TRAINABLE_LOG10:
        what = f"the signal's mean square falls to 10^{signal:.0f} at layer {request.depth}"
    elif gradient < TRAINABLE_LOG10:
        what = f"the gradient's mean square falls to 10^{gradient:.0f} at layer 1"
        if request.bias not in ("zero", "none"):
            what += (
                " (the bias keeps the signal's size, but nothing of the input reaches the last "
                "layer)"
            )
    else:
        return None
    text = (
        f"{'by the law' if law else 'as measured'}, {what}; training in float32 needs about "
        f"10^{TRAINABLE_LOG10:.0f}, so this network will not learn"
    )
    cures = _cures(request)
    return f"{text}. What carries signal to any depth: {'; '.join(cures)}" if cures else text


def _known(table: pd.DataFrame, layer: int, column: str) -> tuple[float, bool]:
    """(what the law says of a column at a layer, True); without a law what was measured, False."""
    rows = table[table["layer"] == layer]
    predicted = rows[f"predicted_{column}"].mean()
    if not math.isnan(predicted):
        return float(predicted), True
    return float(rows[column].mean()), False


def _cures(request: Request) -> list[str]:
    """Inits that carry the signal: with the activation asked for, else with maxmin."""
    model, wanted = request.model["name"], request.activation
    pairs = carrying(model, wanted, width=request.width)
    named = [f"init={init}" for init, activation in pairs if activation == wanted]
    if ("orthogonal", "maxmin") in pairs and wanted != "maxmin":
        named.append("init=orthogonal activation=maxmin")
    return named


def certificate_numbers(certificates: pd.DataFrame, eps: Sequence[str]) -> dict[str, Any]:
    """The headline numbers of certificates.csv; right is what leads, a tie is not."""
    right = certificates["margin"] > 0
    shares = {f"cra_{name}": float(certificates[f"certified_{name}"].mean()) for name in eps}
    return {
        "test_images": len(certificates),
        "test_accuracy": float(right.mean()),
        **shares,
        "median_radius": float(certificates["radius"][right].median()),
        "lipschitz_upper_bound": certificates.attrs["lipschitz_upper_bound"],
        "largest_slack": certificates.attrs["largest_slack"],
        "points_inside_slack": certificates.attrs["points_inside_slack"],
    }
