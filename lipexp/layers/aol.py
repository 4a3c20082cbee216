"""Almost-orthogonal layers: every column (or row) of a free matrix divided by what it overlaps."""

from __future__ import annotations

from torch import Tensor

from lipexp.layers.base import LipschitzLinear, log_q_range, make_log_q, refill_log_q
from lipexp.layers.bounds import power_of_two, rescaled_bound
from lipexp.layers.gram import inverse_root, rescaling_sums


def rescale_columns(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """W = V D with D_jj = (sum_i |V^T V|_ij q_i / q_j)^(-1/2); V: (m, n), log_q: (n,).

    |W| <= 1: for D^-2 - V^T V, scaled by q from both sides, is symmetric and diagonally
    dominant with non-negative diagonal, so positive semidefinite (Prach & Lampert, arXiv
    2208.03160, Theorem 1; with q: Araujo et al., arXiv 2303.03169).  The scale of V drops out, to
    the bit for powers of two: one is taken out first, so V of any scale 1e-150..1e150 is right.
    """
    v = v / power_of_two(v)
    return v * inverse_root(rescaling_sums(v, log_q))


def rescales_rows(rows: bool | str, in_features: int, out_features: int) -> bool:
    """Whether rows are rescaled; "auto": where the layer narrows, since rows lose nothing there."""
    if rows == "auto":
        return out_features < in_features
    if not isinstance(rows, bool):
        raise ValueError(f"rows must be True, False or 'auto'. Got {rows!r} instead.")
    return rows


class AOLLinear(LipschitzLinear):
    """x -> W x + b with |W| <= 1, W = V diag(d), d_j = (sum_i |V^T V|_ij)^(-1/2).

    The almost-orthogonal layer of arXiv 2208.03160; V is the free ``weight``.  x: (..., in) ->
    (..., out).  ``rows``: W = diag(d) V with d of V V^T, which loses nothing where an orthogonal V
    narrows; "auto": rows where the layer narrows.  A zero column (row) stays zero and has gradient
    0.  Raises ValueError for another ``rows``.
    """

    log_q: Tensor | None

    def __init__(self, in_features, out_features, bias=True, *, rows=False, **keywords):
        super().__init__(in_features, out_features, bias, **keywords)
        self.rows = rescales_rows(rows, in_features, out_features)
        self.register_parameter("log_q", None)

    def effective_weight(self) -> Tensor:
        if self.rows:
            return rescale_columns(self.weight.mT, self.log_q).mT
        return rescale_columns(self.weight, self.log_q)

    def proven_norm(self) -> float:
        sizes = (self.out_features, self.in_features)
        return rescaled_bound(
            *(sizes[::-1] if self.rows else sizes), 0.0 if self.log_q is None else log_q_range(self)
        )


class SLLFeedforwardLinear(AOLLinear):
    """AOL with a free weight q_j = exp(log_q_j) per rescaled column (row): still |W| <= 1.

    The feedforward SLL layer of arXiv 2503.00240; q = 1 is AOL.  d_j = (sum_i |V^T V|_ij q_i /
    q_j)^(-1/2).  ``q``: "one" (at the start) or "normal" (log_q ~ N(0, 1)).
    """

    def __init__(self, in_features, out_features, bias=True, *, q="one", **keywords):
        super().__init__(in_features, out_features, bias, **keywords)
        make_log_q(self, out_features if self.rows else in_features, q)

    def fill_own(self, generator) -> None:
        refill_log_q(self, generator)
