"""Weights and layers for hypothesis."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import strategies as st

from lipexp.activations import ACTIVATIONS
from lipexp.inits import INITS
from lipexp.layers import CONVOLUTIONS, LAYERS

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 9)
exponents = st.integers(-150, 150)
RESIDUAL = [name for name in LAYERS if LAYERS.fact(name, "residual")]
FEEDFORWARD = [name for name in LAYERS if not LAYERS.fact(name, "residual")]


def variants(name: str) -> list[dict]:
    """Every choice of a layer's own keys."""
    return {
        "aol": [{"rows": False}, {"rows": True}, {"rows": "auto"}],
        "sll_feedforward": [{"rows": r, "q": q} for r in (False, True) for q in ("one", "normal")],
        "sll": [{"q": q} for q in ("one", "normal")],
    }.get(name, [{}])


CHOICES = [(name, keys) for name in LAYERS for keys in variants(name)]
CONVOLUTION_CHOICES = [(name, keys) for name in CONVOLUTIONS for keys in variants(name)]


def describe(choice) -> str:
    """A choice as a test's name."""
    return "-".join([choice[0], *(f"{k}={v}" for k, v in choice[1].items())])


def make_layer(name, keys, columns, rows, weight, bias=None, dtype=torch.float64):
    """A layer of ``columns`` inputs, ``rows`` outputs (residual: hidden units) and that weight."""
    common = {"bias": bias is not None, "init": None, "dtype": dtype}
    layer = LAYERS[name](columns, rows, **keys, **common)
    layer.fill(weight, bias)
    return layer


def drawn_layer(name, keys, columns, rows, init, exponent, seed):
    """A layer filled by an init and scaled by 10^exponent; q of scale 3 where it is drawn."""
    generator = np.random.default_rng(seed)
    weight = INITS[init]((rows, columns), generator) * 10.0**exponent
    return draw_q(make_layer(name, keys, columns, rows, weight), seed)


def make_convolution(name, keys, inputs, outputs, kernel, bias=None, dtype=torch.float64, **window):
    """The same for images; ``window``: stride, padding, padding_mode."""
    common = {"bias": bias is not None, "init": None, "dtype": dtype}
    side = kernel.shape[-1]
    layer = CONVOLUTIONS[name](inputs, outputs, kernel_size=side, **keys, **window, **common)
    layer.fill(kernel, bias)
    return layer


@st.composite
def windows(draw, residual=False):
    """(side of the kernel, keys of the constructor, height, width of an image that it fits)."""
    side = draw(st.sampled_from((1, 2, 3, 5)))
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    keys = {"padding_mode": draw(st.sampled_from(("zeros", "circular")))}
    if residual:
        return side, keys, height, width
    keys["stride"] = draw(st.sampled_from((1, 2)))
    least = max(0, math.ceil((side - min(height, width)) / 2))
    if keys["padding_mode"] == "zeros" and draw(st.booleans()):
        keys["padding"] = draw(st.integers(least, side + 1))
    return side, keys, height, width


@st.composite
def kernels(draw, outputs, inputs, side):
    """Kernels by every init, of any scale, with zero channels and channels of other scales."""
    generator = np.random.default_rng(draw(seeds))
    shape = (outputs, inputs, side, side)
    kernel = INITS[draw(st.sampled_from(sorted(INITS)))](shape, generator)
    if draw(st.booleans()):
        kernel = np.abs(kernel)  # where AOL is tight
    if draw(st.booleans()):
        kernel *= 10.0 ** generator.integers(-8, 1, (1, inputs, 1, 1))
        kernel *= 10.0 ** generator.integers(-8, 1, (outputs, 1, 1, 1))
    kernel *= generator.random((outputs, 1, 1, 1)) < draw(st.sampled_from((0.5, 1)))
    kernel *= generator.random((1, inputs, 1, 1)) < draw(st.sampled_from((0.5, 1)))
    return kernel * 10.0 ** draw(exponents)


def draw_q(layer, seed, spread=3.0):
    """Another log_q for a layer that draws one, of standard deviation ``spread``."""
    if layer.draws_own:
        with torch.no_grad():
            drawn = spread * np.random.default_rng(seed).standard_normal(layer.log_q.numel())
            layer.log_q.copy_(torch.from_numpy(drawn))
    return layer


def activation(name: str):
    return ACTIVATIONS[name]()
