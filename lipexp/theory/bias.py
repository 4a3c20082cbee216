"""Variance of a layer's bias entries, by mode."""

from __future__ import annotations

from lipexp.theory.gaussian import check_sizes, gaussian_weight_variance

BIAS_MODES = ("zero", "default", "normal", "corrected", "none")


def bias_variance(mode: str, *, fan_in: int, fan_out: int, rows: bool = False) -> float:
    """Variance of the bias under a mode: what the layer adds to the second moment.

    zero, none: 0.  default: 1/(3 n), torch's uniform on (-1/sqrt n, 1/sqrt n), n = fan_in.
    normal: 1.  corrected: 1 - n q / 2, which holds the second moment at 1 through relu layers with
    Gaussian AOL weights; q is `gaussian_weight_variance` of the layer (of its transpose for
    ``rows``), whatever the weights really are.

    Raises ValueError for a mode that is none of these and for sizes below 1.
    Source: arXiv 2503.00240 (corrected).
    """
    check_sizes(fan_in=fan_in, fan_out=fan_out)
    if mode in ("zero", "none"):
        return 0.0
    if mode == "default":
        return 1 / (3 * fan_in)
    if mode == "normal":
        return 1.0
    if mode == "corrected":
        n, d = (fan_out, fan_in) if rows else (fan_in, fan_out)
        return 1 - fan_in * gaussian_weight_variance(fan_in=n, fan_out=d) / 2
    raise ValueError(f"bias mode must be one of {', '.join(BIAS_MODES)}. Got {mode!r} instead.")
