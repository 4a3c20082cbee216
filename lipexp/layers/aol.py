"""Almost-orthogonal layers: every column (or row) of a free matrix divided by what it overlaps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lipexp.errors import UserError
from lipexp.layers.base import LipschitzLinear
from lipexp.layers.bounds import power_of_two, rescaled_bound
from lipexp.layers.gram import rescaling_sums


def largest_factor(dtype: torch.dtype) -> float:
    """2^450 in float64: the largest factor for which the sums behind it have not underflowed."""
    return torch.finfo(dtype).tiny ** -0.44


def inverse_root(sums: Tensor) -> Tensor:
    """sums^(-1/2), and 0 where the sum is 0, with gradient 0 there.

    Note [masked before rsqrt]: masking after it would leave 0 * inf = NaN in the gradient.  No
    epsilon: one inside the root would break scale invariance and let small matrices shrink to 0.
    """
    positive = sums > 0
    root = torch.where(positive, sums, 1.0).rsqrt()
    return torch.where(positive, root.clamp(max=largest_factor(sums.dtype)), 0.0)


def rescale_columns(v: Tensor, q: Tensor | None = None) -> Tensor:
    """W = V D with D_jj = (sum_i |V^T V|_ij exp(q_i - q_j))^(-1/2); V: (m, n), q: (n,) or None.

    |W| <= 1: for D^-2 - V^T V, scaled by exp(q) from both sides, is symmetric and diagonally
    dominant with non-negative diagonal, so positive semidefinite (Prach & Lampert, arXiv
    2208.03160, Theorem 1; with q: Araujo et al., arXiv 2303.03169).  The scale of V drops out, to
    the bit for powers of two: one is taken out first, so V of any scale 1e-150..1e150 is right.
    """
    v = v / power_of_two(v)
    return v * inverse_root(rescaling_sums(v, q))


def resolve_rows(rows: bool | str, in_features: int, out_features: int) -> bool:
    """Whether rows are rescaled; "auto": where the layer narrows, since rows lose nothing there."""
    if rows == "auto":
        return out_features < in_features
    if not isinstance(rows, bool):
        raise UserError(f"model.rows={rows}: must be true, false or auto")
    return rows


class SLLFeedforwardLinear(LipschitzLinear):
    """x -> W x + b with |W| <= 1, W the rescaled free weight with a weight exp(q_j) per column.

    The feedforward SLL layer of arXiv 2503.00240; q = 0 is AOL.  x: (..., in) -> (..., out).
    ``rows`` rescales rows instead (one q per output): W = D V, equally 1-Lipschitz, lossless for an
    orthogonal V that narrows; "auto" does so there only.  ``q``: "one" (exp(q) = 1 at the start) or
    "normal" (q ~ N(0, 1)).
    """

    def __init__(self, in_features, out_features, bias=True, *, rows=False, q="one", **keywords):
        super().__init__(in_features, out_features, bias, **keywords)
        self.rows = resolve_rows(rows, in_features, out_features)
        if q not in ("one", "normal"):
            raise UserError(f"model.q={q}: must be one or normal")
        self.q_mode = q
        self.q = nn.Parameter(self.weight.new_zeros(out_features if self.rows else in_features))
        if q == "normal":
            nn.init.normal_(self.q)

    def effective_weight(self) -> Tensor:
        if self.rows:
            return rescale_columns(self.weight.mT, self.q).mT
        return rescale_columns(self.weight, self.q)

    def proven_norm(self) -> float:
        q = self.q.detach().double()
        shape = (self.in_features, self.out_features)
        return rescaled_bound(*(shape if self.rows else shape[::-1]), float(q.max() - q.min()))


class AOLLinear(LipschitzLinear):
    """x -> W x + b with |W| <= 1, W = V diag(d), d_j = (sum_i |V^T V|_ij)^(-1/2).

    The almost-orthogonal layer of arXiv 2208.03160; V is the free ``weight``.  x: (..., in) ->
    (..., out).  ``rows``: W = diag(d) V with d of V V^T; "auto": rows where the layer narrows.
    A zero column (row) stays zero and has gradient 0.
    """

    def __init__(self, in_features, out_features, bias=True, *, rows=False, **keywords):
        super().__init__(in_features, out_features, bias, **keywords)
        self.rows = resolve_rows(rows, in_features, out_features)

    def effective_weight(self) -> Tensor:
        if self.rows:
            return rescale_columns(self.weight.mT).mT
        return rescale_columns(self.weight)

    def proven_norm(self) -> float:
        if self.rows:
            return rescaled_bound(self.in_features, self.out_features)
        return rescaled_bound(self.out_features, self.in_features)
