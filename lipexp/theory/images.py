"""Closed form of a convolutional network, pixel by pixel: zero padding, halving, unshuffling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lipexp.theory.activations import LEAKY_SLOPE, activation_law
from lipexp.theory.bias import BIAS_MODES, bias_variance
from lipexp.theory.image_layers import ImageLayer, check_layers, enter, leave
from lipexp.theory.image_steps import Step, feedforward_step, residual_step
from lipexp.theory.profiles import Profile
from lipexp.theory.rates import has_gain
from lipexp.theory.steps import law_line, residual_law_line
from lipexp.theory.weights import WeightLaw, kernel_law

PADDINGS = ("zeros", "circular")


class _Carried:
    """A map of second moments times 10^log10, so that nothing underflows."""

    def __init__(self, moments: np.ndarray):
        self.moments, self.log10 = moments, 0.0
        self._normalise()

    def _normalise(self) -> None:
        size = self.moments.max()
        if size > 0:
            self.moments = self.moments / size
            self.log10 += math.log10(size)

    def update(self, moments: np.ndarray, added: float = 0.0) -> None:
        self.moments = moments + added * 10**-self.log10 if added else moments
        self._normalise()

    @property
    def mean_log10(self) -> float:
        mean = float(self.moments.mean())
        return -math.inf if mean == 0 else math.log10(mean) + self.log10


def _up(
    steps: list[Step], layers: Sequence[ImageLayer], start: np.ndarray, share: float, added
) -> np.ndarray:
    """log10 means at z_0 ... z_L; ``share`` of the second moment passes between layers."""
    carried = _Carried(start)
    found = [carried.mean_log10]
    for index, (step, variance) in enumerate(zip(steps, added, strict=True)):
        moments = carried.moments
        if index:
            moments = share * enter(moments, layers[index - 1], layers[index])
        carried.update(step.forward(moments), variance)
        found.append(carried.mean_log10)
    return np.array(found)


def _down(steps: list[Step], layers: Sequence[ImageLayer], share: float) -> np.ndarray:
    """log10 means of the cotangent at z_0 ... z_L that enters with second moment 1 everywhere."""
    last = layers[-1]
    carried = _Carried(np.ones((steps[-1].channels, last.side, last.side)))
    found = [0.0]
    for index in range(len(layers) - 1, -1, -1):
        moments = steps[index].backward(carried.moments)
        if index:
            moments = share * leave(moments, layers[index - 1], layers[index])
        carried.update(moments)
        found.append(carried.mean_log10)
    return np.array(found[::-1])


def image_profile(
    model: str,
    init: str,
    activation: str,
    layers: Sequence[ImageLayer],
    *,
    bias: str = "zero",
    input_second_moment: float | np.ndarray = 1.0,
    rows: bool | str = False,
    q: str = "one",
    hidden: int | None = None,
    slope: float = LEAKY_SLOPE,
    init_keys: Mapping | None = None,
    between: str = "identity",
    padding: str = "zeros",
) -> Profile:
    """`profile` of a network of convolutions, keywords as there; means over pixels and channels.

        m_(l+1)(r) = c_i q c_phi sum over taps p, r + p inside, of m_l(r + p)   (+ Var b)

    pixel by pixel, so that zero padding is taken along: its taps outside the image pass nothing.
    The cotangent goes the transposed way.  Residual blocks (``model="sll"``): `ResidualTerms`, with
    an activation ``between`` that preserves norms.  Layers follow each other directly, by
    keeping the first channels, by pixel-unshuffle, or both, as their sizes say.
    ``input_second_moment``: of the signal that enters layer 1, a number or one per pixel (side,
    side) or per channel and pixel (channels, side, side); residual blocks keep what a channel has,
    so a network that then drops channels needs it per channel.

    Feedforward: channels are alike behind every layer, and the laws those of
    `convolution_weight_variance`.  Typical profiles only for residual blocks of iid weights, whose
    gain averages out; NaN for the others and for identity weights, whose channels stay unlike.

    Raises ValueError for no layers, layers that cannot follow each other, sizes below 1, an input
    of another shape, and a padding that is neither zeros nor circular.
    Source: arXiv 2208.03160 and 2303.03169; derivation in NOTES.md.
    """
    residual = model == "sll"
    check_layers(layers, residual)
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}. Got {padding!r} instead.")
    start = _input_map(input_second_moment, layers[0])
    phi = activation_law(activation, slope)
    biased = bias not in ("zero", "none")
    keys = {"rows": False if residual else rows, "q": q, "init_keys": init_keys}
    weights = {layer: _weight(model, init, layer, hidden, keys) for layer in set(layers)}
    means = np.array([_log10_mean_square(weights[layer], layer) for layer in layers])

    def step(layer: ImageLayer) -> Step | None:
        if phi is None or (biased and (residual or phi.small_signals)):
            return None
        if not residual:
            weight = weights[layer]
            return feedforward_step(weight, layer, padding) if has_gain(weight, phi) else None
        apart = activation_law(between, slope)
        if apart is None or not apart.preserves_norm or apart.small_signals:
            return None
        return residual_step(init, phi, layer, hidden=hidden, q=q, padding=padding)

    found = {layer: step(layer) for layer in weights}
    if None in found.values():
        what = f"model={model}, init={init}, activation={activation}" + " with a bias" * biased
        return _no_law(start, means, f"no law is known for convolutions of {what}")
    steps = [found[layer] for layer in layers]
    share = 1.0 if residual else phi.second_moment
    added = np.array([_bias(bias, layer) for layer in layers])
    if residual:
        start = np.broadcast_to(start, (layers[0].in_channels, *start.shape[1:]))
    up = _up(steps, layers, start, share, added)
    down = _down(steps, layers, share)
    deviations = _up(steps, layers, start, share, np.zeros(len(layers)))
    shrinking = biased and bool(np.all(np.diff(deviations)[1:] < -1e-9))
    if not (phi.linear or shrinking):
        deviations[2:] = math.nan
    typical = residual  # the gain of a block averages over its hidden units
    line = (
        residual_law_line(init)
        if residual
        else law_line(weights[layers[0]].shape, init, phi, biased)
    )
    return Profile(
        log10_second_moment=up,
        typical_log10_second_moment=up if typical else _unknown_behind(up, 2),
        log10_gradient_second_moment=down,
        typical_log10_gradient_second_moment=down
        if typical
        else _unknown_behind(down[::-1], 1)[::-1],
        log10_input_variance=deviations,
        typical_log10_input_variance=deviations if typical else _unknown_behind(deviations, 2),
        log10_weight_variance=np.append(math.nan, means),
        law=f"{line}; pixel by pixel, {padding} padding",
    )


def _weight(
    model: str, init: str, layer: ImageLayer, hidden: int | None, keys: dict
) -> WeightLaw | None:
    """The law of a layer's effective kernel; of a block K T^(-1/2), from hidden to channels."""
    inputs = layer.in_channels
    if model == "sll":
        model, inputs = "sll_feedforward", hidden or layer.in_channels
    return kernel_law(
        model,
        init,
        in_channels=inputs,
        out_channels=layer.out_channels,
        kernel_size=layer.kernel_size,
        **keys,
    )


