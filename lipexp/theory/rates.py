"""Decay per layer: the slope of log10 of the second moment against depth."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lipexp.theory.activations import LEAKY_SLOPE, ActivationLaw, activation_law
from lipexp.theory.gaussian import check_sizes
from lipexp.theory.residual import residual_steps
from lipexp.theory.residual_convolution import residual_kernel_rate
from lipexp.theory.typical import gain_spread
from lipexp.theory.weights import IID_INITS, Shape, WeightLaw, kernel_law, weight_law

ACTIVATIONS = ("relu", "leaky_relu", "abs", "maxmin", "identity", "tanh")
CARRYING_RATE = 0.01
"""A choice carries the signal if |log10| of its gain per layer is below this: a thousand layers
then change the second moment by less than ten decades, which float32 holds."""


def has_gain(weight: WeightLaw | None, phi: ActivationLaw | None) -> bool:
    """Whether a layer's gain follows from its weight's second moment alone.

    tanh is small-signal only: a law where AOL shrinks iid weights' output, not where it is kept.
    """
    if weight is None or phi is None or weight.shape is Shape.IDENTITY:
        return False
    return not phi.small_signals or weight.shape in (Shape.RESCALED, Shape.RANDOM_Q)


def layer_gain(
    weight: WeightLaw, phi: ActivationLaw, *, fan_in: int, fan_out: int, backward: bool
) -> tuple[float, float | None]:
    """log10 gain of the second moment: in expectation, and typical (None where no form is known).

    Forward from z_l over the activation to z_(l+1), n q c_phi; backward from the cotangent at
    z_(l+1) to that at z_l, d q c_phi; n = fan_in, d = fan_out (times a kernel's taps), q the
    weight's mean square.
    """
    terms = (fan_out if backward else fan_in) * weight.taps
    law = math.log10(terms * weight.variance * phi.second_moment)
    spread = gain_spread(weight, phi, fan_in=fan_in, fan_out=fan_out, backward=backward)
    return law, None if spread is None else law + spread / math.log(10)


def decay_per_layer(
    model: str,
    init: str,
    activation: str,
    *,
    fan_in: int,
    fan_out: int,
    backward: bool = False,
    typical: bool = False,
    rows: bool | str = False,
    q: str = "one",
    slope: float = LEAKY_SLOPE,
    init_keys: Mapping | None = None,
    kernel_size: int = 1,
) -> float | None:
    """log10 of the factor by which a layer changes the second moment, deep in a zero-bias network.

    Feedforward, Gaussian AOL weights: log10(n q(d, n) c_phi) forward and log10(d q(d, n) c_phi)
    backward, n = ``fan_in``, d = ``fan_out``, c_phi = 1/2 for relu, (1 + slope^2)/2 for leaky_relu,
    1 for abs, maxmin, identity and tanh (tanh: where the signal is small).  Residual
    (``model="sll"``): fan_in = features, fan_out = hidden, log10 of `residual_gain` both ways, from
    8 features on (with random q from 32).  Spectral: `spectral_weight_variance`, Gaussian inits
    from 8 units on, uniform ones from 48.  AOL of entries that are not Gaussian: the
    delta-corrected mean field of their shape (gnd: beta >= 1/2, >= 1/4 from 16 units on, >= 0.2
    from 48 on).  Kernels, random q (both: beta >= 1/2) and residual layers: the Gaussian law for
    any iid symmetric init.
    ``typical``: the mean of the logarithm, which one network shows, instead of the logarithm of the
    mean; about 5/(2 n ln 10) lower for relu; None for linear layers whose init is iid but not
    Gaussian, and for spectral ones with uniform init.

    ``rows`` (True, False, "auto") is for aol and sll_feedforward, ``q`` ("one", "normal") for sll
    and sll_feedforward, ``init_keys`` for gnd ("alpha", "beta"; by default the init's own, 1, 1/2).

    ``kernel_size`` > 1: a convolution with fan_in and fan_out channels (sll: channels and hidden),
    circular padding or away from the border.  Zero padding loses more, at k = 3 and a side of s
    pixels another 2 log10((1 + 2 cos(pi/(s+1)))/3): -0.003 at 32, -0.035 at 8, -0.12 at 4, -0.35 at
    2; `image_profile` takes it along.  No typical rate, except where no gain fluctuates.

    None where no law is known, so for every name that lipexp does not have itself.  Raises
    ValueError for sizes below 1 and for ``rows`` that is none of the three.
    Source: arXiv 2503.00240 (feedforward); residual, Haar and typical rates: NOTES.md.
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out, kernel_size=kernel_size)
    if kernel_size > 1:
        return _convolution_rate(
            model,
            init,
            activation_law(activation, slope),
            in_channels=fan_in,
            out_channels=fan_out,
            kernel_size=kernel_size,
            backward=backward,
            typical=typical,
            rows=rows,
            q=q,
            init_keys=init_keys,
        )
    if model == "sll":
        steps = residual_steps(init, activation, features=fan_in, hidden=fan_out, q=q, slope=slope)
        return None if steps is None else steps[1]
    phi = activation_law(activation, slope)
    weight = weight_law(
        model, init, fan_in=fan_in, fan_out=fan_out, rows=rows, q=q, init_keys=init_keys
    )
    if has_gain(weight, phi):
        law, mean_log = layer_gain(weight, phi, fan_in=fan_in, fan_out=fan_out, backward=backward)
        return mean_log if typical else law
    identity = weight is not None and weight.shape is Shape.IDENTITY and fan_in == fan_out
    return 0.0 if identity and phi is not None and phi.iterates else None


def _convolution_rate(
    model: str,
    init: str,
    phi: ActivationLaw | None,
    *,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    backward: bool,
    typical: bool,
    **keys,
) -> float | None:
    """`decay_per_layer` of convolutions; orthogonal and identity kernels are their centre tap."""
    if phi is None or phi.small_signals:
        return None
    sizes = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size}
    if model == "sll":
        return residual_kernel_rate(init, phi, q=keys["q"], **sizes)
    weight = kernel_law(model, init, **sizes, **keys)
    if weight is None:
        return None
    if weight.shape is Shape.IDENTITY:
        return 0.0 if in_channels == out_channels and phi.iterates else None
    law, _ = layer_gain(weight, phi, fan_in=in_channels, fan_out=out_channels, backward=backward)
    isometric = weight.shape is Shape.HAAR and in_channels == out_channels and phi.preserves_norm
    return law if isometric or not typical else None


def carrying(model: str, activation: str, *, width: int) -> list[tuple[str, str]]:
    """(init, activation) pairs with which square layers of this model and width carry a signal.

    Those whose typical rate is within CARRYING_RATE of 0, biases zero: first with the activation
    asked for, then with the others.  Empty for a model without a law.
    """
    names = [activation, *(a for a in ACTIVATIONS if a != activation)]
    pairs = [(init, name) for name in names for init in ("orthogonal", "identity", *IID_INITS)]
    rates = [
        decay_per_layer(model, *pair, fan_in=width, fan_out=width, typical=True) for pair in pairs
    ]
    return [
        pair
        for pair, rate in zip(pairs, rates, strict=True)
        if rate is not None and abs(rate) < CARRYING_RATE
    ]
