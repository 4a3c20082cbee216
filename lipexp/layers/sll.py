"""The residual SDP-based Lipschitz layer (SLL)."""

from __future__ import annotations

import math

from torch import Tensor

from lipexp.layers.base import Branch, LipschitzResidual, log_q_range, make_log_q, refill_log_q
from lipexp.layers.bounds import power_of_two, residual_kappa
from lipexp.layers.gram import inverse, rescaling_sums
from lipexp.lipschitz import TINY, UNIT_ROUNDOFF, gamma, magnitude


class SLLLinear(LipschitzResidual):
    """x -> x - 2 W T^-1 phi(W^T x + b), 1-Lipschitz; x: (..., features) -> (..., features).

    ``weight`` stores W^T, shape (hidden, features); T_i = sum_j |W^T W|_ij q_j / q_i.  With
    J = I - 2 W T^-1 D W^T, 0 <= D <= 1 and u = W^T v:
    |J v|^2 = |v|^2 - 4 u^T T^-1 D u + 4 |W T^-1 D u|^2 <= |v|^2, since W^T W <= T (Araujo et al.,
    arXiv 2303.03169, Theorem 3).  Sound for elementwise slopes in [0, 1] only: with abs or maxmin
    inside, the constant is 3.  A zero hidden row drops out, with gradient 0.
    q = exp(log_q); ``q``: "one" (at the start) or "normal" (log_q ~ N(0, 1)).
    """

    def __init__(self, features, hidden_features=None, bias=True, *, q="one", **keywords):
        super().__init__(features, hidden_features, bias, **keywords)
        make_log_q(self, self.hidden_features, q)

    def fill_own(self, generator) -> None:
        refill_log_q(self, generator)

    def _scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        """(c, U, t): W^T = c U with c a power of two, and t = T^-1 of U, 0 for a zero row."""
        scale = power_of_two(self.weight)
        rows = self.weight / scale
        return scale, rows, inverse(rescaling_sums(rows.mT, self.log_q if self._weighs() else None))

    def _weighs(self) -> bool:
        """Whether q can matter: it trains, or it is not constant."""
        return self.training or bool((self.log_q != self.log_q[0]).any())

    def branch(self) -> Branch:
        scale, rows, t = self._scaled()
        bias = None if self.bias is None else self.bias / scale
        return Branch(rows, bias, 2 * (rows * t[:, None]).mT, scale)

    def effective_weight(self) -> Tensor:
        """W T^(-1/2), shape (features, hidden): its norm is at most 1."""
        _, rows, t = self._scaled()
        return (rows * t.sqrt()[:, None]).mT

    def _kappa(self) -> float:
        return residual_kappa(self.features, self.hidden_features, log_q_range(self))

    def lipschitz_bound(self, tight: bool = False) -> float:
        self._check_finite()
        return math.nextafter(2 * self._kappa() - 1, math.inf)

    def local_error(self, x, norm):
        """2 |W T^-1| D + 2 |W| (u + gamma(h + 1)) |a| + 2 u |y|, all parts bounded by norms.

        D bounds the rounding of W^T x + b and of phi; a = T^-1 phi(.) is what the second product
        gets.  |W T^-1| <= sqrt(kappa max t).  All of it of U, as the layer computes it.
        """
        layer = self._in_float64()
        scale, rows, t = (part.detach() for part in layer._scaled())
        size, top = magnitude(rows), float(t.max())
        d, h = self.features, self.hidden_features
        bias = layer._bias_norm() / float(scale)
        before = (size * norm + bias) * (1 + gamma(d + 8))
        rounding = gamma(d + 10) * before + 2 * math.sqrt(h) * (d + 2) * TINY
        outer = 2 * math.sqrt(self._kappa() * top)
        after = top * (before + rounding)
        return (
            outer * rounding
            + 2 * size * (UNIT_ROUNDOFF + gamma(h + 4)) * after
            + 2 * UNIT_ROUNDOFF * self.norm_after(norm)
            + 2 * math.sqrt(d) * (h + 2) * TINY
        ) * (1 + gamma(16))

    def norm_after(self, norm):
        layer = self._in_float64()
        scale, _, t = (part.detach() for part in layer._scaled())
        outer = 2 * math.sqrt(self._kappa() * float(t.max()))
        at_zero = outer * layer._bias_norm() / float(scale)
        return (norm * self.lipschitz_bound() + at_zero) * (1 + 8 * UNIT_ROUNDOFF)
