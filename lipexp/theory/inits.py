"""Variances of free weights under the iid inits."""

from __future__ import annotations

import math
from collections.abc import Mapping

_UNSCALED = {"normal": 1.0, "uniform": 1 / 3, "laplace": 2.0}


def free_weight_variance(
    init: str, *, fan_in: int, fan_out: int, alpha: float = 1.0, beta: float = 0.5
) -> float | None:
    """Variance of a free weight's entries under an iid init; ``alpha`` and ``beta`` are gnd's.

    gnd: alpha^2 Gamma(3/beta) / Gamma(1/beta), alpha^2 / 3 for beta = inf.  None for an init that
    is not iid, and where it overflows.
    """
    if init == "gnd":
        if math.isinf(beta):
            return alpha * alpha / 3
        log_ratio = math.lgamma(3 / beta) - math.lgamma(1 / beta)
        return alpha * alpha * math.exp(log_ratio) if log_ratio < 700 else None
    if init.startswith("kaiming"):
        return 2 / fan_in
    if init.startswith("xavier"):
        return 2 / (fan_in + fan_out)
    return _UNSCALED.get(init)


def shape_of_entries(init: str, init_keys: Mapping | None = None) -> float:
    """beta of the generalised normal that an iid init draws from: 2 normal, 1 Laplace, inf uniform.

    gnd: its key ``beta``, by default 1/2.
    """
    if init == "gnd":
        return float((init_keys or {}).get("beta", 0.5))
    if init == "laplace":
        return 1.0
    return math.inf if init.endswith("uniform") else 2.0
