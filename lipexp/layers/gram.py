"""The sums that AOL and SLL divide by, r_j = sum_i |<v_i, v_j>| q_i / q_j, and their gradient.

``gram_sums`` is the definition.  ``GramSums`` computes the same with half the products (the Gram
matrix is symmetric) and a backward pass of one product instead of two; it is used from
``BLOCK_MINIMUM`` columns on, where that pays.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_MINIMUM = 512
BLOCKS = 8


def gram_sums(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """r, shape (n,), from v: (m, n) and log_q: (n,) or None for q = 1.  Textbook form.

    q_i / q_j as one exponential: exp(log_q) and exp(-log_q) apart would overflow.  Where the
    quotient itself overflows the sum is infinite, and the column that it divides is 0.
    """
    gram = (v.mT @ v).abs()
    if log_q is not None:
        exponent = torch.where(gram > 0, log_q[:, None] - log_q[None, :], 0.0)  # masked: 0 * inf
        huge = exponent > math.log(torch.finfo(v.dtype).max)
        factor = torch.where(huge, 0.0, exponent).exp()
        gram = torch.where(huge, math.inf, gram * factor)
    return gram.sum(dim=0)


class GramSums(torch.autograd.Function):
    """``gram_sums`` without q, by blocks of the upper triangle of G = V^T V.

    With S = sign(G) and u = dL/dr:  dL/dV = V (S o (u 1^T + 1 u^T)), because
    dr_j = sum_i S_ij dG_ij, dG = dV^T V + V^T dV and S is symmetric.  The factor is symmetric too,
    so it is applied block by block and never stored whole.  First derivatives only.
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        n = v.shape[1]
        edges = [round(n * k / BLOCKS) for k in range(BLOCKS + 1)]
        r = v.new_zeros(n)
        blocks = []
        for start, stop in pairwise(edges):
            block = v[:, start:stop].mT @ v[:, start:]
            size = block.abs()
            r[start:stop] += size.sum(1)
            r[stop:] += size[:, stop - start :].sum(0)
            blocks.append(block.sign_())
        ctx.save_for_backward(v, *blocks)
        ctx.edges = edges
        return r

    @staticmethod
    @once_differentiable
    def backward(ctx, u: Tensor) -> Tensor:
        v, *blocks = ctx.saved_tensors
        gradient = torch.empty_like(v)
        for (start, stop), block in zip(pairwise(ctx.edges), blocks, strict=True):
            factor = block * (u[start:stop, None] + u[None, start:])
            right = factor[:, stop - start :]
            # The first block row reaches every column: beta = 0 spares filling with zeros.
            gradient[:, start:].addmm_(v[:, start:stop], factor, beta=min(start, 1))
            gradient[:, start:stop].addmm_(v[:, stop:], right.mT)
        return gradient


def rescaling_sums(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """``gram_sums``, by the faster of the two ways."""
    if log_q is None and v.shape[1] >= BLOCK_MINIMUM:
        return GramSums.apply(v)
    return gram_sums(v, log_q)


class _InversePower(torch.autograd.Function):
    """sums^power for power = -1/2 or -1, at most ``largest``; 0 where the sum is 0 or infinite.

    Note [inverse powers]: no epsilon, which would break scale invariance and let small matrices
    shrink to 0; a smaller factor is always sound.  The gradient is power * result / sum, in this
    order: torch's own goes through result^3 (result^2), which overflows for small sums, and
    0 * inf = NaN where a mask follows.  It is 0 where the result is 0 or was cut.
    """

    @staticmethod
    def forward(ctx, sums: Tensor, power: float, largest: float) -> Tensor:
        positive = (sums > 0) & (sums < math.inf)
        safe = torch.where(positive, sums, 1.0)
        result = safe.rsqrt() if power == -0.5 else safe.reciprocal()
        free = positive & (result <= largest)
        result = torch.where(positive, result.clamp(max=largest), 0.0)
        ctx.save_for_backward(safe, result, free)
        ctx.power = power
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        safe, result, free = ctx.saved_tensors
        return torch.where(free, (gradient * result * ctx.power) / safe, 0.0), None, None


def inverse_root(sums: Tensor) -> Tensor:
    """sums^(-1/2), at most 2^450 in float64: beyond, the sums behind it may have underflowed."""
    return _InversePower.apply(sums, -0.5, torch.finfo(sums.dtype).tiny ** -0.44)


def inverse(sums: Tensor) -> Tensor:
    """1 / sums, at most 2^900 in float64."""
    return _InversePower.apply(sums, -1.0, torch.finfo(sums.dtype).tiny ** -0.88)
