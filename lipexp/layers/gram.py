"""The sums that AOL and SLL divide by, r_j = sum_i O_ij q_i / q_j, and their gradient.

O_ij, the overlap of columns i and j, is |<v_i, v_j>|; of the channels of a kernel it is the sum of
|their cross-correlation| over all displacements, which bounds what any image makes of them.

``overlaps`` is the definition.  ``GramSums`` and ``KernelOverlaps`` compute the same with about
half the products (O is symmetric) and a backward pass of one product instead of two; they are used
where that pays.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK_MINIMUM = 512
BLOCKS = 8


def overlaps(v: Tensor) -> Tensor:
    """O, shape (n, n), of a matrix v: (m, n) or a kernel (m, n, k, k).  Textbook form."""
    if v.dim() == 2:
        return (v.mT @ v).abs()
    channels = v.transpose(0, 1)
    return F.conv2d(channels, channels, padding=v.shape[2] - 1).abs().sum((2, 3))


def gram_sums(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """r, shape (n,), with log_q: (n,) or None for q = 1.  Textbook form."""
    return weighted_sums(overlaps(v), log_q)


def weighted_sums(overlap: Tensor, log_q: Tensor | None) -> Tensor:
    """sum_i O_ij q_i / q_j, shape (n,).

    q_i / q_j as one exponential: exp(log_q) and exp(-log_q) apart would overflow.  Where the
    quotient itself overflows the sum is infinite, and the column that it divides is 0.
    """
    if log_q is not None:
        # masked, as 0 * inf is NaN
        exponent = torch.where(overlap > 0, log_q[:, None] - log_q[None, :], 0.0)
        huge = exponent > math.log(torch.finfo(overlap.dtype).max)
        factor = torch.where(huge, 0.0, exponent).exp()
        overlap = torch.where(huge, math.inf, overlap * factor)
    return overlap.sum(dim=0)


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


class KernelOverlaps(torch.autograd.Function):
    """``overlaps`` of a kernel, by the products of its taps.

    Let V_p be the (m, n) matrix of tap p = (a, b).  The cross-correlation at displacement d is
    G_d = sum_p V_p^T V_(p+d), and G_(-d) = G_d^T, so taps q >= p (row by row) give half of the
    displacements, and those the rest.  With S_d = sign(G_d) and U = dL/dO, dL/dV_p is
    sum_q V_q (S_(q-p) o (U + U^T))^T: one product of (m, k^2 n) with a (k^2 n, k^2 n) factor.
    First derivatives only.
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        m, n, side, _ = v.shape
        taps = v.permute(0, 2, 3, 1).reshape(m, side * side * n)  # tap by tap, channels inside
        half: dict[tuple[int, int], Tensor] = {}
        for p in range(side * side):
            start = p * n
            product = taps[:, start : start + n].mT @ taps[:, start:]
            for q in range(p, side * side):
                lag = (q // side - p // side, q % side - p % side)
                block = product[:, (q - p) * n : (q - p + 1) * n]
                half[lag] = half[lag] + block if lag in half else block
        result = half[0, 0].abs()
        if len(half) > 1:
            rest = torch.stack([g for lag, g in half.items() if lag != (0, 0)]).abs().sum(0)
            result = result + rest + rest.mT
        ctx.save_for_backward(taps, *half.values())
        ctx.lags, ctx.side = list(half), side
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, u: Tensor) -> Tensor:
        taps, *grams = ctx.saved_tensors
        side, n = ctx.side, u.shape[0]
        both = u + u.mT
        signed = {}
        for (a, b), gram in zip(ctx.lags, grams, strict=True):
            signed[a, b] = gram.sign() * both
            signed[-a, -b] = signed[a, b].mT
        factor = taps.new_empty(side * side * n, side * side * n)
        for p in range(side * side):
            for q in range(side * side):
                lag = (q // side - p // side, q % side - p % side)
                factor[p * n : (p + 1) * n, q * n : (q + 1) * n] = signed[lag]
        gradient = taps @ factor
        return gradient.reshape(-1, side, side, n).permute(0, 3, 1, 2)


def rescaling_sums(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """``gram_sums``, by the fastest way there is."""
    if v.dim() == 4 and v.shape[2] == 1:
        v = v[:, :, 0, 0]
    if v.dim() == 4:
        return weighted_sums(KernelOverlaps.apply(v), log_q)
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
