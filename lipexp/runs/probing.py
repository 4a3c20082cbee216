"""The probe as a task: a request in, tables, figures and headline numbers out."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from lipexp import __version__, data
from lipexp.config import Request
from lipexp.errors import UserError
from lipexp.networks import NETWORKS
from lipexp.networks.mlp import Blueprint
from lipexp.probing.probe import Statistics, probe
from lipexp.runs.commit import commit
from lipexp.streams import stream
from lipexp.theory import carrying, profile

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
# Columns of layers.csv and the fields of a Profile they come from.
PREDICTED = {
    "predicted_log10_second_moment": "log10_second_moment",
    "predicted_log10_gradient_second_moment": "log10_gradient_second_moment",
    "predicted_log10_weight_variance": "log10_weight_variance",
    "predicted_typical_log10_second_moment": "typical_log10_second_moment",
    "predicted_typical_log10_gradient_second_moment": "typical_log10_gradient_second_moment",
}

# Small products run faster on one thread than split over several, above all beside other work; the
# rule depends on the request alone, so that the same request has the same bits.
ONE_THREAD_ENTRIES = 2**18
_ALL_THREADS = torch.get_num_threads()

# Adam divides by the root of the gradient's second moment plus 1e-8: below 1e-16 it stands still.
TRAINABLE_LOG10 = -16.0


@dataclass
class Result:
    """What a task leaves in its folder."""

    tables: dict[str, pd.DataFrame]
    figures: dict[str, Any]
    summary: dict[str, Any] = field(default_factory=dict)


def choose_device(name: str) -> torch.device:
    """The device of a request; raises UserError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = f"{count} CUDA device(s)" if count else "no CUDA device"
            raise UserError(f"device={name} is not there: this machine has {there}")
    return device


def prepare(request: Request) -> Job:
    """Checks what needs torch and the data; raises UserError before anything is left on disk."""
    device = choose_device(request.device)
    chosen = request.dataset
    if data.DATASETS.fact(chosen["name"], "generated"):
        features = chosen["features"] or request.width
        dataset = data.load(chosen["name"], features=features)
    else:
        dataset = data.load(chosen["name"], folder=chosen["folder"], verify=chosen["verify"])
    inputs, labels = data.draw_inputs(dataset, request.batch, request.seed)
    return Job(request, device, dataset, inputs, labels)


