"""Gain of the residual SLL convolution with iid Gaussian free weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lipexp.theory.activations import LEAKY_SLOPE, ActivationLaw, residual_activation_law
from lipexp.theory.convolution import rescaled_shares, shared_windows
from lipexp.theory.gaussian import check_sizes
from lipexp.theory.residual import SMALLEST_FEATURES, isometric_steps
from lipexp.theory.weights import IID_INITS


@dataclass(frozen=True)
class ResidualTerms:
    """What a block makes of the second moment m(c, r) of channel c at pixel r.

    m'(c, r) = m(c, r) (1 - off N + across N^2 + own (N^2 - N)) + back sum_c' (B B m)(c', r), with
    N(r) the taps of the window at r that lie inside the image and B the sum over that window.
    """

    off: float
    across: float
    own: float
    back: float


@lru_cache(maxsize=1024)
def residual_terms(
    *, channels: int, hidden: int, kernel_size: int, overlap: float, second_moment: float
) -> ResidualTerms:
    """The terms for phi with E u phi(u) = overlap E u^2, E phi(u)^2 = second_moment E u^2."""
    entries = channels * kernel_size**2
    share, square, rest = rescaled_shares(hidden, channels, kernel_size)
    pairs, rho = shared_windows(channels, kernel_size)
    # A pair's overlap counts with its square, under which |g| is twice its mean: it adds
    # rho sqrt(2/pi) to H, in both sums; an opposite displacement of the same kernel twice that.
    extra = 2 * np.sqrt(2 / np.pi) * rho / (np.sqrt(entries) + rest)
    shifted = pairs < kernel_size**2
    across = float(pairs @ (1 - extra)) / pairs.sum()
    own = 1.0
    if shifted.any():
        own = float(pairs[shifted] @ (1 - 2 * extra[shifted])) / pairs[shifted].sum()
    per_entry = share / entries  # the q of the kernel
    return ResidualTerms(
        off=4 * overlap * hidden * per_entry,
        across=4 * overlap**2 * hidden * (hidden - 1) * per_entry**2 * across,
        own=4 * overlap**2 * hidden * square / entries**2 * own,
        back=4 * second_moment * hidden * square / entries**2,
    )


def residual_convolution_gain(
    *,
    channels: int,
    hidden: int,
    kernel_size: int,
    activation: str,
    slope: float = LEAKY_SLOPE,
) -> float:
    """Factor of the second moment across y = x - 2 K^T * T^-1 phi(K * x), away from the border.

        1 - 4 K1 h k^2 q + 4 K2 (h/c) E[(R/(R+H))^2] + 4 K1^2 h ((h-1) k^4 q^2 f + ...)

    c = ``channels``, h = ``hidden``, k = ``kernel_size``, q, R and H of
    `convolution_weight_variance` for h inputs and c outputs, K1 and K2 of `residual_gain`; the last
    term is the correlation of different hidden units through x, f the share that a pair's own
    overlap leaves it, the dots the displaced pairs of one kernel.  Forward and backward alike; does
    not depend on how x is correlated from pixel to pixel.

    Against simulation with circular padding (standard errors 0.03 to 0.06 %): within 0.1 % from
    8 channels on, k = 3 and 5, relu and identity, hidden from c/4 to 4 c; +0.15 to +0.35 % at
    4 x 4.  k = 1 is `residual_gain`, to 0.7 % (relu) and 4 % (identity) at 8 x 8, 0.01 % at 64.

    Raises ValueError for sizes below 1 and for an activation that has no place inside the block.
    Source: the block of arXiv 2303.03169; derivation in NOTES.md.
    """
    check_sizes(channels=channels, hidden=hidden, kernel_size=kernel_size)
    phi = residual_activation_law(activation, slope)
    return _interior_gain(phi, channels=channels, hidden=hidden, kernel_size=kernel_size)


def _interior_gain(phi: ActivationLaw, *, channels: int, hidden: int, kernel_size: int) -> float:
    terms = residual_terms(
        channels=channels,
        hidden=hidden,
        kernel_size=kernel_size,
        overlap=phi.overlap,
        second_moment=phi.second_moment,
    )
    taps = kernel_size**2
    kept = 1 - terms.off * taps + terms.across * taps**2 + terms.own * (taps**2 - taps)
    return kept + terms.back * channels * taps**2


def residual_kernel_rate(
    init: str,
    phi: ActivationLaw,
    *,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    q: str,
) -> float | None:
    """log10 of the gain per block, ``out_channels`` hidden; None without a law.

    iid kernels: `residual_convolution_gain`, from SMALLEST_FEATURES channels on.  Orthogonal and
    identity kernels are a matrix at the centre tap: the dense block's.
    """
    if not phi.residual:
        return None
    if init not in IID_INITS:
        dense = isometric_steps(init, phi, features=in_channels, hidden=out_channels, q=q)
        return None if dense is None else dense[1]
    if q != "one" or in_channels < SMALLEST_FEATURES:
        return None
    gain = _interior_gain(phi, channels=in_channels, hidden=out_channels, kernel_size=kernel_size)
    return math.log10(gain)