def _log10_mean_square(weight: WeightLaw | None, layer: ImageLayer) -> float:
    """Over all taps, those without entries too."""
    if weight is None:
        return math.nan
    return math.log10(weight.variance * weight.taps / layer.kernel_size**2)


def _bias(mode: str, layer: ImageLayer) -> float:
    """Variance of a bias entry; NaN for modes that are not known for kernels."""
    if mode not in BIAS_MODES or (mode == "corrected" and layer.kernel_size > 1):
        return math.nan
    fan_in = layer.in_channels * layer.kernel_size**2
    return bias_variance(mode, fan_in=fan_in, fan_out=layer.out_channels)


def _input_map(value: float | np.ndarray, layer: ImageLayer) -> np.ndarray:
    """(channels or 1, side, side)."""
    value = np.asarray(value, dtype=float)
    pixels = (layer.side, layer.side)
    if value.shape not in ((), pixels, (layer.in_channels, *pixels)):
        raise ValueError(
            f"input_second_moment must be a number or one per pixel of {layer}. "
            f"Got shape {value.shape} instead."
        )
    if not (np.all(value >= 0) and np.all(np.isfinite(value))):
        raise ValueError("input_second_moment must be in the range [0, inf).")
    if value.ndim < 3:
        value = np.broadcast_to(value, (1, *pixels))
    return value


def _unknown_behind(column: np.ndarray, known: int) -> np.ndarray:
    return np.concatenate([column[:known], np.full(len(column) - known, math.nan)])


def _no_law(start: np.ndarray, means: np.ndarray, line: str) -> Profile:
    up = np.append(_Carried(start).mean_log10, np.full(len(means), math.nan))
    down = np.append(np.full(len(means), math.nan), 0.0)
    return Profile(up, up, down, down, up, up, np.append(math.nan, means), line)
