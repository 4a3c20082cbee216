"""How much of a network is kept for the way down: which layers are computed twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lipexp.layers.base import FreeWeightModule, LipschitzAffine
from lipexp.networks.network import HiddenLayer
from lipexp.probing.maps import through

# Kept for the backward pass, per unit of width, before layers are computed twice: to compute
# one again costs time in proportion to its width per byte, fresh memory costs the same anywhere.
KEPT_BYTES_PER_UNIT = 2**20
GRAPH_WEIGHTS = 6  # what a step and its rescaling keep, in numbers per entry of the free weight

Shape = tuple[int, ...]


def _output_shape(layer: FreeWeightModule, shape: Shape) -> Shape:
    if not isinstance(layer, LipschitzAffine):  # residual: keeps its shape
        return shape
    if len(layer.free_shape) == 2:
        return (*shape[:-1], layer.free_shape[0])
    weight = torch.zeros(()).expand(layer.free_shape)
    return tuple(layer.apply_weight(weight, torch.zeros(1, *shape)).shape[1:])


def signal_shapes(layers: Sequence[HiddenLayer], entering: Shape) -> list[Shape]:
    """The shapes of z_1, ..., z_depth, one input each, for a signal of shape ``entering``."""
    shapes = []
    for hidden in layers:
        shapes.append(_output_shape(hidden.layer, entering))
        entering = shapes[-1]
        if hidden.maps:
            entering = tuple(through(hidden.maps, torch.zeros(1, 1, *entering)).shape[2:])
    return shapes


def bytes_per_layer(layers: Sequence[HiddenLayer], entering: Tensor) -> list[int]:
    """What the way down needs of each layer; ``entering``: (R, inputs, *shape)."""
    replicates, batch, *shape = entering.shape
    shapes = signal_shapes(layers, tuple(shape))
    return [
        entering.element_size()
        * replicates
        * (batch * math.prod(shape) + GRAPH_WEIGHTS * hidden.layer.free_weight.numel())
        for hidden, shape in zip(layers, shapes, strict=True)
    ]


def default_budget(layers: Sequence[HiddenLayer]) -> int:
    """Bytes that are kept where nothing else is asked for."""
    return KEPT_BYTES_PER_UNIT * max(hidden.layer.free_weight.shape[0] for hidden in layers)


def segments(sizes: Sequence[int], budget: int) -> list[range]:
    """Ranges of rows 1, 2, ..., as long as bytes within the budget allow.

    The budget is at least what sqrt(depth) layers of the largest size need, depth as many as fill
    the whole; a shorter range comes first: the last is kept on the way up and not computed twice.
    """
    largest = max(sizes)
    budget = max(budget, largest * math.ceil(math.sqrt(sum(sizes) / largest)))
    found: list[range] = []
    start = stop = len(sizes) + 1
    kept = 0
    while start > 1:
        if kept + sizes[start - 2] > budget:
            found.append(range(start, stop))
            stop, kept = start, 0
        start -= 1
        kept += sizes[start - 1]
    return [range(1, stop), *reversed(found)]
