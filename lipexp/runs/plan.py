"""From a checked request to the network it asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lipexp.config import Request, typed
from lipexp.data import DATASETS
from lipexp.networks import NETWORKS
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.trial import try_plugins
from lipexp.registry import resolve


def describe(request: Request) -> str:
    """A run in a few words, for the head of a figure."""
    keys = ", ".join(f"{key} {typed(v)}" for key, v in request.group_keys("init").items())
    network = "" if request.network["name"] == "mlp" else f" {request.network['name']}"
    return (
        f"{request.model['name']}{network}, depth {request.depth}, width {request.width}, "
        f"{request.init['name']}{f' ({keys})' if keys else ''}, bias {request.bias}, "
        f"{request.activation}, {request.dataset['name']}"
    )


def blueprint(request: Request) -> Blueprint:
    """The network of a request, of what is known of its data set without reading it."""
    facts: dict[str, Any] = dict(DATASETS.entry(request.dataset["name"]).facts)
    shape = facts["shape"] or (request.dataset["features"],)
    return Blueprint(
        model=request.model["name"],
        depth=request.depth,
        width=request.width,
        input_shape=tuple(shape),
        classes=facts.get("classes") or None,
        mean=facts.get("mean") or None,
        activation=request.activation,
        between=request.network["activation"],
        head=request.network["head"],
        bias=request.bias,
        init=request.init["name"],
        layer_keys=request.group_keys("model"),
        init_keys=request.group_keys("init"),
    )


def check_plan(request: Request) -> None:
    """Raises UserError for a network that cannot be built, or a plugin that lies."""
    plan = blueprint(request)
    check = NETWORKS.fact(request.network["name"], "check")
    if check is not None:
        resolve(check)(plan)
    try_plugins(plan)


def convolves(request: Request) -> bool:
    """Whether the network's signals are images."""
    return NETWORKS.fact(request.network["name"], "pixels") is not None


def entries_of_a_signal(request: Request) -> int:
    """How many numbers a hidden layer's signal has, of one input."""
    return request.width * (NETWORKS.fact(request.network["name"], "pixels") or 1)


def build(request: Request, *, replicate: int = 0) -> nn.Module:
    """The network, of the request's dtype, with the weights of its seed and a replicate."""
    make, dtype = NETWORKS[request.network["name"]], getattr(torch, request.dtype)
    return make(blueprint(request), seed=request.seed, replicate=replicate, dtype=dtype)
