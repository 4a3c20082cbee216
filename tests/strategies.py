"""Weights and layers for hypothesis, and the exact oracles that tests compare with."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from lipexp.activations import ACTIVATIONS
from lipexp.inits import INITS
from lipexp.layers import LAYERS

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
    layer = make_layer(name, keys, columns, rows, weight)
    if layer.draws_own:
        with torch.no_grad():
            layer.log_q.copy_(torch.from_numpy(3 * generator.standard_normal(layer.log_q.numel())))
    return layer


def exact_norm(matrix: torch.Tensor) -> float:
    """Largest singular value by LAPACK, in float64."""
    return float(torch.linalg.svdvals(matrix.detach().double())[0])


def exact_constant(layer) -> float:
    """The Lipschitz constant of a small layer: its matrix, or all 0/1 slope patterns of a residual.

    Every pattern bounds the true constant from above where rows are dependent; equality else.
    """
    if not hasattr(layer, "branch"):
        return exact_norm(layer.effective_weight())
    branch = layer.branch()
    inner, outer = branch.inner.detach().double(), branch.outer.detach().double()
    hidden = inner.shape[0]
    identity = torch.eye(layer.features, dtype=torch.float64)
    worst = 0.0
    for pattern in range(2**hidden):
        mask = torch.tensor([float(pattern >> k & 1) for k in range(hidden)], dtype=torch.float64)
        worst = max(worst, exact_norm(identity - outer @ (mask[:, None] * inner)))
    return worst


def activation(name: str):
    return ACTIVATIONS[name]()
