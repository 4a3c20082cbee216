"""The multilayer perceptron: input -> (adapter) -> width x depth -> classes."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.layers import LAYERS
from lipexp.layers.base import FreeWeightModule
from lipexp.layers.normalised import NormalisedLinear
from lipexp.layers.plumbing import Centre, Flatten, ZeroPad
from lipexp.networks.blueprint import Blueprint, Filler
from lipexp.networks.network import Network


def mlp(plan: Blueprint, *, seed: int, replicate: int = 0, dtype=torch.float64) -> Network:
    """Builds the network of a blueprint with the weights of one seed and replicate.

    Feedforward layers: features -> width -> ... -> width -> classes, the activation behind each
    hidden layer.  Residual layers keep their size, so an adapter (not counted) brings the input to
    the width: zero padding, or an AOL layer with rows rescaled where the input is wider; their head
    is an AOL layer, rows rescaled where it narrows.  A normalised head is a `NormalisedLinear`.
    """
    filler = Filler(plan, seed, replicate)
    common: dict[str, Any] = {"bias": plan.bias != "none", "init": None, "dtype": dtype}
    make = LAYERS[plan.model]
    residual = LAYERS.fact(plan.model, "residual", False)
    narrow = LAYERS["aol"]
    features = math.prod(plan.input_shape)

    stem: list[tuple[str, nn.Module]] = []
    if plan.mean is not None:
        stem.append(("centre", Centre(plan.mean, plan.input_shape)))
    if len(plan.input_shape) > 1:
        stem.append(("flatten", Flatten()))
    if residual and features < plan.width:
        stem.append(("pad", ZeroPad(features, plan.width)))
    elif residual and features > plan.width:
        adapter = narrow(features, plan.width, rows=True, **common)
        stem.append(("adapter", filler.fill(adapter, "adapter")))

    def hidden_layer(number: int) -> FreeWeightModule:
        if residual:
            keys = dict(plan.layer_keys)
            hidden = keys.pop("hidden", None)
            return make(plan.width, hidden, activation=plan.activation, **keys, **common)
        entering = features if number == 1 else plan.width
        return make(entering, plan.width, **plan.layer_keys, **common)

    body: list[tuple[str, nn.Module]] = []
    follows = ACTIVATIONS[plan.between if residual else plan.activation]
    for number in range(1, plan.depth + 1):
        layer = filler.fill(hidden_layer(number), "layer", number)
        body += [(f"layer{number}", layer), (f"activation{number}", follows())]

    head = None
    if plan.classes is not None:
        if plan.head == "normalised":
            head = NormalisedLinear(plan.width, plan.classes, **common)
        elif residual:
            head = narrow(plan.width, plan.classes, rows="auto", **common)
        else:
            head = make(plan.width, plan.classes, **plan.layer_keys, **common)
        filler.fill(head, "head")
    return Network(nn.Sequential(OrderedDict(stem)), nn.Sequential(OrderedDict(body)), head)
