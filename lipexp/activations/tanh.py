"""tanh, the activation whose scale matters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipexp.activations.base import Activation
from lipexp.errors import UserError
from lipexp.lipschitz import UNIT_ROUNDOFF


class Tanh(Activation):
    """tanh(x); with ``at_scale(s)`` the map tanh(s x) / s, right also where s underflows."""

    homogeneous = False
    elementwise = True
    componentwise = True

    def __init__(self, scale: Tensor | float = 1.0):
        super().__init__()
        self._scale = scale

    def at_scale(self, scale: Tensor) -> Tanh:
        return Tanh(scale)

    def lipschitz_bound(self, tight=False):
        if not math.isfinite(float(torch.as_tensor(self._scale).abs().max())):
            raise UserError("a scale that is NaN or infinite has no Lipschitz bound")
        return 1.0

    def forward(self, x: Tensor) -> Tensor:
        argument = self._scale * x
        series = x * (1 - argument * argument / 3)  # exact to 1e-20 below 1e-5; also at scale 0
        return torch.where(argument.abs() < 1e-5, series, argument.tanh() / self._scale)

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        return cotangent / (self._scale * x).cosh().square()

    def active_fraction(self, x: Tensor) -> Tensor:
        return torch.ones(x.shape[0], dtype=torch.float64, device=x.device)

    def difference(self, x: Tensor, deviation: Tensor, ratio: Tensor) -> Tensor:
        # tanh(a + e) - tanh(a) = sinh(e) / (cosh(a) cosh(a + e))
        a = self._scale * x
        e = self._scale * ratio * deviation
        # For large steps sinh and cosh overflow, and the difference itself loses nothing.
        small, large = e.abs() < 1e-5, e.abs() > 1
        step = torch.where(large, 1.0, e)
        quotient = torch.where(small, 1 + e * e / 6, step.sinh() / torch.where(small, 1.0, step))
        near = deviation * quotient / (a.cosh() * (a + step).cosh())
        far = ((a + e).tanh() - a.tanh()) / (self._scale * ratio)
        return torch.where(large, far, near)

    def local_error(self, shape, norm):
        return 4 * UNIT_ROUNDOFF * norm
