"""What float64 arithmetic may add to the exact scores: at a point, and on all that it may become.

With e bounding |computed - exact| before a step of constant k, k e + local_error bounds it behind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lipexp.certification.chain import LARGEST, Step
from lipexp.lipschitz import TINY, UNIT_ROUNDOFF, gamma, safe_norm

LARGEST_SIGNAL = 1e150  # beyond, products with weights in 2^-500..2^500 could overflow


def norm_bound(x: Tensor) -> Tensor:
    """Upper bounds on the norms of the inputs of a batch, shape (batch,).

    A plain sum of squares where it neither under- nor overflows; else the slow, safe way.
    """
    flat = x.flatten(1)
    norms = torch.linalg.vector_norm(flat, dim=1)
    unsafe = ~((norms >= 2.0**-400) & (norms <= LARGEST))
    if bool(unsafe.any()):
        norms[unsafe] = safe_norm(flat[unsafe]) + 2.0**-1000
    return norms * (1 + gamma(flat.shape[1] + 8))


def rounds_nothing(step: Step, shape: tuple[int, ...]) -> bool:
    """Whether the step is exact on every input that a certificate admits."""
    return float(step.module.local_error(shape, LARGEST)) == 0.0


def input_error(norm: Tensor | float, inputs: int) -> Tensor | float:
    """Of pixels k / scale, rounded to float64; with what flushing denormals to zero takes."""
    return 2 * UNIT_ROUNDOFF * norm + math.sqrt(inputs) * TINY


def _behind(step: Step, error: Tensor | float, local: Tensor | float) -> Tensor | float:
    return (step.tight * error + local) * (1 + 8 * UNIT_ROUNDOFF) + TINY


def error_at(
    steps: Sequence[Step],
    shapes: Sequence[tuple[int, ...]],
    norms: Sequence[Tensor | None],
    error: Tensor,
) -> Tensor:
    """Bounds on |computed scores - exact scores|, shape (N,), of the inputs that were sent through.

    ``shapes``: of what enters each step; ``norms``: bounds on what was computed there, (N,) each,
    None where the step rounds nothing; ``error``: of the inputs.
    """
    for step, shape, norm in zip(steps, shapes, norms, strict=True):
        local = 0.0 if norm is None else step.module.local_error(shape, norm)
        error = _behind(step, error, local)
    return error


def error_within(
    steps: Sequence[Step],
    shapes: Sequence[tuple[int, ...]],
    size: Tensor,
    error: Tensor,
) -> Tensor:
    """The same of every input of norm at most ``size``, whoever computes it: any order of sums.

    Infinite where a signal could leave the range that the analysis covers.
    """
    reach = size + error
    for step, shape in zip(steps, shapes, strict=True):
        error = _behind(step, error, step.module.local_error(shape, size + error))
        size = step.module.norm_after(shape, size) * (1 + 4 * UNIT_ROUNDOFF)
        reach = torch.maximum(reach, size + error)
    return torch.where(reach <= LARGEST_SIGNAL, error, math.inf)
