"""layers.csv: what the probe measured, with the law beside it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lipexp.config import Request
from lipexp.networks.lipconvnet import hidden_sizes
from lipexp.probing.probe import Statistics
from lipexp.runs.plan import blueprint, convolves
from lipexp.theory import ImageLayer, Profile, image_profile, profile

MEASURED = (
    "log10_second_moment",
    "log10_variance",
    "mean_over_rms",
    "active_fraction",
    "log10_gradient_second_moment",
    "log10_gradient_variance",
    "log10_weight_gradient_second_moment",
    "log10_weight_variance",
    "operator_norm",
    "lipschitz_bound",
)
# Fields of a Profile; each is the column predicted_<field>.
PREDICTED = (
    "log10_second_moment",
    "log10_gradient_second_moment",
    "log10_weight_variance",
    "typical_log10_second_moment",
    "typical_log10_gradient_second_moment",
)
COLUMNS = (
    *("epoch", "replicate", "layer", "name", "fan_in", "fan_out"),
    *MEASURED,
    *(f"predicted_{name}" for name in PREDICTED),
)


def layer_table(
    statistics: Statistics, request: Request, *, cotangent: str, epoch: int = 0
) -> tuple[pd.DataFrame, str]:
    """One row per (replicate, layer), and the line that says which law stands in it.

    The law is one of networks as they are initialised: at later epochs there is none.
    """
    columns = dict(statistics.columns)
    rows, replicates = columns["log10_second_moment"].shape
    columns["lipschitz_bound"] = _bounds(statistics, (rows, replicates))
    for name in PREDICTED:
        columns[f"predicted_{name}"] = np.full((rows, replicates), np.nan)
    law = no_law(request, cotangent, epoch)
    for replicate in range(0 if law else replicates):
        entering = columns["log10_second_moment"][0, replicate]
        if convolves(request):
            prediction = predict_images(request, statistics.entering[replicate])
        else:
            prediction = predict(request, entering, cotangent)
        law = prediction.law
        for name in PREDICTED:
            values = getattr(prediction, name)
            columns[f"predicted_{name}"][: len(values), replicate] = values
    if cotangent == "loss":  # it enters with the moment it has, not with 1
        for name in ("log10_gradient_second_moment", "typical_log10_gradient_second_moment"):
            entered = columns["log10_gradient_second_moment"][request.depth]
            columns[f"predicted_{name}"] += entered
    sizes = [(layer[0].fan_in, layer[0].fan_out) if layer else None for layer in statistics.layers]
    table = pd.DataFrame(
        {
            "epoch": epoch,
            "replicate": np.repeat(np.arange(replicates), rows),
            "layer": np.tile(np.arange(rows), replicates),
            "name": statistics.paths * replicates,
            "fan_in": pd.array([s and s[0] for s in sizes] * replicates, dtype="Int64"),
            "fan_out": pd.array([s and s[1] for s in sizes] * replicates, dtype="Int64"),
        }
    )
    missing = np.full((rows, replicates), np.nan)
    for column in COLUMNS[len(table.columns) :]:
        table[column] = columns.get(column, missing).T.ravel()
    return table, law


def _bounds(statistics: Statistics, shape: tuple[int, int]) -> np.ndarray:
    bounds = np.full(shape, np.nan)
    for row, layers in enumerate(statistics.layers):
        for replicate, layer in enumerate(layers or ()):
            bounds[row, replicate] = layer.lipschitz_bound()
    return bounds


def no_law(request: Request, cotangent: str, epoch: int = 0) -> str:
    """Why there is no law; empty where there may be one."""
    if epoch:
        return "no law: weights have been trained"
    if convolves(request) and cotangent == "loss":
        return "no law is known of a loss behind convolutions"
    return ""


def predict(request: Request, entering: float, cotangent: str) -> Profile:
    """The law of a request's network for a signal of log10 second moment ``entering``."""
    plan = blueprint(request)
    features = plan.width if request.residual else math.prod(plan.input_shape)
    keys = plan.layer_keys
    return profile(
        plan.model,
        plan.init,
        plan.activation,
        (features, *([plan.width] * plan.depth)),
        bias=plan.bias,
        input_second_moment=10.0**entering,
        rows=keys.get("rows", False),
        q=keys.get("q", "one"),
        hidden=keys.get("hidden"),
        init_keys=plan.init_keys,
        between=plan.between,
        cotangent=cotangent,
    )


def predict_images(request: Request, entering: np.ndarray) -> Profile:
    """The same for convolutions; ``entering``: second moments (channels, side, side)."""
    plan = blueprint(request)
    layers = [
        ImageLayer(channels, channels, kernel_size, side)
        for channels, kernel_size, side in hidden_sizes(plan)
    ]
    keys = plan.layer_keys
    return image_profile(
        plan.model,
        plan.init,
        plan.activation,
        layers,
        bias=plan.bias,
        input_second_moment=entering,
        rows=keys.get("rows", False),
        q=keys.get("q", "one"),
        hidden=keys.get("hidden"),
        init_keys=plan.init_keys,
        between=plan.between,
    )
