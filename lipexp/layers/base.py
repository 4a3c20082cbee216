"""The two shapes of layer: an affine map x -> W x + b, and a residual block."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lipexp.activations import ACTIVATIONS, check_inside_residual
from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.layers.bounds import certified_norm
from lipexp.lipschitz import (
    UNIT_ROUNDOFF,
    LipschitzModule,
    dense_error,
    gamma,
    magnitude,
    safe_norm,
)


class FreeWeightModule(LipschitzModule):
    """What both shapes share: a free weight that is filled, a bias, and the float64 copy in use.

    ``fan_in``, ``fan_out``: the sizes that laws and inits speak of (residual: features, hidden
    units); ``free_shape``: of the free weight.
    """

    bias: Tensor | None
    fan_in: int
    fan_out: int
    free_shape: tuple[int, ...]
    draws_own = False

    def _make(self, shape: tuple[int, int], bias_size: int | None, init: str | None, device, dtype):
        self.free_shape = shape
        self.fan_out, self.fan_in = shape
        factory = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.zeros(shape, **factory))
        if bias_size is None:
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.zeros(bias_size, **factory))
        if init is not None:
            # Seeded by torch's global generator, as torch's own layers are.
            seed = int(torch.randint(2**62, ()))
            self.fill(INITS[init](shape, np.random.default_rng(seed)))

    @property
    def free_weight(self) -> Tensor:
        """The parameter that an init fills and an optimiser moves."""
        return self.weight

    @torch.no_grad()
    def fill(self, weight: np.ndarray, bias: np.ndarray | None = None) -> None:
        """Copies an init's draw (float64) into the free weight, and one into the bias."""
        self.free_weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if bias is not None:
            self.bias.copy_(torch.from_numpy(bias))

    def fill_own(self, generator: np.random.Generator) -> None:
        """Draws what the layer has beside weight and bias, if it ``draws_own``."""

    def _in_float64(self):
        """This layer, or a float64 copy: a certificate is of a float64 copy of what is stored."""
        if self.free_weight.dtype == torch.float64:
            return self
        return copy.deepcopy(self).double()

    def _check_finite(self) -> None:
        """Raises UserError for a parameter that is NaN or infinite: there is no bound then."""
        for name, parameter in self.named_parameters():
            if not bool(torch.isfinite(parameter.detach()).all()):
                raise UserError(f"{name} is NaN or infinite: there is no Lipschitz bound")

    def _bias_norm(self) -> float:
        if self.bias is None:
            return 0.0
        return float(safe_norm(self.bias.detach().double())) * (1 + gamma(self.bias.numel() + 8))


def make_log_q(layer: FreeWeightModule, size: int, q: str) -> None:
    """Gives a layer its free weights q = exp(log_q), one per unit: 1 at the start, or exp(N(0, 1)).

    Raises ValueError for another start than "one" or "normal".
    """
    if q not in ("one", "normal"):
        raise ValueError(f"q must be 'one' or 'normal'. Got {q!r} instead.")
    layer.draws_own = q == "normal"
    layer.log_q = nn.Parameter(layer.weight.new_zeros(size))
    if layer.draws_own:
        nn.init.normal_(layer.log_q)


def refill_log_q(layer: FreeWeightModule, generator: np.random.Generator) -> None:
    """A draw of log_q from a generator."""
    with torch.no_grad():
        layer.log_q.copy_(torch.from_numpy(generator.standard_normal(layer.log_q.numel())))


def log_q_range(layer: FreeWeightModule) -> float:
    """Largest less smallest log_q."""
    log_q = layer.log_q.detach().double()
    return float(log_q.max() - log_q.min())


class LipschitzLinear(FreeWeightModule):
    """x -> W x + b.  x: (..., in_features) -> (..., out_features); weight: (out, in), as torch's.

    A subclass writes ``effective_weight``, the matrix W that is applied, of the free ``weight``.
    Its bound is then the certified norm of that matrix; a subclass with a proof of its own
    overrides ``proven_norm``.  ``init`` names what fills the free weight (None: zeros).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str | None = "orthogonal",
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self._make(shape, out_features if bias else None, init, device, dtype)

    def effective_weight(self) -> Tensor:
        """W, shape (out_features, in_features)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.effective_weight(), self.bias)

    def proven_norm(self) -> float:
        """A bound on the l2 norm of the float64 effective weight, its rounding included."""
        return certified_norm(self._in_float64().effective_weight())

    def lipschitz_bound(self, tight: bool = False) -> float:
        self._check_finite()
        if not tight:
            return max(1.0, self.proven_norm())
        return min(self.proven_norm(), certified_norm(self._in_float64().effective_weight()))

    def local_error(self, x, norm):
        size = magnitude(self._in_float64().effective_weight())
        return dense_error(self.in_features, self.out_features, size, self._bias_norm(), norm)

    def norm_after(self, norm):
        return (super().norm_after(norm) + self._bias_norm()) * (1 + 4 * UNIT_ROUNDOFF)

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, bias={self.bias is not None}"


class Branch(NamedTuple):
    """g(x) = outer phi_c(inner x + bias), phi_c(u) = phi(c u) / c, c the scalar ``scale``.

    inner: (hidden, features), bias: (hidden,) or None, outer: (features, hidden).  With the
    weight's power of two c taken out of both matrices, weights of any scale stay in range.
    """

    inner: Tensor
    bias: Tensor | None
    outer: Tensor
    scale: Tensor


class LipschitzResidual(FreeWeightModule):
    """x -> x - g(x) with g a layer of ``hidden_features`` units.  x: (..., features).

    The free ``weight`` has shape (hidden, features); ``activation`` is phi, a name or a module,
    elementwise with slopes in [0, 1].  A subclass writes ``branch``, and its proof in
    ``lipschitz_bound``.
    """

    def __init__(
        self,
        features: int,
        hidden_features: int | None = None,
        bias: bool = True,
        *,
        activation: str | LipschitzModule = "relu",
        init: str | None = "orthogonal",
        device=None,
        dtype=None,
    ):
        super().__init__()
        hidden = features if hidden_features is None else hidden_features
        self.features, self.hidden_features = features, hidden
        self._make((hidden, features), hidden if bias else None, init, device, dtype)
        if isinstance(activation, str):
            check_inside_residual(activation)
            activation = ACTIVATIONS[activation]()
        self.activation = activation

    def branch(self) -> Branch:
        """The block's matrices, scaled so that neither is beyond floating-point range."""
        raise NotImplementedError

    def effective_weight(self) -> Tensor:
        """The matrix whose mean square is reported as the layer's effective weight."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch()
        phi = self.activation.at_scale(branch.scale)
        return x - F.linear(phi(F.linear(x, branch.inner, branch.bias)), branch.outer)

    def extra_repr(self) -> str:
        return f"{self.features}, hidden={self.hidden_features}, bias={self.bias is not None}"
