"""The declared rounding errors against exact rational arithmetic on the same float64 weights."""

from __future__ import annotations

import copy
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.activations import ACTIVATIONS
from lipexp.layers import Centre, certified_norm
from lipexp.lipschitz import safe_norm
from tests.strategies import CHOICES, exact_constant, make_layer, seeds


def rational(matrix) -> list:
    values = matrix.detach().numpy() if isinstance(matrix, torch.Tensor) else matrix
    if values.ndim == 1:
        return [Fraction(float(v)) for v in values]
    return [[Fraction(float(v)) for v in row] for row in values]


def times(matrix, x):
    return [sum((a * b for a, b in zip(row, x, strict=True)), Fraction(0)) for row in matrix]


def exactly(layer, x):
    """The layer's formula with its float64 effective weights taken as exact numbers."""
    x = rational(x)
    bias = rational(layer.bias) if layer.bias is not None else None
    if not hasattr(layer, "branch"):
        z = times(rational(layer.effective_weight()), x)
        return z if bias is None else [a + b for a, b in zip(z, bias, strict=True)]
    # Residual: the exact formula in W and t; G = 2 W diag(t) as a matrix of floats is part of what
    # rounds, so it is formed exactly here.
    scale, _, inverse = layer._scaled()
    inner, t = rational(layer.weight), rational(inverse)
    hidden = times(inner, x)
    if bias is not None:
        hidden = [a + b for a, b in zip(hidden, bias, strict=True)]
    hidden = [max(v, Fraction(0)) for v in hidden]
    factor = 2 / Fraction(float(scale)) ** 2
    hidden = [factor * a * b for a, b in zip(t, hidden, strict=True)]
    columns = [list(column) for column in zip(*inner, strict=True)]
    return [a - b for a, b in zip(x, times(columns, hidden), strict=True)]


def distance(computed: torch.Tensor, exact: list) -> float:
    square = sum((Fraction(float(c)) - e) ** 2 for c, e in zip(computed, exact, strict=True))
    return float(square) ** 0.5 if square > Fraction(1, 10**600) else 0.0


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: f"{c[0]}-{c[1]}")
@settings(max_examples=25, deadline=None)
@given(
    seed=seeds,
    exponent=st.integers(-40, 40),
    bias_exponent=st.integers(-20, 60),
    x_exponent=st.integers(-80, 20),
)
def test_local_error_covers_the_rounding(choice, seed, exponent, bias_exponent, x_exponent):
    name, keys = choice
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 6))
    weight = generator.standard_normal((size, size)) * 2.0**exponent
    bias = generator.standard_normal(size) * 2.0**bias_exponent
    layer = make_layer(name, keys, size, size, weight, bias)
    x = torch.from_numpy(generator.standard_normal(size) * 2.0**x_exponent)
    norm = float(safe_norm(x)) * (1 + 1e-14)
    computed = layer(x).detach()
    assert distance(computed, exactly(layer, x)) <= layer.local_error(x.shape, norm)
    assert float(safe_norm(computed)) <= layer.norm_after(x.shape, norm) * (
        1 + 1e-12
    ) + layer.local_error(x.shape, norm)


@pytest.mark.parametrize(
    ("size", "signal"), [(1e-200, 1e-150), (1e-300, 1e-10), (1e-250, 1e-60), (1e-160, 1e-160)]
)
def test_local_error_of_a_residual_layer_covers_small_weights(size, signal):
    layer = make_layer("sll", {}, 2, 2, size * np.eye(2))
    x = torch.full((2,), signal, dtype=torch.float64)
    error = distance(layer(x).detach(), exactly(layer, x))
    assert error <= layer.local_error(x.shape, signal * 2**0.5 * (1 + 1e-15))
    assert float(layer(x)[0].detach()) == pytest.approx(-signal)  # W = I turns positive inputs


