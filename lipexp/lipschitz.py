"""What a module answers so that a network can be certified: its bound and its rounding.

A certificate is about a real-valued function: the float64 effective weights taken as exact numbers,
and the layers' formulas in exact arithmetic.  ``lipschitz_bound`` bounds that function;
``local_error`` and ``norm_after`` bound what a float64 execution of one module adds to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lipexp.errors import UserError

UNIT_ROUNDOFF = 2.0**-53
TINY = 2.0**-1022  # the smallest normal float64: the floor of every error bound (flush to zero)


def gamma(count: int) -> float:
    """Higham's constant k u / (1 - k u): the relative error of ``count`` roundings in any order."""
    return count * UNIT_ROUNDOFF / (1 - count * UNIT_ROUNDOFF)


def safe_norm(x: Tensor) -> Tensor:
    """The l2 norm over the last axis, shape (...,), of numbers whose squares under- or overflow."""
    top = x.abs().amax(dim=-1, keepdim=True)
    scale = torch.where(top > 0, top, torch.ones_like(top))
    return torch.linalg.vector_norm(x / scale, dim=-1) * top.squeeze(-1)


class LipschitzModule(nn.Module):
    """A map with a proven l2 Lipschitz bound.  Each subclass answers three questions.

    ``lipschitz_bound(tight=False)``: a float that the l2 Lipschitz constant of the map in float64
    weights, computed exactly, never exceeds; at least 1 unless ``tight``.
    ``local_error(shape, norm)``: for computed inputs of norm at most ``norm`` (float or Tensor), a
    bound on |computed output - exact output of the same input|.
    ``norm_after(shape, norm)``: a bound on the exact output's norm: bound x norm + |map(0)|.
    ``shape`` is that of one input, without the batch; norms are over all of its entries.

    Nothing is assumed of a map that does not answer: each raises UserError until it is written.
    """

    def lipschitz_bound(self, tight: bool = False) -> float:
        raise self._unanswered("lipschitz_bound(tight)")

    def local_error(self, shape: tuple[int, ...], norm: Tensor | float) -> Tensor | float:
        raise self._unanswered("local_error(shape, norm)")

    def norm_after(self, shape: tuple[int, ...], norm: Tensor | float) -> Tensor | float:
        raise self._unanswered("norm_after(shape, norm)")

    def _unanswered(self, question: str) -> UserError:
        return UserError(f"{type(self).__name__} defines no {question}: it cannot be certified")


class ExactMap(LipschitzModule):
    """A map that moves, drops or compares numbers: constant 1, no rounding, and 0 goes to 0."""

    def lipschitz_bound(self, tight: bool = False) -> float:
        return 1.0

    def local_error(self, shape, norm):
        return 0.0 * norm

    def norm_after(self, shape, norm):
        return norm


def dense_error(inner: int, outputs: int, magnitude: float, bias: float, norm):
    """Bound on the rounding of ``W x + b`` over all summation orders, with or without FMA.

    gamma(inner + 2) (| |W| | |x| + |b|) plus an absolute floor for underflow;  ``magnitude`` is a
    bound on the norm of the matrix of absolute values.  Higham, "Accuracy and Stability of
    Numerical Algorithms", section 3.1; the two extra roundings pay for computing the norms.
    """
    floor = 2 * math.sqrt(outputs) * (inner + 1) * TINY
    return gamma(inner + 2) * (magnitude * norm + bias) + floor


def magnitude(weight: Tensor) -> float:
    """A bound on the l2 norm of |W| (entries replaced by absolute values), rounding paid for.

    The smaller of the Frobenius norm and sqrt(largest row sum x largest column sum).  Of a kernel
    (out, in, k, k) first the absolute values of all taps are added: a convolution with a
    nonnegative kernel has its largest gain at frequency 0.
    """
    absolute = weight.detach().abs().double()
    taps = 1
    if absolute.dim() == 4:
        taps = absolute.shape[2] * absolute.shape[3]
        absolute = absolute.sum((2, 3))
    if absolute.numel() == 0 or float(absolute.max()) == 0.0:
        return 0.0
    frobenius = float(safe_norm(absolute.flatten()))
    schur = math.sqrt(float(absolute.sum(0).max())) * math.sqrt(float(absolute.sum(1).max()))
    return min(frobenius, schur) * (1 + gamma(absolute.numel() + taps + 8))
