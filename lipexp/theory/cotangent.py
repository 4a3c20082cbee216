"""How a gradient starts that comes from the sum of all outputs instead of a random cotangent."""

from __future__ import annotations

import math

from lipexp.theory.gaussian import check_sizes


def output_sum_factor(*, width: int, steps: int) -> float:
    """Second moment of the gradient of sum relu(z_L) relative to g^k, k = ``steps`` layers back.

        1/pi + E_k,   E_k = (n-1)/pi + ((n-1)/n - (n-1)/pi) (1 - 2/n)^(k-1)

    for square relu layers of width n, zero bias, fresh weights, g the gain per layer; about
    1 + (2k-1)/pi for k much smaller than n/2, and at most n/pi.  k = 1 is the gradient at the
    output of layer L - 1 behind its activation, the input of the last layer.  A cotangent of ones
    meets z_L's mask, so it has the component C = n/pi along z_L, which <delta, z> conserves; the
    rest gains 2 C (1 - 1/n) a layer from it.  A Gaussian cotangent has the factor 1 at every k.
    Simulated at n = 16 (40,000 networks): 1.265, 1.785, 2.254 against 1.256, 1.735, 2.155.

    Raises ValueError for a width or steps below 1.
    Source: derivation in NOTES.md.
    """
    check_sizes(width=width, steps=steps)
    n, pi = width, math.pi
    rest = (n - 1) / pi + ((n - 1) / n - (n - 1) / pi) * (1 - 2 / n) ** (steps - 1)
    return 1 / pi + rest
