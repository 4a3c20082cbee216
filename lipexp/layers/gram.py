"""The sums that AOL and SLL divide by, r_j = sum_i |<v_i, v_j>| exp(q_i - q_j), and their gradient.

``gram_sums`` is the definition.  ``GramSums`` computes the same with half the products (the Gram
matrix is symmetric) and a backward pass of one product instead of two; it is used from
``BLOCK_MINIMUM`` columns on, where that pays.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_MINIMUM = 512
BLOCKS = 8


def gram_sums(v: Tensor, q: Tensor | None = None) -> Tensor:
    """r, shape (n,), from v: (m, n) and q: (n,) or None for q = 0.  Textbook form.

    exp(q_i - q_j) in one piece: exp(q) and exp(-q) apart would overflow.
    """
    gram = (v.mT @ v).abs()
    if q is not None:
        factor = torch.where(gram > 0, q[:, None] - q[None, :], 0.0).exp()  # masked: 0 * inf
        gram = gram * factor
    return gram.sum(dim=0)


class GramSums(torch.autograd.Function):
    """``gram_sums`` without q, by blocks of the upper triangle of G = V^T V.

    With S = sign(G) and u = dL/dr:  dL/dV = V (S o (u 1^T + 1 u^T)), because
    dr_j = sum_i S_ij dG_ij, dG = dV^T V + V^T dV and S is symmetric.  The factor is symmetric too, so it is applied block by
    block and never stored whole.  First derivatives only.
    """

    @staticmethod
    def forward(ctx, v: Tensor) -> Tensor:
        n = v.shape[1]
        edges = [round(n * k / BLOCKS) for k in range(BLOCKS + 1)]
        r = v.new_zeros(n)
        blocks = []
        for start, stop in zip(edges, edges[1:], strict=False):
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
        for start, stop, block in zip(ctx.edges, ctx.edges[1:], blocks, strict=False):
            factor = block * (u[start:stop, None] + u[None, start:])
            right = factor[:, stop - start :]
            # The first block row reaches every column: beta = 0 spares filling with zeros.
            gradient[:, start:].addmm_(v[:, start:stop], factor, beta=min(start, 1))
            gradient[:, start:stop].addmm_(v[:, stop:], right.mT)
        return gradient


def rescaling_sums(v: Tensor, q: Tensor | None = None) -> Tensor:
    """``gram_sums``, by the faster of the two ways."""
    if q is None and v.shape[1] >= BLOCK_MINIMUM:
        return GramSums.apply(v)
    return gram_sums(v, q)
