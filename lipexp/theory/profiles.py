"""A whole network's closed form, layer by layer: what stands beside a measured profile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lipexp.theory.activations import LEAKY_SLOPE
from lipexp.theory.bias import BIAS_MODES, bias_variance
from lipexp.theory.gaussian import check_sizes
from lipexp.theory.steps import feedforward_steps, residual_block_steps
from lipexp.theory.weights import rescales_rows

COTANGENTS = ("gaussian", "ones", "loss")


@dataclass(frozen=True)
class Profile:
    """Laws of a network with L layers: float64 arrays of length L + 1, log10, NaN without a law.

    Index l is the output z_l of layer l before its activation (of block l), 0 the input of layer 1.
    Gradients are of a cotangent that enters at z_L with unit second moment (see `profile`).
    ``typical`` is the mean of the logarithm, the others the logarithm of the mean over networks.
    ``law`` says in one line which law it is.
    """

    log10_second_moment: np.ndarray
    typical_log10_second_moment: np.ndarray
    log10_gradient_second_moment: np.ndarray
    typical_log10_gradient_second_moment: np.ndarray
    log10_input_variance: np.ndarray
    typical_log10_input_variance: np.ndarray
    log10_weight_variance: np.ndarray
    law: str


def _accumulate(start: float, steps: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
    """start, then m_l = m_(l-1) 10^(step_l) + added_l, all in log10, without a loop.

    m_l = P_l (m_0 + sum_(k <= l) added_k / P_k) with P_l the product of the gains so far: the logs
    reach 10^4 and lose about 1e-11.
    """
    product = np.concatenate([[0.0], np.cumsum(steps)])
    if added is None:
        return start + product
    sources = np.concatenate([[start], added - product[1:]]) * math.log(10)
    with np.errstate(invalid="ignore"):  # NaN, no law, stays NaN
        return np.logaddexp.accumulate(sources) / math.log(10) + product


def _bias_log10(bias: str, widths: Sequence[int], rows: bool | str) -> np.ndarray:
    pairs = list(pairwise(widths))
    if bias not in BIAS_MODES:
        return np.full(len(pairs), math.nan)
    found = {}
    for n, d in set(pairs):
        by_rows = rescales_rows(rows, fan_in=n, fan_out=d)
        found[n, d] = math.log10(bias_variance(bias, fan_in=n, fan_out=d, rows=by_rows))
    return np.array([found[pair] for pair in pairs])


def _moment_log10(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a float in the range [0, inf). Got {value} instead.")
    return math.log10(value) if value > 0 else -math.inf


def profile(
    model: str,
    init: str,
    activation: str,
    widths: Sequence[int],
    *,
    bias: str = "zero",
    input_second_moment: float = 1.0,
    input_variance: float | None = None,
    rows: bool | str = False,
    q: str = "one",
    hidden: int | None = None,
    slope: float = LEAKY_SLOPE,
    init_keys: Mapping | None = None,
    between: str = "identity",
    cotangent: str = "gaussian",
) -> Profile:
    """The laws of a network with layer widths (n_0, ..., n_L); layer l maps n_(l-1) to n_l.

        m_1 = n_0 q_1 m_0 + Var b_1,   m_(l+1) = n_l q_(l+1) c_phi m_l + Var b_(l+1)
        gradient at z_l = n_(l+1) q_(l+1) c_phi times that at z_(l+1); no c_phi at index 0

    with the rates of `decay_per_layer`, whose keywords these are, and Var b of `bias_variance`.
    Residual blocks (``model="sll"``): equal widths, ``hidden`` units inside (default: as many as
    features), ``between`` the activation between blocks; a law only where it preserves norms
    (identity, maxmin, abs), and without a bias.
    Typical profiles take the typical gain from layer 2 on, in the recursion with a bias too.
    ``input_variance`` (default: ``input_second_moment``) is the variance of z_0 over inputs, mean
    over units; behind layer 1 it has a law for linear networks, and under a bias for small
    deviations, which lose what a zero-bias signal loses.
    ``cotangent``: "gaussian" and "ones" enter at z_L independent of it, "loss" has passed the
    slopes of the activation behind layer L.  They differ where the weights are the identity, so
    that every layer has the same mask: (1 + a^(2k))/2 against (1 + a^(2(k+1)))/(1 + a^2), k layers
    before z_L, slope a.

    Names that lipexp does not have give NaN, never an error.  Raises ValueError for fewer than two
    widths, widths below 1, unequal widths of residual blocks, negative or infinite moments, and a
    cotangent that is none of these.
    Source: arXiv 2503.00240 and NOTES.md.
    """
    if len(widths) < 2:
        raise ValueError(f"widths must hold at least 2 sizes. Got {tuple(widths)} instead.")
    check_sizes(width=min(widths))
    if cotangent not in COTANGENTS:
        raise ValueError(
            f"cotangent must be one of {', '.join(COTANGENTS)}. Got {cotangent!r} instead."
        )
    start = _moment_log10("input_second_moment", input_second_moment)
    start_variance = start
    if input_variance is not None:
        start_variance = _moment_log10("input_variance", input_variance)
    biased = bias not in ("zero", "none")
    options = {"biased": biased, "slope": slope, "q": q}
    if model == "sll":
        steps = residual_block_steps(
            init, activation, widths, hidden=hidden, between=between, **options
        )
    else:
        steps = feedforward_steps(
            model,
            init,
            activation,
            widths,
            rows=rows,
            init_keys=init_keys,
            masked=cotangent == "loss",
            **options,
        )
    added = _bias_log10(bias, widths, rows) if biased else None
    backward = steps.backward[:, ::-1]
    return Profile(
        log10_second_moment=_accumulate(start, steps.forward[0], added),
        typical_log10_second_moment=_accumulate(start, steps.forward[1], added),
        log10_gradient_second_moment=_accumulate(0.0, backward[0])[::-1].copy(),
        typical_log10_gradient_second_moment=_accumulate(0.0, backward[1])[::-1].copy(),
        log10_input_variance=_accumulate(start_variance, steps.deviations[0]),
        typical_log10_input_variance=_accumulate(start_variance, steps.deviations[1]),
        log10_weight_variance=np.concatenate([[math.nan], steps.weights]),
        law=steps.law,
    )
