"""One layer of R networks as a step up for a signal and down for a cotangent.

The effective weights of the R networks are stacked, so the products with the data are batched; each
layer computes its own effective weight, so a layer is written for one network only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lipexp.activations.base import Activation
from lipexp.errors import UserError
from lipexp.layers.base import FreeWeightModule, LipschitzLinear, LipschitzResidual
from lipexp.probing.cotangent import Cotangent
from lipexp.probing.scale import LOG10_2, log10_square, rms
from lipexp.probing.signal import Signal, affine, at_scale


def log10_mean_square(x: Tensor) -> np.ndarray:
    """log10 of the mean of x^2 over all axes but the first, (R,)."""
    return log10_square(rms(x.detach()), 0.0)


def largest_singular_value(weight: Tensor) -> np.ndarray:
    """The exact l2 norm of matrices (R, out, in), by eigenvalues of the smaller Gram matrix."""
    weight = weight.detach().double()
    gram = weight.mT @ weight if weight.shape[1] >= weight.shape[2] else weight @ weight.mT
    diagonal = gram.diagonal(dim1=1, dim2=2).amax(1)
    if not bool(((diagonal > 1e-280) & (diagonal < 1e280)).all()):  # squares leave the range
        size = rms(weight)
        scale = np.where((size > 0) & (size < math.inf), size, 1.0)
        weight = weight / torch.from_numpy(scale).to(weight)[:, None, None]
        return scale * torch.linalg.matrix_norm(weight, 2).cpu().numpy()
    return torch.linalg.eigvalsh(gram)[:, -1].sqrt().cpu().numpy()


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """(R, ...); of one network without a copy."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tuple(tensors))


def _stacked_bias(layers: Sequence[FreeWeightModule]) -> Tensor | None:
    """(R, 1, out); None where all are zero, so that no bias meets a scale of 2^-4000."""
    if layers[0].bias is None:
        return None
    bias = _stacked([layer.bias.detach() for layer in layers])
    return bias[:, None] if bool(bias.any()) else None


class _Carrying(torch.autograd.Function):
    """A scalar whose derivative with respect to ``output`` is ``gradient``.

    Given gradients, ``torch.autograd.grad`` imports sympy at its first call: half a second.
    """

    @staticmethod
    def forward(ctx, output: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return output.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx, one: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


class Step:
    """What the probe asks of a layer; ``layers`` are the same layer of R networks."""

    def __init__(self, layers: Sequence[FreeWeightModule], *, gradients: bool):
        self.layers = layers
        self.bias = _stacked_bias(layers)
        with torch.set_grad_enabled(gradients):
            self._effective()

    def _effective(self) -> None:
        raise NotImplementedError

    def up(self, signal: Signal) -> tuple[Signal, Tensor | None]:
        """(the layer's output, share of active hidden units of a residual layer or None)."""
        raise NotImplementedError

    def down(
        self, cotangent: Cotangent, x: Tensor, exponent: np.ndarray
    ) -> tuple[Cotangent, np.ndarray]:
        """(cotangent at the layer's input, log10 second moment of the free weight's gradient).

        x: the layer's inputs, mantissas (R, inputs, in) with their exponent (R,).
        """
        raise NotImplementedError

    def effective_weight(self) -> Tensor:
        raise NotImplementedError

    def operator_norm(self) -> np.ndarray | None:
        return None

    def _free_gradient(self, outputs, gradients, exponent: np.ndarray) -> np.ndarray:
        free = [layer.free_weight for layer in self.layers]
        carried = [_Carrying.apply(*pair) for pair in zip(outputs, gradients, strict=True)]
        pulled = torch.autograd.grad(carried, free)
        return log10_mean_square(_stacked(pulled)) + 2 * LOG10_2 * exponent


class AffineStep(Step):
    """z = W x + b."""

    def _effective(self) -> None:
        self.weight = _stacked([layer.effective_weight() for layer in self.layers])

    def up(self, signal):
        return signal.affine(self.weight.detach(), self.bias), None

    def down(self, cotangent, x, exponent):
        gradient = cotangent.full().mT @ x
        moment = self._free_gradient([self.weight], [gradient], cotangent.exponent + exponent)
        return cotangent.through(self.weight.detach()), moment

    def effective_weight(self) -> Tensor:
        return self.weight.detach()

    def operator_norm(self) -> np.ndarray:
        return largest_singular_value(self.weight)


class ResidualStep(Step):
    """y = x - outer phi_c(inner x + bias): see lipexp.layers.base.Branch."""

    def _effective(self) -> None:
        branches = [layer.branch() for layer in self.layers]
        self.inner = _stacked([branch.inner for branch in branches])
        self.outer = _stacked([branch.outer for branch in branches])
        scales = torch.stack([branch.scale for branch in branches])
        self.shift = np.log2(scales.detach().double().cpu().numpy())  # whole numbers
        self.activation: Activation = self.layers[0].activation
        if self.bias is not None:
            self.bias = _stacked([branch.bias for branch in branches]).detach()[:, None]

    def up(self, signal):
        before = signal.affine(self.inner.detach(), self.bias)
        after = before.activated(self.activation, self.shift)
        branch = after.affine(self.outer.detach(), None)
        return signal.minus(branch), self.activation.active_fraction(before.full())

    def down(self, cotangent, x, exponent):
        before = affine(x, self.inner.detach(), self.bias, exponent)
        after = at_scale(self.activation, exponent + self.shift, x)(before)
        inside = cotangent.negated().through(self.outer.detach())
        inside = inside.pulled_back(self.activation, before, exponent + self.shift)
        moment = self._free_gradient(
            [self.inner, self.outer],
            [inside.full().mT @ x, -(cotangent.full().mT @ after)],
            cotangent.exponent + exponent,
        )
        return cotangent.plus(inside.through(self.inner.detach())), moment

    def effective_weight(self) -> Tensor:
        with torch.no_grad():
            return _stacked([layer.effective_weight() for layer in self.layers])


def make_step(layers: Sequence[FreeWeightModule], *, gradients: bool) -> Step:
    """The step of one layer of R networks.  Raises UserError for a layer of neither shape."""
    first = layers[0]
    if isinstance(first, LipschitzLinear):
        return AffineStep(layers, gradients=gradients)
    if isinstance(first, LipschitzResidual):
        return ResidualStep(layers, gradients=gradients)
    raise UserError(
        f"the probe knows LipschitzLinear and LipschitzResidual layers; got {type(first).__name__}"
    )
