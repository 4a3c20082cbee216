"""What decides a network, and how its layers are filled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lipexp.inits import INITS
from lipexp.layers.base import FreeWeightModule
from lipexp.streams import stream
from lipexp.theory import bias_variance


@dataclass(frozen=True)
class Blueprint:
    """Everything that decides a network.

    ``input_shape``: (features,) or (channels, height, width); ``mean``: the centring constant per
    channel, or None; ``classes``: None for a network without a head; ``bias``: zero, default,
    normal, corrected or none; ``between``: the activation between residual blocks; ``head``: same,
    a layer of the model, or normalised; ``layer_keys`` go to the layer's constructor, ``init_keys``
    to the init.
    """

    model: str
    depth: int
    width: int
    input_shape: tuple[int, ...]
    classes: int | None = None
    mean: tuple[float, ...] | None = None
    activation: str = "relu"
    between: str = "identity"
    head: str = "same"
    bias: str = "zero"
    init: str = "normal"
    layer_keys: Mapping[str, object] = field(default_factory=dict)
    init_keys: Mapping[str, object] = field(default_factory=dict)


class Filler:
    """Fills layers from the streams of one replicate: layer l's draw is the same at every depth."""

    def __init__(self, plan: Blueprint, seed: int, replicate: int):
        self._plan, self._seed, self._replicate = plan, seed, replicate

    def fill(self, layer: FreeWeightModule, place: str, number: int = 0) -> FreeWeightModule:
        """Fills weight, bias and what else the layer draws; ``place`` and ``number`` name it.

        On the meta device there is nothing to fill, and nothing is drawn.
        """
        if layer.free_weight.is_meta:
            return layer

        def of(what: str) -> np.random.Generator:
            return stream(self._seed, f"{what} {place}", self._replicate, number)

        weight = INITS[self._plan.init](layer.free_shape, of("weights"), **self._plan.init_keys)
        bias = None
        if layer.bias is not None and self._plan.bias != "zero":
            bias = self._bias(layer, of("bias"))
        layer.fill(weight, bias)  # a layer's bias is zero to begin with
        if layer.draws_own:
            layer.fill_own(of("own"))
        return layer

    def _bias(self, layer: FreeWeightModule, generator: np.random.Generator) -> np.ndarray:
        """torch's uniform, or Gaussian of the bias mode's variance."""
        mode, size = self._plan.bias, layer.bias.numel()
        if mode == "default":
            bound = 1 / math.sqrt(layer.fan_in)
            return generator.uniform(-bound, bound, size)
        rows = getattr(layer, "rows", False)
        variance = bias_variance(mode, fan_in=layer.fan_in, fan_out=layer.fan_out, rows=rows)
        return math.sqrt(variance) * generator.standard_normal(size)