@dataclass
class Job:
    """A probe that is ready to run."""

    request: Request
    device: torch.device
    dataset: data.Dataset
    inputs: np.ndarray
    labels: np.ndarray

    def run(self, progress: Callable[[int, int], None]) -> Result:
        request, began = self.request, time.perf_counter()
        small = request.batch * request.width <= ONE_THREAD_ENTRIES
        torch.set_num_threads(1 if small else _ALL_THREADS)
        dtype = getattr(torch, request.dtype)
        plan = blueprint(request, self.dataset)
        build = NETWORKS[request.network["name"]]
        networks = [
            build(plan, seed=request.seed, replicate=r, dtype=dtype).to(self.device)
            for r in range(request.replicates)
        ]
        statistics = probe(
            networks,
            torch.from_numpy(self.inputs).to(self.device, dtype),
            cotangent=request.task["cotangent"],
            generators=[stream(request.seed, "cotangent", r) for r in range(request.replicates)],
            labels=torch.from_numpy(self.labels).to(self.device),
            histograms=self._histogram_layers(),
            operator_norms=request.task["operator_norms"],
            progress=progress,
        )
        table, law = layer_table(statistics, request, plan)
        summary = self._summary(table, law, time.perf_counter() - began)
        return Result({"layers.csv": table}, self._figures(table, statistics), summary)

    def _histogram_layers(self) -> list[int]:
        wanted, depth = self.request.task["histograms"], self.request.depth
        if wanted != "auto":
            return wanted
        return sorted({1, 2, round(math.sqrt(depth)), depth // 2, depth} - {0})

    def _figures(self, table: pd.DataFrame, statistics: Statistics) -> dict[str, Any]:
        from lipexp.plots import layers

        title = describe(self.request)
        figures = {
            "forward": layers.forward(table, title),
            "backward": layers.backward(table, title),
        }
        if statistics.histograms:
            figures["histograms"] = layers.histograms(statistics.histograms, title)
        return figures

    def _summary(self, table: pd.DataFrame, law: str, seconds: float) -> dict[str, Any]:
        request = self.request
        summary: dict[str, Any] = {
            "name": request.name,
            "version": __version__,
            "task": request.task["name"],
            "depth": request.depth,
            "replicates": request.replicates,
            "batch": request.batch,
            **rates(table, request.depth),
            "law": law,
        }
        summary["warning"] = warning(table, request)
        train, test = self.dataset.count
        return summary | {
            "dataset": request.dataset["name"],
            "dataset_train": train,
            "dataset_test": test,
            "dataset_fingerprint": self.dataset.fingerprint,
            "dataset_verified": self.dataset.verified,
            "dtype": request.dtype,
            "device": self.device.type
            if self.device.type == "cpu"
            else torch.cuda.get_device_name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(seconds, 3),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "commit": commit(),
        }


def describe(request: Request) -> str:
    """A run in a few words, for the head of a figure."""
    keys = ", ".join(f"{k} {v:g}" for k, v in request.group_keys("init").items())
    return (
        f"{request.model['name']}, depth {request.depth}, width {request.width}, "
        f"{request.init['name']}{f' ({keys})' if keys else ''}, bias {request.bias}, "
        f"{request.activation}, {request.dataset['name']}"
    )


def blueprint(request: Request, dataset: data.Dataset) -> Blueprint:
    """The network of a request on a data set."""
    return Blueprint(
        model=request.model["name"],
        depth=request.depth,
        width=request.width,
        input_shape=dataset.shape,
        classes=dataset.classes or None,
        mean=dataset.mean or None,
        activation=request.activation,
        between=request.network["activation"],
        bias=request.bias,
        init=request.init["name"],
        keys=request.group_keys("model"),
        init_keys=request.group_keys("init"),
    )


def layer_table(
    statistics: Statistics, request: Request, plan: Blueprint
) -> tuple[pd.DataFrame, str]:
    """layers.csv, one row per (replicate, layer), and the line that says which law stands in it."""
    columns = dict(statistics.columns)
    rows, replicates = columns["log10_second_moment"].shape
    columns["lipschitz_bound"] = np.full((rows, replicates), np.nan)
    sizes = []
    for row, layers in enumerate(statistics.layers):
        sizes.append(_sizes(layers[0]) if layers else (pd.NA, pd.NA))
        for replicate, layer in enumerate(layers or ()):
            columns["lipschitz_bound"][row, replicate] = layer.lipschitz_bound()
    law = ""
    for replicate in range(replicates):
        second_moment = columns["log10_second_moment"][0, replicate]
        law = _predict(columns, replicate, request, plan, second_moment, rows, replicates)
    table = pd.DataFrame(
        {
            "epoch": 0,
            "replicate": np.repeat(np.arange(replicates), rows),
            "layer": np.tile(np.arange(rows), replicates),
            "name": statistics.paths * replicates,
            "fan_in": pd.array([s[0] for s in sizes] * replicates, dtype="Int64"),
            "fan_out": pd.array([s[1] for s in sizes] * replicates, dtype="Int64"),
        }
    )
    missing = np.full((rows, replicates), np.nan)
    for column in (*MEASURED, *PREDICTED):
        table[column] = columns.get(column, missing).T.ravel()
    return table, law


def _sizes(layer) -> tuple[int, int]:
    """(fan_in, fan_out); a residual layer: features and hidden units."""
    fan_out, fan_in = layer.effective_weight().shape
    return (fan_out, fan_in) if hasattr(layer, "branch") else (fan_in, fan_out)


def _predict(columns, replicate, request: Request, plan: Blueprint, entering, rows, replicates):
    """Fills one replicate's predicted columns; returns the law's line."""
    features = request.width if request.residual else math.prod(plan.input_shape)
    keys = request.group_keys("model")
    law = profile(
        request.model["name"],
        request.init["name"],
        request.activation,
        (features, *([request.width] * request.depth)),
        bias=request.bias,
        input_second_moment=10.0**entering,
        rows=keys.get("rows", False),
        q=keys.get("q", "one"),
        hidden=keys.get("hidden"),
        init_variance=init_variance(request.init),
        between=request.network["activation"],
    )
    for column, field_name in PREDICTED.items():
        values = getattr(law, field_name)
        target = columns.setdefault(column, np.full((rows, replicates), np.nan))
        gradient_of_head = "gradient" in column and request.task["cotangent"] == "loss"
        shift = columns["log10_gradient_second_moment"][request.depth, replicate]
        target[: len(values), replicate] = values + (shift if gradient_of_head else 0.0)
    return law.law


def init_variance(init: Mapping[str, Any]) -> float | None:
    """The variance of an iid init's entries where it does not depend on the layer; else None."""
    if init["name"] == "gnd":
        alpha, beta = init["alpha"], init["beta"]
        if math.isinf(beta):
            return alpha**2 / 3
        return alpha**2 * math.exp(math.lgamma(3 / beta) - math.lgamma(1 / beta))
    return {"normal": 1.0, "uniform": 1 / 3, "laplace": 2.0}.get(init["name"])


def rates(table: pd.DataFrame, depth: int) -> dict[str, float | None]:
    """Decay per layer, measured and predicted: slopes over layers 2..depth, means over replicates.

    Negative where signal is lost on the way: forward going up, backward going down.
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
    signal = table[table["layer"] == request.depth]["predicted_log10_second_moment"].mean()
    gradient = table[table["layer"] == 1]["predicted_log10_gradient_second_moment"].mean()
    if signal < TRAINABLE_LOG10:
        what = f"the signal's mean square falls to 10^{signal:.0f} at layer {request.depth}"
    elif gradient < TRAINABLE_LOG10:
        what = (
            f"the gradient's mean square falls to 10^{gradient:.0f} at layer 1 (the bias keeps the "
            "signal's size, but nothing of the input reaches the last layer)"
        )
    else:
        return None
    text = (
        f"by the law, {what}; training in float32 needs about 10^{TRAINABLE_LOG10:.0f}, so this "
        "network will not learn"
    )
    cures = _cures(request)
    return f"{text}. What carries signal to any depth: {'; '.join(cures)}" if cures else text


def _cures(request: Request) -> list[str]:
    """Inits that carry the signal: with the activation asked for, else with maxmin."""
    model, wanted = request.model["name"], request.activation
    pairs = carrying(model, wanted, width=request.width)
    named = [f"init={init}" for init, activation in pairs if activation == wanted]
    if ("orthogonal", "maxmin") in pairs and wanted != "maxmin":
        named.append("init=orthogonal activation=maxmin")
    return named
