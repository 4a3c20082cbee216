"""The multilayer perceptron: input -> (adapter) -> width x depth -> classes."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.layers.base import FreeWeightModule
from lipexp.layers.plumbing import Centre, Flatten, ZeroPad
from lipexp.networks.network import Network
from lipexp.streams import stream
from lipexp.theory import bias_variance


@dataclass(frozen=True)
class Blueprint:
    """Everything that decides a network.

    ``input_shape``: (features,) or (channels, height, width); ``mean``: the centring constant per
    channel, or None; ``classes``: None for a network without a head; ``bias``: zero, default,
    normal, corrected or none; ``between``: the activation between residual blocks; ``keys`` go to
    the layer's constructor, ``init_keys`` to the init.
    """

    model: str
    depth: int
    width: int
    input_shape: tuple[int, ...]
    classes: int | None = None
    mean: tuple[float, ...] | None = None
    activation: str = "relu"
    between: str = "identity"
    bias: str = "zero"
    init: str = "normal"
    keys: Mapping[str, object] = field(default_factory=dict)
    init_keys: Mapping[str, object] = field(default_factory=dict)


def draw_bias(mode: str, size: int, fan_in: int, fan_out: int, rows: bool, generator) -> np.ndarray:
    """A layer's bias: zeros, torch's uniform, or Gaussian of the mode's variance."""
    if mode == "default":
        bound = 1 / math.sqrt(fan_in)
        return generator.uniform(-bound, bound, size)
    variance = bias_variance(mode, fan_in=fan_in, fan_out=fan_out, rows=rows)
    return math.sqrt(variance) * generator.standard_normal(size) if variance else np.zeros(size)


class _Filler:
    """Fills layers from the streams of one replicate: layer l's draw is the same at every depth."""

    def __init__(self, blueprint: Blueprint, seed: int, replicate: int):
        self._blueprint, self._seed, self._replicate = blueprint, seed, replicate

    def fill(self, layer: FreeWeightModule, place: str, number: int) -> FreeWeightModule:
        plan = self._blueprint

        def of(what: str):
            return stream(self._seed, f"{what} {place}", self._replicate, number)

        fan_out, fan_in = _free_shape(layer)
        weight = INITS[plan.init]((fan_out, fan_in), of("weights"), **plan.init_keys)
        bias = None
        if layer.bias is not None:
            rows = getattr(layer, "rows", False)
            bias = draw_bias(plan.bias, layer.bias.numel(), fan_in, fan_out, rows, of("bias"))
        layer.fill(weight, bias)
        if getattr(layer, "q_mode", None) == "normal":
            with torch.no_grad():
                layer.q.copy_(torch.from_numpy(of("q").standard_normal(layer.q.numel())))
        return layer


def _free_shape(layer: FreeWeightModule) -> tuple[int, int]:
    if hasattr(layer, "hidden_features"):
        return layer.hidden_features, layer.features
    return layer.out_features, layer.in_features


def mlp(plan: Blueprint, *, seed: int, replicate: int = 0, dtype=torch.float64) -> Network:
    """Builds the network of a blueprint with the weights of one seed and replicate.

    Feedforward layers: features -> width -> ... -> width -> classes, the activation behind each
    hidden layer.  Residual layers keep their size, so an adapter (not counted) brings the input to
    the width: zero padding, or an AOL layer with rows rescaled where the input is wider; their head
    is an AOL layer, rows rescaled where it narrows.
    """
    filler = _Filler(plan, seed, replicate)
    with_bias = plan.bias != "none"
    common = {"bias": with_bias, "init": None, "dtype": dtype}
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
        stem.append(("adapter", filler.fill(adapter, "adapter", 0)))

    body: list[tuple[str, nn.Module]] = []
    follows: Callable[[], nn.Module] = ACTIVATIONS[plan.between if residual else plan.activation]
    for number in range(1, plan.depth + 1):
        if residual:
            layer = make(plan.width, activation=plan.activation, **_residual_keys(plan), **common)
        else:
            layer = make(features if number == 1 else plan.width, plan.width, **plan.keys, **common)
        body.append((f"layer{number}", filler.fill(layer, "layer", number)))
        body.append((f"activation{number}", follows()))

    head = None
    if plan.classes is not None:
        if residual:
            head = narrow(plan.width, plan.classes, rows="auto", **common)
        else:
            head = make(plan.width, plan.classes, **plan.keys, **common)
        filler.fill(head, "head", 0)
    return Network(nn.Sequential(OrderedDict(stem)), nn.Sequential(OrderedDict(body)), head)


def _residual_keys(plan: Blueprint) -> dict[str, object]:
    keys = dict(plan.keys)
    keys["hidden_features"] = keys.pop("hidden", None)
    return keys
