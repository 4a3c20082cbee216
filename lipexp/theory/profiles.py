"""A whole network's closed form, layer by layer: what stands beside a measured profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lipexp.theory.activations import LEAKY_SLOPE, ActivationLaw, activation_law
from lipexp.theory.bias import BIAS_MODES, bias_variance
from lipexp.theory.gaussian import check_sizes
from lipexp.theory.rates import has_gain, layer_gain
from lipexp.theory.residual import residual_steps
from lipexp.theory.weights import (
    GAUSSIAN_INITS,
    IID_INITS,
    Shape,
    WeightLaw,
    rescales_rows,
    weight_law,
)

_NAN = math.nan
_LINEAR = ActivationLaw(1.0, residual=True)  # stands for "no activation here"


@dataclass(frozen=True)
class Profile:
    """Laws of a network with L layers: float64 arrays of length L + 1, log10, NaN without a law.

    Index l is the output z_l of layer l before its activation (of block l), 0 the input of layer 1.
    Gradients are of a cotangent that enters at z_L with unit second moment, independent of z_L.
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


@dataclass
class _Steps:
    """log10 gains of one network, NaN where no law is known; pairs are (law, typical).

    forward[l - 1] leads from z_(l-1) to z_l, backward[l - 1] from the cotangent at z_l to that at
    z_(l-1).  ``deviations`` are the forward gains of small differences between two inputs.
    """

    forward: np.ndarray  # (2, L)
    backward: np.ndarray  # (2, L)
    deviations: np.ndarray  # (2, L)
    weights: np.ndarray  # (L,)
    law: str

    @classmethod
    def unknown(cls, depth: int, law: str) -> _Steps:
        nothing = np.full((2, depth), _NAN)
        return cls(nothing, nothing.copy(), nothing.copy(), np.full(depth, _NAN), law)


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


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


def _gains(
    pairs: list[tuple[int, int]],
    weights: dict[tuple[int, int], WeightLaw],
    phi: ActivationLaw,
    backward: bool,
) -> np.ndarray:
    """Gains (2, L) of feedforward layers one way; layer 1 meets no activation in front of it."""
    keys = [(pair, index == 0) for index, pair in enumerate(pairs)]
    gains = {}
    for pair, first in set(keys):
        law, typical = layer_gain(
            weights[pair],
            _LINEAR if first else phi,
            fan_in=pair[0],
            fan_out=pair[1],
            backward=backward,
        )
        # Forward, a batch of independent inputs averages the spread of layer 1 out, and only of
        # layer 1: behind it the inputs share what the layers before did to them.
        if first and not backward:
            typical = law
        gains[pair, first] = (law, _NAN if typical is None else typical)
    return np.array([gains[key] for key in keys]).T


