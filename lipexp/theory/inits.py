"""Variances of free weights under the iid inits."""

from __future__ import annotations

import math

_UNSCALED = {"normal": 1.0, "uniform": 1 / 3, "laplace": 2.0}


def free_weight_variance(
    init: str, *, fan_in: int, fan_out: int, alpha: float | None = None, beta: float | None = None
) -> float | None:
    """Variance of a free weight's entries under an iid init; ``alpha`` and ``beta`` are gnd's.

    gnd: alpha^2 Gamma(3/beta) / Gamma(1/beta), alpha^2 / 3 for beta = inf.  None for an init that
    is not iid, for gnd without its keys, and where it overflows.
    """
    if init == "gnd":
        if alpha is None or beta is None:
            return None
        if math.isinf(beta):
            return alpha**2 / 3
        log_ratio = math.lgamma(3 / beta) - math.lgamma(1 / beta)
        return alpha**2 * math.exp(log_ratio) if log_ratio < 700 else None
    if init.startswith("kaiming"):
        return 2 / fan_in
    if init.startswith("xavier"):
        return 2 / (fan_in + fan_out)
    return _UNSCALED.get(init)
