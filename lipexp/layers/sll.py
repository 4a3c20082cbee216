"""The residual SDP-based Lipschitz layer (SLL)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lipexp.errors import UserError
from lipexp.layers.base import Branch, LipschitzResidual
from lipexp.layers.bounds import power_of_two, residual_kappa
from lipexp.layers.gram import inverse, rescaling_sums
from lipexp.layers.log_q import log_q_range, make_log_q, refill_log_q
from lipexp.layers.windows import Window, flipped
from lipexp.lipschitz import TINY, UNIT_ROUNDOFF, gamma, magnitude, safe_norm


def times(rows: Tensor, factor: Tensor) -> Tensor:
    """Every row, or kernel of a hidden channel, times its factor; factor: (hidden,)."""
    return rows * factor.reshape(-1, *([1] * (rows.dim() - 1)))


class _SLL(LipschitzResidual):
    """The mathematics of both: T and the block's matrices, bound and rounding."""

    def fill_own(self, generator) -> None:
        refill_log_q(self, generator)

    def _scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        """(c, U, t): W^T = c U with c a power of two, and t = T^-1 of U, 0 for a zero row."""
        scale = power_of_two(self.weight)
        rows = self.weight / scale
        log_q = self.log_q if self._weighs() else None
        return scale, rows, inverse(rescaling_sums(rows.transpose(0, 1), log_q))

    def _weighs(self) -> bool:
        """Whether q can matter: a derivative may be by it, or it is not constant."""
        put_in = not isinstance(self.log_q, nn.Parameter)  # as torch.func.functional_call does
        recorded = self.log_q.requires_grad and torch.is_grad_enabled()
        if self.training or put_in or recorded:
            return True
        return bool((self.log_q != self.log_q[0]).any())

    def branch(self) -> Branch:
        scale, rows, t = self._scaled()
        bias = None if self.bias is None else self._bias(t) / scale
        outer = 2 * times(rows, t)
        return Branch(rows, bias, outer.mT if outer.dim() == 2 else flipped(outer), scale, t)

    def _bias(self, t: Tensor) -> Tensor:
        """The bias, 0 for units that drop out: there bias / scale may be infinite, times 0."""
        return torch.where(t > 0, self.bias, 0.0)

    def effective_weight(self) -> Tensor:
        """W T^(-1/2), shape (features, hidden, ...): its norm is at most 1."""
        _, rows, t = self._scaled()
        return times(rows, t.sqrt()).transpose(0, 1)

    def _side(self) -> int:
        return self.free_shape[2] if len(self.free_shape) > 2 else 1

    def _kappa(self) -> float:
        hidden, features, *_ = self.free_shape
        return residual_kappa(features, hidden, log_q_range(self), side=self._side())

    def lipschitz_bound(self, tight: bool = False) -> float:
        self._check_finite()
        return math.nextafter(2 * self._kappa() - 1, math.inf)

    def _positions(self, shape: tuple[int, ...]) -> int:
        """How often each hidden unit or channel occurs."""
        raise NotImplementedError

    def _weighed(self, places: int) -> tuple[Branch, float, float]:
        """The branch in float64, and bounds on |T^(-1/2) |U|| and |T^(-1/2) b / c|.

        Rounding is weighed by T^(-1/2) as the signal is: a unit of tiny weights has a large T^-1,
        which would make nonsense of a bound by the largest of each.
        """
        layer = self._in_float64()
        branch = Branch(*(part if part is None else part.detach() for part in layer.in_use()))
        root = branch.t.sqrt()
        size = magnitude(times(branch.inner, root)) * (1 + gamma(4))
        bias = 0.0
        if branch.bias is not None:
            bias = safe_norm(root * branch.bias).item() * math.sqrt(places)
        return branch, size, bias * (1 + gamma(self.free_shape[0] + 8))

    def local_error(self, shape, norm):
        """2 |U^T T^(-1/2)| D + 2 |U^T T^(-1/2)| (u + gamma(h + 1)) A + 2 u |y|, parts by norms.

        D bounds T^(-1/2) times the rounding of U x + b and of phi, A T^(-1/2) times what the second
        product gets.  |T^(-1/2) U| <= sqrt(kappa).
        """
        places, taps = self._positions(shape), self._side() ** 2
        branch, size, bias = self._weighed(places)
        top = branch.t.max().item()
        if top == 0:  # all units drop out, and x comes out as it is
            return 0.0 * norm
        d, h = self.free_shape[1] * taps, self.free_shape[0] * taps
        hidden = (self.free_shape[0] * places,)
        entries = math.sqrt(hidden[0])
        plain_bias = self._bias_norm(places) / branch.scale.item()
        plain = (magnitude(branch.inner) * norm + plain_bias) * (1 + gamma(d + 8))
        rounding = gamma(d + 4) * (size * norm + bias) * (1 + gamma(8))
        rounding = rounding + 2 * math.sqrt(top) * entries * (d + 3) * TINY
        if self.activation.componentwise:
            before = (size * norm + bias) * (1 + gamma(d + 8)) + rounding
            rounding = rounding + self.activation.local_error(hidden, before)
        else:
            rounding = rounding + math.sqrt(top) * self.activation.local_error(hidden, 2 * plain)
        after = (size * norm + bias) * (1 + gamma(d + 8)) + rounding
        floor = math.sqrt(math.prod(shape)) * (h + 2) * TINY * (1 + entries * plain)
        return (
            2 * math.sqrt(self._kappa()) * rounding
            + 2 * size * (UNIT_ROUNDOFF + gamma(h + 4)) * after
            + 2 * UNIT_ROUNDOFF * self.norm_after(shape, norm)
            + 2 * floor
        ) * (1 + gamma(16))

    def norm_after(self, shape, norm):
        _, _, bias = self._weighed(self._positions(shape))
        at_zero = 2 * math.sqrt(self._kappa()) * bias
        return (norm * self.lipschitz_bound() + at_zero) * (1 + 8 * UNIT_ROUNDOFF)


