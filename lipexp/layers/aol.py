"""Almost-orthogonal layers: every column (or row) of a free matrix divided by what it overlaps."""

from __future__ import annotations

from torch import Tensor

from lipexp.layers.base import LipschitzConv2d, LipschitzLinear
from lipexp.layers.bounds import power_of_two, rescaled_bound
from lipexp.layers.gram import inverse_root, rescaling_sums
from lipexp.layers.log_q import log_q_range, make_log_q, refill_log_q


def rescale_columns(v: Tensor, log_q: Tensor | None = None) -> Tensor:
    """W = V D with D_jj = (sum_i O_ij q_i / q_j)^(-1/2); V: (m, n) or (m, n, k, k), log_q: (n,).

    O = |V^T V|, or of a kernel the sum of |cross-correlations| over displacements (`overlaps`).
    |W| <= 1: for D^-2 - V^T V, scaled by q from both sides, is symmetric and diagonally
    dominant with non-negative diagonal, so positive semidefinite (Prach & Lampert, arXiv
    2208.03160, Theorems 1 and 2; with q: Araujo et al., arXiv 2303.03169).  The scale of V drops
    out, to the bit for powers of two: one is taken out first, so V of any scale 1e-150..1e150 is
    right.
    """
    v = v / power_of_two(v)
    d = inverse_root(rescaling_sums(v, log_q))
    return v * d.reshape(1, -1, *([1] * (v.dim() - 2)))


def rescales_rows(rows: bool | str, in_features: int, out_features: int) -> bool:
    """Whether rows are rescaled; "auto": where the layer narrows, since rows lose nothing there."""
    if rows == "auto":
        return out_features < in_features
    if not isinstance(rows, bool):
        raise ValueError(f"rows must be True, False or 'auto'. Got {rows!r} instead.")
    return rows


class _Rescaled:
    """Columns (input channels) or rows (output channels) of ``weight`` rescaled."""

    rows: bool
    log_q: Tensor | None
    weight: Tensor
    free_shape: tuple[int, ...]

    def effective_weight(self) -> Tensor:
        if self.rows:
            return rescale_columns(self.weight.transpose(0, 1), self.log_q).transpose(0, 1)
        return rescale_columns(self.weight, self.log_q)

    def proven_norm(self) -> float:
        outputs, inputs, *sides = self.free_shape
        if self.rows:
            outputs, inputs = inputs, outputs
        q_range = 0.0 if self.log_q is None else log_q_range(self)
        return rescaled_bound(outputs, inputs, q_range, side=sides[0] if sides else 1)

    def _make_q(self, q: str) -> None:
        make_log_q(self, self.free_shape[0 if self.rows else 1], q)

    def fill_own(self, generator) -> None:
        refill_log_q(self, generator)


class AOLLinear(_Rescaled, LipschitzLinear):
    """x -> W x + b with |W| <= 1, W = V diag(d), d_j = (sum_i |V^T V|_ij)^(-1/2).

    The almost-orthogonal layer of arXiv 2208.03160; V is the free ``weight``.  x: (..., in) ->
    (..., out).  ``rows``: W = diag(d) V with d of V V^T, which loses nothing where an orthogonal V
    narrows; "auto": rows where the layer narrows.  A zero column (row) stays zero and has gradient
    0.  Raises ValueError for another ``rows``.
    """

    def __init__(self, in_features, out_features, bias=True, *, rows=False, **keywords):
        super().__init__(in_features, out_features, bias, **keywords)
        self.rows = rescales_rows(rows, in_features, out_features)
        self.register_parameter("log_q", None)


class AOLConv2d(_Rescaled, LipschitzConv2d):
    """The convolution of arXiv 2208.03160: every input channel of the kernel rescaled.

    d_j = (sum_i sum_delta |corr(K_i, K_j)(delta)|)^(-1/2), over channels and displacements;
    ``rows`` rescales output channels.  (..., in, h, w) -> (..., out, h', w').
    """

    def __init__(self, in_channels, out_channels, kernel_size, *arguments, rows=False, **keywords):
        super().__init__(in_channels, out_channels, kernel_size, *arguments, **keywords)
        self.rows = rescales_rows(rows, in_channels, out_channels)
        self.register_parameter("log_q", None)


class SLLFeedforwardLinear(AOLLinear):
    """AOL with a free weight q_j = exp(log_q_j) per rescaled column (row): still |W| <= 1.

    The feedforward SLL layer of arXiv 2503.00240; q = 1 is AOL.  d_j = (sum_i |V^T V|_ij q_i /
    q_j)^(-1/2).  ``q``: "one" (at the start) or "normal" (log_q ~ N(0, 1)).
    """

    def __init__(self, in_features, out_features, bias=True, *, q="one", **keywords):
        super().__init__(in_features, out_features, bias, **keywords)
        self._make_q(q)


class SLLFeedforwardConv2d(AOLConv2d):
    """`AOLConv2d` with a free weight q_j = exp(log_q_j) per rescaled channel."""

    def __init__(self, in_channels, out_channels, kernel_size, *arguments, q="one", **keywords):
        super().__init__(in_channels, out_channels, kernel_size, *arguments, **keywords)
        self._make_q(q)
