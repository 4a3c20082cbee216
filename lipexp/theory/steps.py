"""The gains of a whole network, layer by layer: which law holds where."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lipexp.theory.activations import ActivationLaw, activation_law
from lipexp.theory.rates import has_gain, layer_gain
from lipexp.theory.residual import residual_steps
from lipexp.theory.weights import GAUSSIAN_INITS, IID_INITS, Shape, WeightLaw, weight_law

_NAN = math.nan
_IID_LINE = "law of iid weights of the init's variance, exact in expectation"
_SHAPE_LINE = (
    "law of iid weights of the init's shape (delta-corrected mean field, 0.3 % at width 10, 0.1 % "
    "at 64), in expectation"
)
_LINEAR = ActivationLaw(1.0, residual=True)  # stands for "no activation here"


@dataclass
class Steps:
    """log10 gains of one network with L layers, NaN where no law is known.

    ``forward[:, l - 1]``: (law, typical) from z_(l-1) to z_l.  ``backward[:, l - 1]``: from the
    cotangent at z_l to that at z_(l-1).  ``deviations``: forward, of the difference of two inputs.
    ``weights[l - 1]``: log10 mean square of layer l's effective weight.
    """

    forward: np.ndarray
    backward: np.ndarray
    deviations: np.ndarray
    weights: np.ndarray
    law: str


def _unknown(weights: np.ndarray, what: str) -> Steps:
    nothing = np.full((2, len(weights)), _NAN)
    return Steps(nothing, nothing, nothing, weights, f"no law is known for {what}")


def feedforward_steps(
    model: str,
    init: str,
    activation: str,
    widths: Sequence[int],
    *,
    biased: bool,
    slope: float,
    rows: bool | str,
    q: str,
    init_keys: Mapping | None,
    masked: bool,
) -> Steps:
    """Layers that map z_(l-1) to W_l phi(z_(l-1)) + b_l; there is no phi in front of layer 1.

    ``masked``: the cotangent at z_L has passed the activation behind layer L on its way there.
    """
    pairs = list(pairwise(widths))
    found = {
        (n, d): weight_law(model, init, fan_in=n, fan_out=d, rows=rows, q=q, init_keys=init_keys)
        for n, d in set(pairs)
    }
    variances = {pair: math.log10(law.variance) if law else _NAN for pair, law in found.items()}
    log10_weights = np.array([variances[pair] for pair in pairs])
    what = f"model={model}, init={init}, activation={activation}" + " with a bias" * biased
    phi = activation_law(activation, slope)
    if phi is None or None in found.values() or (phi.small_signals and biased):
        return _unknown(log10_weights, what)
    shape = found[pairs[0]].shape
    if shape is Shape.IDENTITY and _identity_has_gains(pairs, phi, biased):
        forward, backward = _identity_gains(pairs, phi, masked)
    elif all(has_gain(weight, phi) for weight in found.values()):
        forward, backward = (_gains(pairs, found, phi, way) for way in (False, True))
    else:
        return _unknown(log10_weights, what)
    deviations = _deviation_gains(forward, phi, shape, biased)
    return Steps(forward, backward, deviations, log10_weights, law_line(shape, init, phi, biased))


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


def _identity_has_gains(pairs: list[tuple[int, int]], phi: ActivationLaw, biased: bool) -> bool:
    """Whether identity layers apply phi to its own output again and again: square behind layer 1,
    which may widen.  A bias moves signals across 0: then only what preserves every norm has a law.
    """
    square = all(fan_in == fan_out for fan_in, fan_out in pairs[1:])
    return phi.iterates and square and (phi.preserves_norm or not biased)


def _identity_gains(
    pairs: list[tuple[int, int]], phi: ActivationLaw, masked: bool
) -> tuple[np.ndarray, np.ndarray]:
    """On an input symmetric about 0, z_l keeps (1 + a^(2(l-1)))/2 of z_1, a the slope.

    Backward in the same way from z_L on, one application later if ``masked``: the first mask is the
    one it has met.  Not where layer 1 widens, whose added units may be dead.
    """
    kept = [math.log10(phi.iterated_second_moment(times)) for times in range(len(pairs) + 1)]
    steps, masked_steps = np.diff(kept)[:-1], np.diff(kept)[1:]
    fan_in, fan_out = pairs[0]
    forward = np.concatenate([[math.log10(fan_in / fan_out)], steps])
    backward = np.concatenate([[0.0], (masked_steps if masked else steps)[::-1]])
    if fan_in != fan_out:
        backward[:] = _NAN
    return np.array([forward, forward]), np.array([backward, backward])


def _deviation_gains(
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


def residual_block_steps(
    init: str,
    activation: str,
    widths: Sequence[int],
    *,
    biased: bool,
    slope: float,
    hidden: int | None,
    q: str,
    between: str,
) -> Steps:
    """Residual SLL blocks; ValueError for unequal widths."""
    if len(set(widths)) > 1:
        raise ValueError(f"widths of residual blocks must be equal. Got {tuple(widths)} instead.")
    depth, features = len(widths) - 1, widths[0]
    hidden = features if hidden is None else hidden
    # The block's effective weight is W T^(-1/2), a feedforward layer from hidden to features.
    weight = weight_law("sll_feedforward", init, fan_in=hidden, fan_out=features, q=q)
    log10_weights = np.full(depth, math.log10(weight.variance) if weight else _NAN)
    gains = residual_steps(init, activation, features=features, hidden=hidden, q=q, slope=slope)
    apart = activation_law(between, slope)
    if gains is None or biased or not _may_stand_between(apart, init, gains):
        what = f"model=sll, init={init}, activation={activation}" + " with a bias" * biased
        if between != "identity":
            what += f" with {between} between blocks"
        return _unknown(log10_weights, what)
    first, later = gains
    line = np.array([first] + [later] * (depth - 1))
    both = np.array([line, line])  # the typical gain is the law's
    linear = activation_law(activation, slope).linear and apart.linear
    deviations = both if linear else np.full_like(both, _NAN)
    return Steps(both, both, deviations, log10_weights, residual_law_line(init))


def _may_stand_between(apart: ActivationLaw | None, init: str, gains: tuple[float, float]) -> bool:
    """Whether an activation between blocks leaves the law: it must preserve the norm of its input.

    Fresh iid or Haar W then meet another direction, which they do not see; W = I keeps the
    coordinates, and has a law only where no block loses anything.
    """
    if apart is None or not apart.preserves_norm or apart.small_signals:
        return False
    return apart.linear or init != "identity" or gains == (0.0, 0.0)


def _iid_line(init: str) -> str:
    if init in GAUSSIAN_INITS:
        return "Gaussian law, in expectation"
    return (
        "Gaussian law, used for any iid symmetric init (the scale cancels; weights at width 64 "
        "within 0.4 % for uniform and laplace, 5 % for gnd beta=0.5, more for heavier tails)"
    )


def law_line(shape: Shape, init: str, phi: ActivationLaw, biased: bool) -> str:
    line = {
        Shape.RESCALED: _iid_line(init) if init in GAUSSIAN_INITS else _SHAPE_LINE,
        Shape.RANDOM_Q: _iid_line(init) + ", random q",
        Shape.GAUSSIAN: _IID_LINE,
        Shape.IID: _IID_LINE + " (no closed form for a typical network)",
        Shape.SPECTRAL: "Tracy-Widom law of the largest singular value, in expectation",
        Shape.KERNEL: _iid_line(init) + ", kernels",
        Shape.SPECTRAL_IID: "Tracy-Widom law of Gaussian weights, used for uniform ones "
        "(1.4 % low at width 64; no closed form for a typical network)",
        Shape.HAAR: "Haar law, in expectation",
        Shape.IDENTITY: "identity layers, exact for an input symmetric about 0",
    }[shape]
    if phi.small_signals:
        line += "; small signals: the first layers of a tanh network lose a little more"
    if biased and shape is not Shape.IDENTITY:
        line += "; the bias adds its variance at every layer, input variance of small deviations"
    return line


def residual_law_line(init: str) -> str:
    if init in IID_INITS:
        return "residual " + _iid_line(init) + "; one network shows the same rate"
    if init == "orthogonal":
        return "residual Haar law, in expectation"
    return "residual identity blocks, exact for an input symmetric about 0"
