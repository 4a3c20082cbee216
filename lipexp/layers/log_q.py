"""The free weights q = exp(log_q) that a layer's sums may be weighed by, one per unit."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lipexp.layers.base import FreeWeightModule


def make_log_q(layer: FreeWeightModule, size: int, q: str) -> None:
    """Gives a layer its free weights q = exp(log_q), one per unit: 1 at the start, or exp(N(0, 1)).

    Raises ValueError for another start than "one" or "normal".
    """
    if q not in ("one", "normal"):
        raise ValueError(f"q must be 'one' or 'normal'. Got {q!r} instead.")
    layer.draws_own = q == "normal"
    layer.log_q = nn.Parameter(layer.weight.new_zeros(size))
    if layer.draws_own:
        nn.init.normal_(layer.log_q)


def refill_log_q(layer: FreeWeightModule, generator: np.random.Generator) -> None:
    """A draw of log_q from a generator."""
    with torch.no_grad():
        layer.log_q.copy_(torch.from_numpy(generator.standard_normal(layer.log_q.numel())))


def log_q_range(layer: FreeWeightModule) -> float:
    """Largest less smallest log_q."""
    log_q = layer.log_q.detach().double()
    return float(log_q.max() - log_q.min())
