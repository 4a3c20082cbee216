"""One layer of R networks as a step up for a signal and down for a cotangent.

The effective weights of the R networks are stacked, so the products of matrices with the data are
batched (convolutions go one network after the other); each layer computes its own effective weight,
so a layer is written for one network only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lipexp.activations.base import Activation
from lipexp.errors import UserError
from lipexp.layers.base import (
    FreeWeightModule,
    LipschitzAffine,
    LipschitzConv2d,
    LipschitzResidual,
)
from lipexp.layers.sll import SLLConv2d
from lipexp.probing.cotangent import Cotangent
from lipexp.probing.maps import Convolutions, Maps, Matrices, pulled_back, stacked
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


def _stacked_biases(biases: Sequence[Tensor], layer: FreeWeightModule) -> Tensor:
    """(R, 1, out), or (R, 1, out, 1, 1) for images: as it is added to a layer's outputs."""
    sides = [1] * (len(layer.free_shape) - 2)
    return stacked([bias.detach() for bias in biases]).reshape(len(biases), 1, -1, *sides)


def _stacked_bias(layers: Sequence[FreeWeightModule]) -> Tensor | None:
    """None where all are zero, so that no bias meets a scale of 2^-4000."""
    if layers[0].bias is None:
        return None
    bias = _stacked_biases([layer.bias for layer in layers], layers[0])
    return bias if bool(bias.any()) else None


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

        x: the layer's inputs, mantissas (R, inputs, *shape) with their exponent (R,).
        """
        raise NotImplementedError

    def effective_weight(self) -> Tensor:
        raise NotImplementedError

    def operator_norm(self) -> np.ndarray | None:
        return None

    def _free_gradient(self, outputs, gradients, exponent: np.ndarray) -> np.ndarray:
        free = [layer.free_weight for layer in self.layers]
        pulled = pulled_back(outputs, gradients, free)
        return log10_mean_square(stacked(pulled)) + 2 * LOG10_2 * exponent


class AffineStep(Step):
    """z = W x + b, W a matrix or a convolution."""

    def _effective(self) -> None:
        first = self.layers[0]
        self.weight = stacked([layer.effective_weight() for layer in self.layers])
        self.map: Maps = Matrices(self.weight.detach())
        if self.weight.dim() > 3:
            slides = type(first).apply_weight is LipschitzConv2d.apply_weight
            window = first.window if slides else None
            self.map = Convolutions(self.weight.detach(), first.apply_weight, window)

    def up(self, signal):
        return signal.affine(self.map, self.bias), None

    def down(self, cotangent, x, exponent):
        gradient = self.map.weight_gradient(cotangent.full(), x)
        moment = self._free_gradient([self.weight], [gradient], cotangent.exponent + exponent)
        return cotangent.through(self.map, x.shape[2:]), moment

    def effective_weight(self) -> Tensor:
        return self.weight.detach()

    def operator_norm(self) -> np.ndarray | None:
        """Of a matrix, and of a kernel that is one: of larger kernels it depends on the image."""
        _, out, *rest = self.weight.shape
        if math.prod(rest[1:]) > 1:
            return None
        return largest_singular_value(self.weight.reshape(-1, out, rest[0]))


class ResidualStep(Step):
    """y = x - outer phi_c(inner x + bias): see lipexp.layers.base.Branch."""

    def _effective(self) -> None:
        branches = [layer.branch() for layer in self.layers]
        self.inner = stacked([branch.inner for branch in branches])
        self.outer = stacked([branch.outer for branch in branches])
        scales = torch.stack([branch.scale for branch in branches])
        self.shift = np.log2(scales.detach().double().cpu().numpy())  # whole numbers
        first = self.layers[0]
        self.activation: Activation = first.activation
        if self.bias is not None:
            self.bias = _stacked_biases([branch.bias for branch in branches], first)
        inner, outer = self.inner.detach(), self.outer.detach()
        self.maps: tuple[Maps, Maps] = Matrices(inner), Matrices(outer)
        if inner.dim() > 3:
            window = first.window if isinstance(first, SLLConv2d) else None
            self.maps = (
                Convolutions(inner, first.apply_inner, window),
                Convolutions(outer, first.apply_outer, window and window.transposed),
            )

    def up(self, signal):
        inner, outer = self.maps
        before = signal.affine(inner, self.bias)
        after = before.activated(self.activation, self.shift)
        branch = after.affine(outer, None)
        return signal.minus(branch), self.activation.active_fraction(before.full())

    def down(self, cotangent, x, exponent):
        inner, outer = self.maps
        before = affine(x, inner, self.bias, exponent)
        after = at_scale(self.activation, exponent + self.shift, x)(before)
        inside = cotangent.negated().through(outer, after.shape[2:])
        inside = inside.pulled_back(self.activation, before, exponent + self.shift)
        moment = self._free_gradient(
            [self.inner, self.outer],
            [
                inner.weight_gradient(inside.full(), x),
                -outer.weight_gradient(cotangent.full(), after),
            ],
            cotangent.exponent + exponent,
        )
        return cotangent.plus(inside.through(inner, x.shape[2:])), moment

    def effective_weight(self) -> Tensor:
        with torch.no_grad():
            return stacked([layer.effective_weight() for layer in self.layers])


def make_step(layers: Sequence[FreeWeightModule], *, gradients: bool) -> Step:
    """The step of one layer of R networks.  Raises UserError for a layer of neither shape."""
    first = layers[0]
    if isinstance(first, LipschitzAffine):
        return AffineStep(layers, gradients=gradients)
    if isinstance(first, LipschitzResidual):
        return ResidualStep(layers, gradients=gradients)
    raise UserError(
        f"the probe knows LipschitzAffine and LipschitzResidual layers; got {type(first).__name__}"
    )
