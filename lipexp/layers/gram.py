"""The sums that AOL and SLL divide by, r_j = sum_i O_ij q_i / q_j, and their gradient.

O_ij, the overlap of columns i and j, is |<v_i, v_j>|; of the channels of a kernel it is the sum of
|their cross-correlation| over all displacements, which bounds what any image makes of them.

``overlaps`` is the definition.  ``GramSums`` and ``KernelOverlaps`` compute the same with about
half the products (O is symmetric) and a backward pass of one product instead of two; they are used
where that pays.
"""

from __future__ import annotations

import math
from itertools import pairwise, product

import torch
from torch import Tensor
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
    so it is applied block by block and never stored whole.  See Note [torch.func].
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        n = v.shape[1]
        r = v.new_zeros(n)
        signs = []
        for start, stop in _blocks(n):
            block = v[:, start:stop].mT @ v[:, start:]
            size = block.abs()
            r[start:stop] += size.sum(1)
            r[stop:] += size[:, stop - start :].sum(0)
            signs.append(block.sign_())
        ctx.save_for_backward(v, *signs)
        ctx.save_for_forward(v)
        return r

    @staticmethod
    def backward(ctx, u: Tensor) -> Tensor:
        v, *signs = ctx.saved_tensors
        if torch.is_grad_enabled() or _transformed():  # recorded, or cotangents mapped over
            return v @ ((v.mT @ v).sign() * (u[:, None] + u))
        gradient = torch.empty_like(v)
        for (start, stop), sign in zip(_blocks(v.shape[1]), signs, strict=True):
            factor = sign * (u[start:stop, None] + u[None, start:])
            right = factor[:, stop - start :]
            # The first block row reaches every column: beta = 0 spares filling with zeros.
            gradient[:, start:].addmm_(v[:, start:stop], factor, beta=min(start, 1))
            gradient[:, start:stop].addmm_(v[:, stop:], right.mT)
        return gradient

    @staticmethod
    def jvp(ctx, change: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        half = change.mT @ v
        return ((v.mT @ v).sign() * (half + half.mT)).sum(0)


def _blocks(n: int) -> list[tuple[int, int]]:
    """First row of each, and the row behind its last."""
    return list(pairwise(round(n * k / BLOCKS) for k in range(BLOCKS + 1)))


class KernelOverlaps(torch.autograd.Function):
    """``overlaps`` of a kernel, by the products of its taps.

    Let V_p be the (m, n) matrix of tap p = (a, b).  The cross-correlation at displacement d is
    G_d = sum_p V_p^T V_(p+d), and G_(-d) = G_d^T, so taps q >= p (row by row) give half of the
    displacements, and those the rest.  With S_d = sign(G_d) and U = dL/dO, dL/dV_p is
    sum_q V_q (S_(q-p) o (U + U^T))^T: one product of (m, k^2 n) with a (k^2 n, k^2 n) factor.
    See Note [torch.func].
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        taps = _taps(v)
        correlations = _correlations(taps, taps, v.shape[2])
        ctx.save_for_backward(v, correlations)
        ctx.save_for_forward(v, correlations)
        return _over_displacements(correlations.abs())

    @staticmethod
    def backward(ctx, u: Tensor) -> Tensor:
        v, correlations = ctx.saved_tensors
        side, signed = v.shape[2], {}
        both = correlations.sign() * (u + u.mT)
        for (a, b), factor in zip(_half_of_displacements(side), both, strict=True):
            signed[a, b], signed[-a, -b] = factor, factor.mT
        signed[0, 0] = both[0]
        places = _places(side)
        taps = _taps(v)
        # One tap after another: the whole factor is k^2 times as large as what is left of it.
        each = [taps @ torch.cat([signed[_apart(p, q)] for p in places]) for q in places]
        return torch.stack(each, 2).reshape(v.shape)

    @staticmethod
    def jvp(ctx, change: Tensor) -> Tensor:
        v, correlations = ctx.saved_tensors
        taps, change, side = _taps(v), _taps(change), v.shape[2]
        moved = _correlations(change, taps, side) + _correlations(taps, change, side)
        return _over_displacements(correlations.sign() * moved)


def _taps(v: Tensor) -> Tensor:
    """(m, k^2 n), tap by tap, channels inside."""
    return v.permute(0, 2, 3, 1).flatten(1)


def _places(side: int) -> list[tuple[int, int]]:
    return list(product(range(side), repeat=2))


def _apart(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
    return q[0] - p[0], q[1] - p[1]


def _half_of_displacements(side: int) -> list[tuple[int, int]]:
    """(0, 0) and one of each other pair d, -d, in the order of `_correlations`."""
    places = _places(side)
    return list(dict.fromkeys(_apart(p, q) for i, p in enumerate(places) for q in places[i:]))


def _correlations(left: Tensor, right: Tensor, side: int) -> Tensor:
    """sum_p L_p^T R_(p+d) for half of the displacements d, shape (displacements, n, n)."""
    n, places = left.shape[1] // side**2, _places(side)
    found: dict[tuple[int, int], Tensor] = {}
    for i, p in enumerate(places):
        row = left[:, i * n : (i + 1) * n].mT @ right[:, i * n :]
        for block, q in zip(row.split(n, 1), places[i:], strict=True):
            lag = _apart(p, q)
            found[lag] = found[lag] + block if lag in found else block
    return torch.stack(list(found.values()))


def _over_displacements(half: Tensor) -> Tensor:
    """The sum over all displacements, of those of `_correlations`; that at -d is transposed."""
    rest = half[1:].sum(0)
    return half[0] + rest + rest.mT


def _transformed() -> bool:
    """Whether this runs inside of a function that torch.func transforms."""
    return torch._C._are_functorch_transforms_active()


def rescaling_sums(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """``gram_sums``, by the fastest way there is.

    Note [torch.func]: its transforms get the textbook form, because in a jvp of a jvp torch takes
    what a Function's jvp returns for constant, and says nothing.  Second derivatives by plain
    autograd go through the Functions' backward, which is made of the input and of signs; their own
    derivative is 0.
    """
    if v.dim() == 4 and v.shape[2] == 1:
        v = v[:, :, 0, 0]
    if _transformed():
        return gram_sums(v, log_q)
    if v.dim() == 4:
        return weighted_sums(KernelOverlaps.apply(v), log_q)
    if log_q is None and v.shape[1] >= BLOCK_MINIMUM:
        return GramSums.apply(v)
    return gram_sums(v, log_q)


def _inverse_power(sums: Tensor, power: float, largest: float) -> Tensor:
    """sums^power for power = -1/2 or -1, at most ``largest``; 0 where the sum is 0 or infinite.

    Note [inverse powers]: no epsilon, which would break scale invariance and let small matrices
    shrink to 0; a smaller factor is always sound.  What is differentiated is (s / s_0)^power with
    the constant s_0 = s, which is 1: the gradient is then result * power / sum, in this order.
    torch's own goes through result^3 (result^2), which overflows for small sums, and 0 * inf = NaN
    where a mask follows.  It is 0 where the result is 0 or was cut.
    """
    given = sums.detach()
    positive = (given > 0) & (given < math.inf)
    safe = torch.where(positive, given, 1.0)
    result = safe.rsqrt() if power == -0.5 else safe.reciprocal()
    moving = torch.where(positive & (result <= largest), sums, 1.0)
    result = torch.where(positive, result.clamp(max=largest), 0.0)
    return result * (moving / moving.detach()) ** power


def inverse_root(sums: Tensor) -> Tensor:
    """sums^(-1/2), at most 2^450 in float64: beyond, the sums behind it may have underflowed."""
    return _inverse_power(sums, -0.5, torch.finfo(sums.dtype).tiny ** -0.44)


def inverse(sums: Tensor) -> Tensor:
    """1 / sums, at most 2^900 in float64."""
    return _inverse_power(sums, -1.0, torch.finfo(sums.dtype).tiny ** -0.88)
