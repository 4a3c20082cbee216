"""What one convolution does to the second moment of every pixel, up and down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lipexp.theory.activations import ActivationLaw
from lipexp.theory.image_layers import ImageLayer
from lipexp.theory.residual import SMALLEST_FEATURES, isometric_steps
from lipexp.theory.residual_convolution import ResidualTerms, residual_terms
from lipexp.theory.weights import IID_INITS, WeightLaw


@lru_cache(maxsize=64)
def _window(side: int, kernel_size: int, padding: str) -> np.ndarray:
    """P (side, side): P x sums x over the taps of a window along one axis; same padding."""
    first = -((kernel_size - 1) // 2)
    window = np.zeros((side, side))
    for pixel in range(side):
        for tap in range(pixel + first, pixel + first + kernel_size):
            if padding == "circular":
                window[pixel, tap % side] += 1
            elif 0 <= tap < side:
                window[pixel, tap] += 1
    return window


class Step:
    """Maps of second moments (channels or 1, side, side) across one layer.

    ``channels``: how many a cotangent's map has at the output; 1 where they are all alike.
    """

    channels: int

    def forward(self, moments: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, moments: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Feedforward(Step):
    """c_i q sum over the window, the mean over channels; backward c_o q and transposed."""

    up: float
    down: float
    window: np.ndarray
    channels: int = 1

    def forward(self, moments):
        return self.up * (self.window @ moments.mean(0, keepdims=True) @ self.window.T)

    def backward(self, moments):
        return self.down * (self.window.T @ moments @ self.window)


def feedforward_step(weight: WeightLaw, layer: ImageLayer, padding: str) -> Feedforward:
    size = layer.kernel_size if weight.taps > 1 else 1
    window = _window(layer.side, size, padding)
    up, down = layer.in_channels * weight.variance, layer.out_channels * weight.variance
    return Feedforward(up, down, window)


@dataclass(frozen=True)
class Residual(Step):
    """`ResidualTerms`; the Jacobian is symmetric, so both ways alike."""

    terms: ResidualTerms
    window: np.ndarray
    channels: int

    def forward(self, moments):
        terms, taps = self.terms, np.outer(self.window.sum(0), self.window.sum(0))
        kept = 1 - terms.off * taps + terms.across * taps**2 + terms.own * (taps**2 - taps)
        hidden = self.window @ moments.sum(0) @ self.window.T
        return moments * kept + terms.back * (self.window.T @ hidden @ self.window)

    backward = forward


@dataclass(frozen=True)
class Mixing(Step):
    """m'(c) = own m(c) + mixed mean_c m: a block whose kernel is one matrix at the centre tap."""

    own: float
    mixed: float
    channels: int

    def forward(self, moments):
        return self.own * moments + self.mixed * moments.mean(0, keepdims=True)

    backward = forward


def residual_step(
    init: str,
    phi: ActivationLaw,
    layer: ImageLayer,
    *,
    hidden: int | None,
    q: str,
    padding: str,
) -> Step | None:
    """A block with zero bias; None without a law.

    iid kernels from SMALLEST_FEATURES channels on.  Haar W, as many hidden units as channels: with
    phi(u) = K1 u + (1-a)/2 |u|, y = -a x - (1-a) W |W^T x|, slope a, whose second part spreads over
    the channels.  W = I: only where nothing is lost, and every channel keeps its own.
    """
    channels = layer.in_channels
    units = hidden or channels
    if not phi.residual or phi.small_signals:
        return None
    if init in IID_INITS:
        if q != "one" or channels < SMALLEST_FEATURES:
            return None
        terms = residual_terms(
            channels=channels,
            hidden=units,
            kernel_size=layer.kernel_size,
            overlap=phi.overlap,
            second_moment=phi.second_moment,
        )
        return Residual(terms, _window(layer.side, layer.kernel_size, padding), channels)
    if isometric_steps(init, phi, features=channels, hidden=units, q=q) is None:
        return None
    if init == "identity" and phi.slope in (0, 1):
        return Mixing(1.0, 0.0, channels)
    if init == "orthogonal" and units == channels:
        return Mixing(phi.slope**2, (1 - phi.slope) ** 2, channels)
    return None