def test_local_error_covers_products_that_underflow():
    # 2^-540 x 2^-540 is below the smallest float64; the exact product is not 0.
    layer = make_layer("linear", {}, 1, 1, np.array([[2.0**-540]]))
    x = torch.tensor([2.0**-540], dtype=torch.float64)
    assert float(layer(x).detach()) == 0
    assert distance(layer(x).detach(), exactly(layer, x)) <= layer.local_error(x.shape, 2.0**-540)
    assert layer.local_error(x.shape, 2.0**-540) > 0


def test_error_of_centring_is_covered():
    centre = Centre((0.1, 0.7), (2, 3, 3))
    generator = np.random.default_rng(0)
    for _ in range(50):
        x = torch.from_numpy(generator.random((1, 2, 3, 3)))
        exact = [
            Fraction(float(v)) - Fraction(float(centre.mean.flatten()[c]))
            for c in range(2)
            for v in x[0, c].flatten()
        ]
        norm = float(x.norm())
        assert distance(centre(x).flatten(), exact) <= centre.local_error(x.shape, norm)
        assert float(centre(x).norm()) <= centre.norm_after(x.shape, norm)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (4, 7), (7, 4), (40, 30)])
@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_certified_norm_is_above_the_exact_norm_and_close_to_it(shape, scale):
    generator = np.random.default_rng(0)
    for _ in range(5):
        matrix = torch.from_numpy(generator.standard_normal(shape))
        exact = float(torch.linalg.svdvals(matrix)[0])
        bound = certified_norm(matrix * scale) / scale
        assert exact * (1 - 1e-15) <= bound <= exact * (1 + 1e-10)


def test_certified_norm_of_matrices_that_fool_power_iteration():
    # A start of all ones is orthogonal to the top singular vector of these.
    first = torch.tensor([[2.0, -2.0], [0.5, 0.5]], dtype=torch.float64)
    assert certified_norm(first) >= 8**0.5
    second = torch.from_numpy(np.random.default_rng(1).standard_normal((30, 30)))
    second -= second.mean(1, keepdim=True)
    assert certified_norm(second) >= float(torch.linalg.svdvals(second)[0])
    assert certified_norm(torch.zeros(3, 2)) == 0


def test_a_weight_that_is_not_finite_has_no_bound():
    from lipexp.errors import UserError

    for bad in (np.nan, np.inf):
        layer = make_layer("linear", {}, 2, 2, np.array([[1.0, bad], [0.0, 1.0]]))
        with pytest.raises(UserError, match="NaN or infinite"):
            layer.lipschitz_bound()


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: f"{c[0]}-{c[1]}")
def test_a_float32_layer_is_bounded_by_its_float64_copy(choice):
    name, keys = choice
    weight = np.random.default_rng(0).standard_normal((5, 5))
    layer = make_layer(name, keys, 5, 5, weight, dtype=torch.float32)
    bound = layer.lipschitz_bound()
    copied = copy.deepcopy(layer).double()
    assert exact_constant(copied) <= bound * (1 + 1e-14)
    assert bound == copied.lipschitz_bound()
    assert layer.free_weight.dtype == torch.float32


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_rounding_of_activations_is_covered(name):
    mpmath.mp.dps = 60
    phi = ACTIVATIONS[name]()
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 4)) * 3)
    for row, found in zip(x, phi(x), strict=True):
        if name == "tanh":
            exact = [mpmath.tanh(mpmath.mpf(float(v))) for v in row]
        elif name == "leaky_relu":
            exact = [mpmath.mpf(float(v)) * (1 if v > 0 else mpmath.mpf(0.01)) for v in row]
        else:
            exact = [mpmath.mpf(float(v)) for v in phi(row)]  # these round nothing
        pairs = zip(found, exact, strict=True)
        error = mpmath.sqrt(sum((mpmath.mpf(float(a)) - b) ** 2 for a, b in pairs))
        assert error <= phi.local_error(row.shape, float(safe_norm(row)))
