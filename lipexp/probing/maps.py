"""Linear maps of R networks at once, up for signals and down for cotangents.

``Matrices`` and ``Convolutions`` are weights of layers, (R, ...), on signals (R, inputs, *shape);
``through`` and ``pulled_through`` are the parameter-free maps that stand behind an activation, the
same for all networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lipexp.layers.windows import Window

# Of the columns that a convolution on the CPU unfolds its images into: those of a whole batch leave
# the cache (measured: 4 times as slow in float64), and need 9 times the signal's memory.
COLUMN_BYTES = 2**22


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """(R, ...); of one network without a copy."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tuple(tensors))


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


def pulled_back(
    outputs: Iterable[Tensor], gradients: Iterable[Tensor], inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The gradients of ``inputs`` where those of ``outputs`` are given."""
    with torch.enable_grad():
        carried = [_Carrying.apply(*pair) for pair in zip(outputs, gradients, strict=True)]
    return torch.autograd.grad(carried, inputs)


class Matrices:
    """x -> W x; weight: (R, out, in), x: (R, inputs, in)."""

    def __init__(self, weight: Tensor):
        self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        return x @ self.weight.mT

    def transposed(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        """W^T y."""
        return y @ self.weight

    def weight_gradient(self, y: Tensor, x: Tensor) -> Tensor:
        """dL/dW, summed over inputs, for cotangents y of W x; of the shape of the weight."""
        return y.mT @ x


class Convolutions:
    """x -> K * x; kernels: (R, out, in, side, side), x: (R, inputs, in, h, w).

    ``apply(kernel, x)`` is how a layer applies one network's kernel, ``window`` the window that it
    does so by, where that is known.  The same methods as `Matrices`.
    """

    def __init__(
        self,
        kernels: Tensor,
        apply: Callable[[Tensor, Tensor], Tensor],
        window: Window | None = None,
    ):
        self.kernels, self._apply = kernels, apply
        # Only then torch's own backward functions are the whole of it, and no forward is needed.
        plain = window is not None and window.mode == "zeros" and window.before == window.after
        self._sliding = (window.stride, window.before) if plain else None

    def __call__(self, x: Tensor) -> Tensor:
        def one(kernel: Tensor, images: Tensor) -> Tensor:
            parts = images.split(self._together(x.shape[2:], x))
            return torch.cat([self._apply(kernel, part) for part in parts])

        return stacked([one(*pair) for pair in zip(self.kernels, x, strict=True)])

    def transposed(self, y: Tensor, shape: Sequence[int]) -> Tensor:
        """K^T * y for inputs of that shape, (in, h, w)."""

        def one(kernel: Tensor, images: Tensor) -> Tensor:
            parts = images.split(self._together(shape, y))
            return torch.cat([self._pulled(kernel, part, shape) for part in parts])

        return stacked([one(*pair) for pair in zip(self.kernels, y, strict=True)])

    def weight_gradient(self, y: Tensor, x: Tensor) -> Tensor:
        """dL/dK, summed over inputs, for cotangents y of K * x; of the shape of the kernels."""

        def one(kernel: Tensor, cotangents: Tensor, images: Tensor) -> Tensor:
            count = self._together(x.shape[2:], x)
            gradient = torch.zeros_like(kernel)
            for pair in zip(cotangents.split(count), images.split(count), strict=True):
                gradient += self._gradient(kernel, *pair)
            return gradient

        return stacked([one(*each) for each in zip(self.kernels, y, x, strict=True)])

    def _together(self, shape: Sequence[int], like: Tensor) -> int:
        """How many images are sent through at once."""
        if like.is_cuda:
            return like.shape[1]
        _, height, width = shape
        columns = self.kernels[0, 0].numel() * height * width * like.element_size()
        return max(COLUMN_BYTES // columns, 1) * torch.get_num_threads()

    def _pulled(self, kernel: Tensor, y: Tensor, shape: Sequence[int]) -> Tensor:
        size = (len(y), *shape)
        if self._sliding:
            stride, padding = self._sliding
            return torch.nn.grad.conv2d_input(size, kernel, y, stride, padding)
        with torch.enable_grad():
            x = y.new_zeros(size).requires_grad_()
            return pulled_back([self._apply(kernel, x)], [y], [x])[0]

    def _gradient(self, kernel: Tensor, y: Tensor, x: Tensor) -> Tensor:
        if self._sliding:
            stride, padding = self._sliding
            return torch.nn.grad.conv2d_weight(x, kernel.shape, y, stride, padding)
        with torch.enable_grad():
            leaf = kernel.detach().requires_grad_()
            return pulled_back([self._apply(leaf, x)], [y], [leaf])[0]


Maps = Matrices | Convolutions


def through(maps: Sequence[nn.Module], x: Tensor) -> Tensor:
    """x (R, inputs, ...) through parameter-free linear maps, one after the other."""
    if not maps:
        return x
    images = x.flatten(0, 1)
    for each in maps:
        images = each(images)
    return images.unflatten(0, x.shape[:2])


def pulled_through(maps: Sequence[nn.Module], y: Tensor, shape: Sequence[int]) -> Tensor:
    """M^T y for the maps M in that order, of inputs of ``shape``; y: (R, inputs, ...)."""
    if not maps:
        return y
    with torch.enable_grad():
        # Of a linear map only the shape of the input matters.
        x = y.new_zeros(()).expand(*y.shape[:2], *shape).requires_grad_()
        return pulled_back([through(maps, x)], [y], [x])[0]
