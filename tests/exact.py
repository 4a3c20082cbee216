"""Exact oracles: dense matrices, constants by all slope patterns, networks in rational arithmetic.

Nothing here uses a bound of the package.  A matrix is read off by applying a map to unit vectors,
which rounds nothing where no two taps of a kernel fall on one pixel; arrays of fractions never do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from lipexp.activations.base import Activation
from lipexp.activations.sorting import MaxMin
from lipexp.certification.chain import steps_of
from lipexp.layers import Centre, LipschitzConv2d, LipschitzResidual
from lipexp.layers.base import LipschitzAffine

# What LAPACK's largest singular value may be off here: of 5 x 64 numbers, with room to spare.
ORACLE = 1e-13


# ---------------------------------------------------------------- matrices and their norms


def dense_matrix(linear, shape: Sequence[int]) -> Tensor:
    """The matrix of a linear map of inputs of ``shape``, column by column."""
    size = torch.Size(shape).numel()
    units = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    return linear(units).detach().flatten(1).mT


def weight_matrix(layer: LipschitzAffine, shape: Sequence[int]) -> Tensor:
    """The matrix that a layer applies to inputs of ``shape``, without its bias."""
    return dense_matrix(lambda x: layer.apply_weight(layer.in_use(), x), shape)


def branch_matrices(layer: LipschitzResidual, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Inner and outer of a residual layer of signals of ``shape``."""
    branch = layer.in_use()
    hidden = layer.apply_inner(branch.inner, torch.zeros(1, *shape).double()).shape[1:]
    inner = dense_matrix(lambda x: layer.apply_inner(branch.inner, x), shape)
    return inner, dense_matrix(lambda h: layer.apply_outer(branch.outer, h), hidden)


def norms(matrices: Tensor) -> Tensor:
    """Largest singular values of (..., m, n), by LAPACK."""
    return torch.linalg.svdvals(matrices)[..., 0]


def exact_norm(matrix: Tensor) -> float:
    """Largest singular value, in float64."""
    return float(norms(matrix.detach().double()))


# ---------------------------------------------------------------- constants


def patterns(size: int, slopes: Sequence[float]) -> Tensor:
    """All vectors of that size with entries from ``slopes``."""
    return torch.tensor(list(itertools.product(slopes, repeat=size)), dtype=torch.float64)


def residual_jacobians(inner: Tensor, outer: Tensor, slopes: Tensor) -> Tensor:
    """I - outer D inner for each diagonal D of ``slopes``, (patterns, hidden)."""
    return torch.eye(inner.shape[1]).double() - outer @ (slopes[:, :, None] * inner)


def worst_slopes(inner: Tensor, outer: Tensor) -> float:
    """The largest norm of I - outer D inner over all D of zeros and ones."""
    slopes = patterns(len(inner), (0.0, 1.0))
    return float(norms(residual_jacobians(inner, outer, slopes)).max())


def exact_constant(layer) -> float:
    """The Lipschitz constant of a small dense layer: its matrix, or all slopes of a residual one.

    Every pattern bounds the true constant from above where rows are dependent; equality else.
    """
    if not hasattr(layer, "branch"):
        return exact_norm(layer.effective_weight())
    branch = layer.branch()
    return worst_slopes(branch.inner.detach().double(), branch.outer.detach().double())