class SLLLinear(_SLL):
    """x -> x - 2 W T^-1 phi(W^T x + b), 1-Lipschitz; x: (..., features) -> (..., features).

    ``weight`` stores W^T, shape (hidden, features); T_i = sum_j |W^T W|_ij q_j / q_i.  With
    J = I - 2 W T^-1 D W^T, 0 <= D <= 1 and u = W^T v:
    |J v|^2 = |v|^2 - 4 u^T T^-1 D u + 4 |W T^-1 D u|^2 <= |v|^2, since W^T W <= T (Araujo et al.,
    arXiv 2303.03169, Theorem 3).  Sound for elementwise slopes in [0, 1] only: with abs or maxmin
    inside, the constant is 3.  A zero hidden row drops out, with gradient 0.
    q = exp(log_q); ``q``: "one" (at the start) or "normal" (log_q ~ N(0, 1)).
    """

    def __init__(
        self,
        features: int,
        hidden_features: int | None = None,
        bias: bool = True,
        *,
        q: str = "one",
        activation="relu",
        init: str | None = "orthogonal",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.features, self.hidden_features = features, hidden_features or features
        shape = (self.hidden_features, features)
        self._make_block(shape, bias, activation, init, device, dtype)
        make_log_q(self, self.hidden_features, q)

    def apply_inner(self, inner, x, bias=None):
        return F.linear(x, inner, bias)

    def apply_outer(self, outer, hidden):
        return F.linear(hidden, outer)

    def _positions(self, shape):
        return math.prod(shape[:-1])

    def extra_repr(self) -> str:
        return f"{self.features}, hidden={self.hidden_features}, bias={self.bias is not None}"


class SLLConv2d(_SLL):
    """`SLLLinear` with convolutions: x -> x - 2 K^T * (T^-1 phi(K * x + b)), 1-Lipschitz.

    x: (..., channels, h, w), the same after; ``weight`` K: (hidden, channels, side, side), K^T *
    the transposed convolution.  T_i = sum_j sum_delta |corr(K_i, K_j)(delta)| q_j / q_i over hidden
    channels and displacements bounds the rows of K K^T on images of any size, so the proof is that
    of the dense layer.  Same padding, by zeros or circular.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int | None = None,
        kernel_size: int = 3,
        bias: bool = True,
        *,
        padding_mode: str = "zeros",
        q: str = "one",
        activation="relu",
        init: str | None = "orthogonal",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.channels, self.hidden_channels = channels, hidden_channels or channels
        self.window = Window.of(kernel_size, mode=padding_mode)
        shape = (self.hidden_channels, channels, kernel_size, kernel_size)
        self._make_block(shape, bias, activation, init, device, dtype)
        make_log_q(self, self.hidden_channels, q)

    def _check_finite(self):
        super()._check_finite()
        if self.window != Window.of(self.free_shape[2], mode=self.window.mode):
            raise UserError("the window is not the one that the layer was made with")

    def apply_inner(self, inner, x, bias=None):
        return self.window(x, inner, bias)

    def apply_outer(self, outer, hidden):
        return self.window.transposed(hidden, outer)

    def _positions(self, shape):
        return math.prod(shape[-2:])

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, hidden={self.hidden_channels}, kernel_size={self.window.side}, "
            f"padding_mode={self.window.mode}, bias={self.bias is not None}"
        )