def _identity_steps(
    pairs: list[tuple[int, int]], phi: ActivationLaw, biased: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Gains of identity layers, where the activation acts on its own output again and again.

    On an input symmetric about 0, z_l has (1 + a^(2(l-1)))/2 of the second moment of z_1, a the
    slope; backward in the same way from z_L.  A bias moves signals across 0: then only what
    preserves every norm has a law.  Layer 1 may widen, if backward is not asked for.
    """
    depth = len(pairs)
    forward, backward = np.full((2, depth), _NAN)
    first_in, first_out = pairs[0]
    forward[0] = math.log10(first_in / first_out) if first_out >= first_in else _NAN
    square = [fan_in == fan_out for fan_in, fan_out in pairs]
    if phi.iterates and (phi.preserves_norm or not biased):
        passed = np.array([phi.iterated_second_moment(k) for k in range(depth)])
        step = np.diff(np.log10(passed))
        forward[1:] = np.where(square[1:], step, _NAN)
        if all(square):
            backward[:] = np.concatenate([[0.0], step[::-1]])
    return np.array([forward, forward]), np.array([backward, backward])


def _deviation_steps(
    forward: np.ndarray, phi: ActivationLaw, shape: Shape, biased: bool
) -> np.ndarray:
    """Gains of the difference of two inputs.

    Exact for linear layers, so always for layer 1.  Behind a nonlinear activation only small
    differences have a law (the bias sets the masks and both inputs share them), so only where there
    is a bias and every layer shrinks them.
    """
    deviations = forward.copy()
    shrinking = biased and shape is not Shape.IDENTITY and bool(np.all(forward[0, 1:] < -1e-9))
    if not (phi.linear or shrinking):
        deviations[:, 1:] = _NAN
    return deviations


def _feedforward(
    model: str,
    init: str,
    activation: str,
    slope: float,
    widths: Sequence[int],
    biased: bool,
    **kind,
) -> _Steps:
    pairs = list(pairwise(widths))
    unknown = _Steps.unknown(
        len(pairs), f"no law is known for model={model}, init={init}, activation={activation}"
    )
    phi = activation_law(activation, slope)
    found = {
        pair: weight_law(model, init, fan_in=pair[0], fan_out=pair[1], **kind)
        for pair in set(pairs)
    }
    variances = {pair: _log10(w.variance) if w else _NAN for pair, w in found.items()}
    unknown.weights = np.array([variances[pair] for pair in pairs])
    weights = {pair: weight for pair, weight in found.items() if weight is not None}
    if phi is None or len(weights) < len(found) or (phi.small_signals and biased):
        return unknown
    shape = weights[pairs[0]].shape
    if shape is Shape.IDENTITY:
        if not phi.iterates:
            return unknown
        forward, backward = _identity_steps(pairs, phi, biased)
    elif all(has_gain(weight, phi) for weight in weights.values()):
        forward, backward = (_gains(pairs, weights, phi, way) for way in (False, True))
    else:
        return unknown
    deviations = _deviation_steps(forward, phi, shape, biased)
    law = _law_line(shape, init, phi, biased)
    return _Steps(forward, backward, deviations, unknown.weights, law)


def _residual(
    init: str,
    activation: str,
    slope: float,
    widths: Sequence[int],
    *,
    biased: bool,
    hidden: int | None,
    q: str,
    between: str,
) -> _Steps:
    if len(set(widths)) > 1:
        raise ValueError(f"widths of residual blocks must be equal. Got {tuple(widths)} instead.")
    depth, features = len(widths) - 1, widths[0]
    hidden = features if hidden is None else hidden
    steps = _Steps.unknown(
        depth,
        f"no law is known for model=sll, init={init}, activation={activation}"
        + (f" with {between} between blocks" if between != "identity" else "")
        + (" with a bias" if biased else ""),
    )
    # The block's weight in the sense of a feedforward layer is W T^(-1/2): hidden -> features.
    # An identity or Haar W with orthonormal columns has hidden <= features there.
    weight = weight_law("sll_feedforward", init, fan_in=hidden, fan_out=features, q=q)
    if weight is not None:
        steps.weights = np.full(depth, _log10(weight.variance))
    gains = residual_steps(init, activation, features=features, hidden=hidden, q=q, slope=slope)
    if gains is None or biased or between != "identity":
        return steps
    line = np.full(depth, gains[1])
    line[0] = gains[0]
    steps.forward, steps.backward = np.array([line, line]), np.array([line, line])
    if activation_law(activation, slope).linear:
        steps.deviations = steps.forward.copy()
    if init in IID_INITS:
        steps.law = "residual " + _iid_line(init) + "; one network shows the same rate"
    elif init == "orthogonal":
        steps.law = "residual law of Haar weights, exact in expectation"
    else:
        steps.law = "residual identity weights, exact for an input symmetric about 0"
    return steps


def _iid_line(init: str) -> str:
    if init in GAUSSIAN_INITS:
        return "Gaussian law, in expectation"
    return (
        "Gaussian law, used for any iid symmetric init (the scale cancels; at width 64 within "
        "0.2 % for uniform and laplace, 4 % for gnd beta=0.5)"
    )


def _law_line(shape: Shape, init: str, phi: ActivationLaw, biased: bool) -> str:
    line = {
        Shape.RESCALED: _iid_line(init),
        Shape.RANDOM_Q: _iid_line(init) + ", random q (no closed form for a typical network)",
        Shape.IID: "law of iid weights of the init's variance, exact in expectation",
        Shape.HAAR: "Haar law, in expectation",
        Shape.IDENTITY: "identity layers, exact for an input symmetric about 0",
    }[shape]
    if phi.small_signals:
        line += "; small signals: the first layers of a tanh network lose a little more"
    if biased and shape is not Shape.IDENTITY:
        line += "; the bias adds its variance at every layer, input variance of small deviations"
    return line


def _moment_log10(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a float in the range [0, inf). Got {value} instead.")
    return _log10(value)


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
    init_variance: float | None = None,
    between: str = "identity",
) -> Profile:
    """The laws of a network with layer widths (n_0, ..., n_L); layer l maps n_(l-1) to n_l.

        m_1 = n_0 q_1 m_0 + Var b_1,   m_(l+1) = n_l q_(l+1) c_phi m_l + Var b_(l+1)
        gradient at z_l = n_(l+1) q_(l+1) c_phi times that at z_(l+1); no c_phi at index 0

    with the rates of `decay_per_layer`, whose keywords these are, and Var b of `bias_variance`.
    Residual blocks (``model="sll"``): equal widths, ``hidden`` units inside (default: as many as
    features), ``between`` the activation between blocks; a law only without one and without a bias.
    Typical profiles take the typical gain from layer 2 on, in the recursion with a bias too.
    ``input_variance`` (default: ``input_second_moment``) is the variance of z_0 over inputs, mean
    over units; behind layer 1 it has a law for linear networks, and under a bias for small
    deviations, which lose what a zero-bias signal loses.

    Names that lipexp does not have give NaN, never an error.  Raises ValueError for fewer than two
    widths, widths below 1, unequal widths of residual blocks, and negative or infinite moments.
    Source: arXiv 2503.00240 and NOTES.md.
    """
    if len(widths) < 2:
        raise ValueError(f"widths must hold at least 2 sizes. Got {tuple(widths)} instead.")
    check_sizes(width=min(widths))
    start = _moment_log10("input_second_moment", input_second_moment)
    start_variance = start
    if input_variance is not None:
        start_variance = _moment_log10("input_variance", input_variance)
    biased = bias not in ("zero", "none")
    if model == "sll":
        steps = _residual(
            init, activation, slope, widths, biased=biased, hidden=hidden, q=q, between=between
        )
    else:
        kind = {"rows": rows, "q": q, "init_variance": init_variance}
        steps = _feedforward(model, init, activation, slope, widths, biased, **kind)
    added = None
    if biased:
        added = _bias_log10(bias, widths, rows)
    backward = steps.backward[:, ::-1]
    return Profile(
        log10_second_moment=_accumulate(start, steps.forward[0], added),
        typical_log10_second_moment=_accumulate(start, steps.forward[1], added),
        log10_gradient_second_moment=_accumulate(0.0, backward[0])[::-1].copy(),
        typical_log10_gradient_second_moment=_accumulate(0.0, backward[1])[::-1].copy(),
        log10_input_variance=_accumulate(start_variance, steps.deviations[0]),
        typical_log10_input_variance=_accumulate(start_variance, steps.deviations[1]),
        log10_weight_variance=np.concatenate([[_NAN], steps.weights]),
        law=steps.law,
    )


def _bias_log10(bias: str, widths: Sequence[int], rows: bool | str) -> np.ndarray:
    pairs = list(pairwise(widths))
    if bias not in BIAS_MODES:
        return np.full(len(pairs), _NAN)
    found = {}
    for n, d in set(pairs):
        by_rows = rescales_rows(rows, fan_in=n, fan_out=d)
        found[n, d] = _log10(bias_variance(bias, fan_in=n, fan_out=d, rows=by_rows))
    return np.array([found[pair] for pair in pairs])