def choices(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Every Jacobian that a module can have, (choices, out, in), feasible or not."""
    size = torch.Size(shape).numel()
    if isinstance(module, LipschitzAffine):
        return weight_matrix(module, shape)[None]
    if isinstance(module, LipschitzResidual):
        inner, outer = branch_matrices(module, shape)
        return residual_jacobians(inner, outer, patterns(len(inner), (0.0, 1.0)))
    if isinstance(module, MaxMin):
        first, second = _pairs(module, shape)
        swaps = []
        for chosen in itertools.product((False, True), repeat=len(first)):
            swap = torch.tensor(chosen)
            target = torch.empty(size, dtype=torch.long)
            target[first] = torch.where(swap, second, first)
            target[second] = torch.where(swap, first, second)
            swaps.append(torch.eye(size).double()[target])
        return torch.stack(swaps)
    if isinstance(module, Activation):
        low, high = float(-module(-torch.ones(1, 2).double())[0, 0]), 1.0
        if type(module).__name__ == "Tanh":
            low = 0.0  # slopes fill [0, 1]; a norm is convex in them
        slopes = (high,) if low == high else (low, high)
        return torch.diag_embed(patterns(size, slopes))
    if isinstance(module, Centre):
        return torch.eye(size).double()[None]
    return dense_matrix(module, shape)[None]


def jacobians(network: nn.Module, shape: Sequence[int], most: int = 4096) -> Tensor | None:
    """Every product of Jacobians, (choices, scores, inputs); None for more than ``most``."""
    product = torch.eye(torch.Size(shape).numel()).double()[None]
    for step in steps_of(network):
        of_step = choices(step.module, shape)
        if len(of_step) * len(product) > most:
            return None
        product = (of_step[:, None] @ product[None]).flatten(0, 1)
        shape = _after(step.module, shape)
    return product


def _after(module: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a module's output."""
    return tuple(module(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])


def _pairs(module: MaxMin, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The places of the numbers that maxmin compares, in a flat signal of ``shape``."""
    first, second = module._pairs(torch.arange(torch.Size(shape).numel()).reshape(tuple(shape)))
    return first.flatten(), second.flatten()


# ---------------------------------------------------------------- rational arithmetic


def rational(values: Tensor | np.ndarray) -> np.ndarray:
    """The same numbers as fractions, in an array of the same shape."""
    values = values.detach().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return np.array([Fraction(float(v)) for v in values.flat], dtype=object).reshape(values.shape)


def times(matrix: Tensor, x: np.ndarray) -> np.ndarray:
    """matrix x, the zeros of the matrix left out."""
    rows = matrix.detach().tolist()
    products = [
        sum((Fraction(w) * v for w, v in zip(row, x, strict=True) if w), Fraction(0))
        for row in rows
    ]
    return np.array(products, dtype=object)


def slid(x, kernel, before: int, after: int, stride: int = 1, mode: str = "zeros") -> np.ndarray:
    """The cross-correlation of rational arrays: x (in, h, w), kernel (out, in, side, side)."""
    outputs, _, side, _ = kernel.shape
    _, height, width = x.shape
    high = (height + before + after - side) // stride + 1
    wide = (width + before + after - side) // stride + 1
    result = np.full((outputs, high, wide), Fraction(0), dtype=object)
    for i, j, a, b in itertools.product(range(high), range(wide), range(side), range(side)):
        row, column = i * stride + a - before, j * stride + b - before
        if mode == "circular":
            row, column = row % height, column % width
        if 0 <= row < height and 0 <= column < width:
            result[:, i, j] += kernel[:, :, a, b] @ x[:, row, column]
    return result


def exactly(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """A module's formula at one input of fractions, its float64 weights taken as exact numbers."""
    if isinstance(module, LipschitzAffine):
        return _affine(module, x)
    if isinstance(module, LipschitzResidual):
        return _residual(module, x)
    if isinstance(module, MaxMin):
        values = x.flatten()
        for a, b in zip(*(part.tolist() for part in _pairs(module, x.shape)), strict=True):
            values[a], values[b] = max(values[a], values[b]), min(values[a], values[b])
        return values.reshape(x.shape)
    if isinstance(module, Activation):
        return np.where(x > 0, x, Fraction(module.negative_slope) * x)
    if isinstance(module, Centre):
        return x - rational(module.mean)
    return times(dense_matrix(module, x.shape), x.flatten()).reshape(_after(module, x.shape))


def _affine(layer: LipschitzAffine, x: np.ndarray) -> np.ndarray:
    weight = rational(layer.in_use())
    bias = Fraction(0) if layer.bias is None else rational(layer.bias)
    if not isinstance(layer, LipschitzConv2d):
        return x @ weight.T + bias
    window = layer.window
    found = slid(x, weight, window.before, window.after, window.stride, window.mode)
    return found + (bias if layer.bias is None else bias[:, None, None])


def _residual(layer: LipschitzResidual, x: np.ndarray) -> np.ndarray:
    """x - 2 W^T diag(t) relu(W x + b) / c^2, with c and t as the layer computes them.

    2 diag(t) W as a matrix of floats is part of what rounds, so it is formed exactly here.
    """
    scale, _, t = layer._scaled()
    weight = rational(layer.weight)
    columns = (slice(None), *[None] * (x.ndim - 1))
    bias = Fraction(0) if layer.bias is None else rational(layer.bias)[columns]
    factor = rational(t)[columns] * (2 / Fraction(float(scale)) ** 2)
    if weight.ndim == 2:
        return x - weight.T @ (factor * _relu(weight @ x + bias))
    before, after, mode = layer.window.before, layer.window.after, layer.window.mode
    hidden = factor * _relu(slid(x, weight, before, after, mode=mode) + bias)
    back = weight[:, :, ::-1, ::-1].swapaxes(0, 1)
    return x - slid(hidden, back, after, before, mode=mode)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, Fraction(0))


def exact_scores(network: nn.Module, x: Tensor) -> np.ndarray:
    """The scores of one input, (classes,)."""
    values = rational(x)
    for step in steps_of(network):
        values = exactly(step.module, values)
    return values


def covers(bound: float, vector: np.ndarray) -> bool:
    """Whether the l2 norm of fractions is at most ``bound``: in squares, so exactly."""
    return bound >= 0 and sum(v * v for v in vector.flat) <= Fraction(bound) ** 2


def size_of(vector: np.ndarray) -> float:
    """The l2 norm, as good as float64 can say it, also of numbers far below its range."""
    square = sum((v * v for v in vector.flat), Fraction(0))
    if square == 0:
        return 0.0
    shift = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return float(square / Fraction(4) ** shift) ** 0.5 * 2.0**shift
