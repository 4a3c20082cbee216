"""Small networks for certificates: plain layers of given matrices, and networks drawn at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.layers import CONVOLUTIONS, LAYERS, Centre, FirstFeatures, Flatten, SumPool
from lipexp.layers.linear import PlainLinear
from lipexp.lipschitz import ExactMap
from tests.strategies import CHOICES, make_layer

Draw = Callable[[tuple[int, ...]], np.ndarray]  # numbers of a shape


def linear(matrix, bias=None) -> PlainLinear:
    """The float64 layer x -> matrix x + bias."""
    matrix = torch.as_tensor(matrix, dtype=torch.float64)
    layer = PlainLinear(
        matrix.shape[1], matrix.shape[0], bias is not None, init=None, dtype=torch.float64
    )
    bias = None if bias is None else torch.as_tensor(bias, dtype=torch.float64).numpy()
    layer.fill(matrix.numpy(), bias)
    return layer


class Formula(ExactMap):
    """Any map, for what no layer computes."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x):
        return self.formula(x)


def some(generator: np.random.Generator, things: Sequence):
    return things[generator.integers(len(things))]


def fitting(generator: np.random.Generator, names: Sequence[str], units: int) -> nn.Module:
    """One of the activations that so many units, or channels, can have."""
    names = [name for name in names if units % ACTIVATIONS.fact(name, "multiple", 1) == 0]
    return ACTIVATIONS[some(generator, names)]()


def drawn_mlp(
    generator: np.random.Generator, weight: Draw, bias: Draw, activations: Sequence[str]
) -> tuple[nn.Sequential, tuple[int, ...]]:
    """(network, shape of an input): up to three layers of any model, any head; wild q at times."""

    def layer(name, keys, columns, rows):
        made = make_layer(name, keys, columns, rows, weight((rows, columns)), bias((rows,)))
        if hasattr(made, "log_q") and made.log_q is not None and generator.integers(2):
            with torch.no_grad():
                q = generator.uniform(-700, 700, made.log_q.numel())
                made.log_q.copy_(torch.from_numpy(q * generator.choice([1, 1e-2])))
        return made

    inputs = size = int(generator.integers(1, 5))
    modules: list[nn.Module] = []
    for _ in range(generator.integers(1, 4)):
        name, keys = some(generator, CHOICES)
        if LAYERS.fact(name, "residual"):
            modules.append(layer(name, keys, size, int(generator.integers(1, 4))))
            continue
        rows = int(generator.integers(1, 5))
        modules += [layer(name, keys, size, rows), fitting(generator, activations, rows)]
        size = rows
    heads = [choice for choice in CHOICES if not LAYERS.fact(choice[0], "residual")]
    modules.append(layer(*some(generator, heads), size, int(generator.integers(2, 5))))
    if generator.integers(2):
        modules.append(FirstFeatures(2))
    return nn.Sequential(*modules), (inputs,)


def drawn_convnet(
    generator: np.random.Generator,
    weight: Draw,
    bias: Draw,
    activations: Sequence[str],
    *,
    sides: Sequence[int],
    most: int,
) -> tuple[nn.Sequential, tuple[int, ...]]:
    """One or two convolutions of tiny images, centred, and a dense head.

    ``most``: hidden signals of more numbers have no activation, or one channel in a residual block.
    """
    channels, side = int(generator.integers(1, 3)), int(some(generator, sides))
    shape = (channels, side, side)
    modules: list[nn.Module] = [Centre((0.3,) * channels, shape)]
    for _ in range(generator.integers(1, 3)):
        name = some(generator, list(CONVOLUTIONS))
        residual = CONVOLUTIONS.fact(name, "residual")
        rows = 1 if residual and 2 * side**2 > most else int(generator.integers(1, 3))
        kernel, mode = some(generator, (1, 2, 3)), some(generator, ("zeros", "circular"))
        layer = CONVOLUTIONS[name](
            channels, rows, kernel, padding_mode=mode, init=None, dtype=torch.float64
        )
        layer.fill(weight(layer.free_shape), bias((rows,)))
        modules.append(layer)
        if not residual:
            channels = rows
            if channels * side**2 <= most:
                modules.append(fitting(generator, activations, channels).over_channels())
    if side % 2 == 0:
        modules.append(SumPool(2))
        side //= 2
    head = linear(weight((3, channels * side**2)), bias((3,)))
    return nn.Sequential(*modules, Flatten(), head), shape
