"""What an activation can do beside ``forward``: pull a cotangent back, carry a difference."""

from __future__ import annotations

import torch
from torch import Tensor

from lipexp.errors import UserError
from lipexp.lipschitz import LipschitzModule


def stays_clear(margin: Tensor, deviation: Tensor, ratio: Tensor) -> bool:
    """Whether no entry of ratio * deviation reaches a margin: then no kink is crossed anywhere.

    All along axis 0.  Deep under a bias this is the rule, and it spares a dozen passes over the
    deviations.
    """
    axes = tuple(range(1, margin.dim()))
    reach = ratio * torch.linalg.vector_norm(deviation, float("inf"), dim=axes, keepdim=True)
    return bool((reach < margin.amin(dim=axes, keepdim=True)).all())


class Activation(LipschitzModule):
    """A 1-Lipschitz map phi with phi(0) = 0, acting along the last axis of (..., width).

    A subclass writes ``forward``.  Positively homogeneous maps (phi(c x) = c phi(x) for c > 0)
    need no more for a probe without bias; the methods below have exact closed forms in the
    built-in ones.
    """

    homogeneous = True
    elementwise = False
    componentwise = False  # local_error bounds every entry by that entry: of weighed norms too

    def lipschitz_bound(self, tight: bool = False) -> float:
        return 1.0

    def norm_after(self, shape, norm):
        return norm

    def over_channels(self) -> Activation:
        """The same map along the channels of images, (..., channels, height, width)."""
        if self.elementwise:
            return self
        raise UserError(
            f"activation {type(self).__name__} acts along the last axis and defines no "
            "over_channels(): it cannot stand behind a convolution"
        )

    def at_scale(self, scale: Tensor) -> Activation:
        """The map x -> phi(scale x) / scale on mantissas; ``scale`` > 0 broadcasts against x.

        A non-homogeneous activation must override this: without it the scale would be ignored.
        """
        if self.homogeneous:
            return self
        raise UserError(
            f"activation {type(self).__name__} is not homogeneous and defines no at_scale()"
        )

    def pullback(self, x: Tensor, cotangent: Tensor) -> Tensor:
        """J(x)^T cotangent, shape of x."""
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (result,) = torch.autograd.grad(self(point), point, cotangent)
        return result

    def active_fraction(self, x: Tensor) -> Tensor:
        """Share of entries with a non-zero slope, one for each index of the first axis."""
        slopes = self.pullback(x, torch.ones_like(x))
        return (slopes != 0).flatten(1).double().mean(1)

    def difference(self, x: Tensor, deviation: Tensor, ratio: Tensor) -> Tensor:
        """(phi(x + ratio deviation) - phi(x)) / ratio, without cancellation for tiny ratios.

        ``ratio`` >= 0 may be so small that ratio * deviation underflows to 0: then the derivative
        at x applies.
        """
        raise UserError(
            f"activation {type(self).__name__} defines no difference(): "
            "it can be probed with bias=zero or bias=none only"
        )
