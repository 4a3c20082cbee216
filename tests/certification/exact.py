"""Exact oracles for certificates: networks in rational arithmetic, constants by all slope patterns.

Nothing here uses a bound of the package; matrices are read off by applying a map to unit vectors,
which rounds nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from lipexp.activations.base import Activation
from lipexp.activations.sorting import MaxMin
from lipexp.certification.chain import steps_of
from lipexp.layers import LipschitzConv2d, LipschitzResidual
from lipexp.layers.base import LipschitzAffine
from lipexp.layers.linear import PlainLinear

ORACLE = 1e-13  # what LAPACK's largest singular value of a small product may be off


def linear(matrix, bias=None) -> PlainLinear:
    """The float64 layer x -> matrix x + bias."""
    matrix = torch.as_tensor(matrix, dtype=torch.float64)
    layer = PlainLinear(
        matrix.shape[1], matrix.shape[0], bias is not None, init=None, dtype=torch.float64
    )
    bias = None if bias is None else torch.as_tensor(bias, dtype=torch.float64).numpy()
    layer.fill(matrix.numpy(), bias)
    return layer


def norms(matrices: Tensor) -> Tensor:
    """Largest singular values of (..., m, n)."""
    return torch.linalg.svdvals(matrices)[..., 0]


def unit_images(shape: Sequence[int]) -> Tensor:
    size = torch.Size(shape).numel()
    return torch.eye(size, dtype=torch.float64).reshape(size, *shape)


def matrix_of(apply, shape: Sequence[int]) -> Tensor:
    """The dense matrix of a linear map of inputs of ``shape``."""
    return apply(unit_images(shape)).flatten(1).mT


def choices(module: nn.Module, shape: Sequence[int]) -> Tensor:
    """Every Jacobian that a module can have, (choices, out, in), feasible or not."""
    size = torch.Size(shape).numel()
    if isinstance(module, LipschitzAffine):
        return matrix_of(lambda x: module.apply_weight(module.in_use(), x), shape)[None]
    if isinstance(module, LipschitzResidual):
        branch = module.in_use()
        inner = matrix_of(lambda x: module.apply_inner(branch.inner, x), shape)
        hidden = module.apply_inner(branch.inner, torch.zeros(1, *shape).double()).shape[1:]
        outer = matrix_of(lambda x: module.apply_outer(branch.outer, x), hidden)
        masks = patterns(len(inner), (0.0, 1.0))
        return torch.eye(size).double() - outer @ (masks[:, :, None] * inner)
    if isinstance(module, MaxMin):
        order = torch.arange(size).reshape(shape)
        first, second = (part.flatten() for part in module._pairs(order))
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
    return matrix_of(module, shape)[None]


def patterns(size: int, slopes: Sequence[float]) -> Tensor:
    """All vectors of that size with entries from ``slopes``."""
    return torch.tensor(list(itertools.product(slopes, repeat=size)), dtype=torch.float64)


def jacobians(network: nn.Module, shape: Sequence[int], most: int = 4096) -> Tensor | None:
    """Every product of Jacobians, (choices, scores, inputs); None for more than ``most``."""
    product = torch.eye(torch.Size(shape).numel()).double()[None]
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    for step in steps_of(network):
        of_step = choices(step.module, shape)
        if len(of_step) * len(product) > most:
            return None
        product = (of_step[:, None] @ product[None]).flatten(0, 1)
        zero = step.module(zero)
        shape = zero.shape[1:]
    return product


def rational(tensor: Tensor) -> list[Fraction]:
    return [Fraction(float(value)) for value in tensor.detach().flatten()]


def times(matrix: Tensor, x: list[Fraction]) -> list[Fraction]:
    """matrix x, the zeros of the matrix left out."""
    rows = matrix.detach().tolist()
    return [
        sum((Fraction(w) * v for w, v in zip(row, x, strict=True) if w), Fraction(0))
        for row in rows
    ]


def exact_scores(network: nn.Module, x: Tensor) -> list[Fraction]:
    """The network's formula in rational arithmetic at one input, float64 weights in use exact."""
    shape, values = tuple(x.shape), rational(x)
    for step in steps_of(network):
        module = step.module
        after = module(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:]
        values = _exactly(module, shape, values)
        shape = tuple(after)
    return values


def _exactly(module: nn.Module, shape: tuple[int, ...], x: list[Fraction]) -> list[Fraction]:
    if isinstance(module, LipschitzAffine):
        matrix = matrix_of(lambda v: module.apply_weight(module.in_use(), v), shape)
        values = times(matrix, x)
        if module.bias is None:
            return values
        # Convolutions add a bias per channel, dense layers one per feature: the last or third axis.
        places = len(values) // len(module.bias)
        bias = rational(module.bias)
        spread = [b for b in bias for _ in range(places)]
        if not isinstance(module, LipschitzConv2d):
            spread = bias * places
        return [a + b for a, b in zip(values, spread, strict=True)]
    if isinstance(module, LipschitzResidual):
        return _residual(module, shape, x)
    if isinstance(module, MaxMin):
        values = list(x)
        first, second = (
            part.flatten().tolist() for part in module._pairs(torch.arange(len(x)).reshape(shape))
        )
        for a, b in zip(first, second, strict=True):
            values[a], values[b] = max(x[a], x[b]), min(x[a], x[b])
        return values
    if isinstance(module, Activation):
        slope = Fraction(module.negative_slope)
        return [v if v > 0 else slope * v for v in x]
    if hasattr(module, "mean"):
        each = len(x) // module.mean.numel()
        mean = [m for m in rational(module.mean) for _ in range(each)]
        return [a - b for a, b in zip(x, mean, strict=True)]
    return times(matrix_of(module, shape), x)


def _residual(module, shape, x: list[Fraction]) -> list[Fraction]:
    """x - 2 U^T diag(t) relu(U x + b / c), with U, t as the layer computes them; relu only."""
    scale, rows, t = module._scaled()
    inner = matrix_of(lambda v: module.apply_inner(rows, v), shape)
    hidden = times(inner, x)
    places = len(hidden) // len(t)
    if module.bias is not None:
        bias = [b / Fraction(float(scale)) for b in rational(module.bias)]
        hidden = [h + bias[k // places] for k, h in enumerate(hidden)]
    weights = rational(t)
    hidden = [2 * weights[k // places] * max(h, Fraction(0)) for k, h in enumerate(hidden)]
    return [a - b for a, b in zip(x, times(inner.mT, hidden), strict=True)]


def size_of(vector: Sequence[Fraction]) -> float:
    """The l2 norm, as good as float64 can say it, also of numbers far below its range."""
    square = sum((v * v for v in vector), Fraction(0))
    if square == 0:
        return 0.0
    shift = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    return float(square / Fraction(4) ** shift) ** 0.5 * 2.0**shift
