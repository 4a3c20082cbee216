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
from lipexp.layers import certified_norm
from lipexp.lipschitz import safe_norm
from tests.exact import covers, exact_constant, exactly, rational
from tests.strategies import CHOICES, make_layer, seeds


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
    rounding = rational(computed) - exactly(layer, rational(x))
    assert covers(layer.local_error(x.shape, norm), rounding)
    assert float(safe_norm(computed)) <= layer.norm_after(x.shape, norm) * (
        1 + 1e-12
    ) + layer.local_error(x.shape, norm)


@pytest.mark.parametrize(
    ("size", "signal"), [(1e-200, 1e-150), (1e-300, 1e-10), (1e-250, 1e-60), (1e-160, 1e-160)]
)
def test_local_error_of_a_residual_layer_covers_small_weights(size, signal):
    layer = make_layer("sll", {}, 2, 2, size * np.eye(2))
    x = torch.full((2,), signal, dtype=torch.float64)
    rounding = rational(layer(x)) - exactly(layer, rational(x))
    assert covers(layer.local_error(x.shape, signal * 2**0.5 * (1 + 1e-15)), rounding)
    assert float(layer(x)[0].detach()) == pytest.approx(-signal)  # W = I turns positive inputs


def test_local_error_covers_products_that_underflow():
    # 2^-540 x 2^-540 is below the smallest float64; the exact product is not 0.
    layer = make_layer("linear", {}, 1, 1, np.array([[2.0**-540]]))
    x = torch.tensor([2.0**-540], dtype=torch.float64)
    assert float(layer(x).detach()) == 0
    truth = exactly(layer, rational(x))
    assert truth.tolist() == [Fraction(1, 2**1080)]
    assert covers(layer.local_error(x.shape, 2.0**-540), truth)


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
