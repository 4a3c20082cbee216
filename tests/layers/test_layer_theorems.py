"""Theorems over the registry of layers: whatever is added is proven by being added."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from tests.exact import exact_constant
from tests.strategies import (
    CHOICES,
    describe,
    drawn_layer,
    exponents,
    make_layer,
    seeds,
    sizes,
)

# What LAPACK's largest singular value of a 9 x 9 matrix may be off: 9 u with room to spare.
ORACLE = 1e-14


every_layer = pytest.mark.parametrize("choice", CHOICES, ids=describe)
every_init = pytest.mark.parametrize("init", sorted(INITS))


@every_init
@every_layer
@settings(max_examples=12, deadline=None)
@given(rows=sizes, columns=sizes, exponent=exponents, seed=seeds)
def test_lipschitz_constant_never_exceeds_the_bound(choice, init, rows, columns, exponent, seed):
    name, keys = choice
    if LAYERS.fact(name, "residual"):
        rows = min(rows, 6)  # 2^rows patterns
    layer = drawn_layer(name, keys, columns, rows, init, exponent, seed)
    exact = exact_constant(layer)
    assert exact <= layer.lipschitz_bound() * (1 + ORACLE)
    assert exact <= layer.lipschitz_bound(tight=True) * (1 + ORACLE)
    assert layer.lipschitz_bound() >= 1
    if name != "linear":
        assert layer.lipschitz_bound() <= 1 + 1e-8


@every_layer
@settings(max_examples=25, deadline=None)
@given(seed=seeds, size=sizes)
def test_bound_holds_for_columns_of_wildly_different_scale(choice, seed, size):
    name, keys = choice
    if LAYERS.fact(name, "residual"):
        size = min(size, 6)
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((size, size))
    weight *= 10.0 ** generator.integers(-160, 150, size)
    weight *= 10.0 ** generator.integers(-3, 3, (size, 1))
    weight[:, generator.integers(size)] = 0
    layer = make_layer(name, keys, size, size, weight)
    assert exact_constant(layer) <= layer.lipschitz_bound() * (1 + ORACLE)


@every_layer
def test_zero_weights_and_zero_rows_have_finite_gradients(choice):
    name, keys = choice
    generator = np.random.default_rng(0)
    for kill in ("rows", "columns", "all"):
        weight = generator.standard_normal((4, 4))
        weight[1] = 0 if kill != "columns" else weight[1]
        weight[:, 2] = 0 if kill != "rows" else weight[:, 2]
        if kill == "all":
            weight[:] = 0
        layer = make_layer(name, keys, 4, 4, weight)
        layer(torch.randn(3, 4, dtype=torch.float64)).square().sum().backward()
        assert bool(torch.isfinite(layer.free_weight.grad).all()), kill


@every_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [-10, -14, -25, -40, -110, -200])
def test_small_columns_have_finite_gradients(choice, dtype, exponent):
    name, keys = choice
    if dtype == torch.float32 and exponent < -40:
        pytest.skip("not a float32 number")
    weight = np.diag([1.0, 10.0**exponent])
    for overlap in (0.0, 0.5):
        weight[0, 1] = overlap * 10.0**exponent
        layer = make_layer(name, keys, 2, 2, weight, dtype=dtype)
        layer(torch.ones(1, 2, dtype=dtype)).sum().backward()
        assert bool(torch.isfinite(layer.free_weight.grad).all())


@pytest.mark.parametrize("name", ["sll", "sll_feedforward"])
@pytest.mark.parametrize(("dtype", "spread"), [(torch.float32, 60.0), (torch.float64, 400.0)])
def test_quotients_of_q_that_overflow_have_finite_gradients(name, dtype, spread):
    weight = np.random.default_rng(0).standard_normal((3, 3))
    layer = make_layer(name, {}, 3, 3, weight, dtype=dtype)
    with torch.no_grad():
        layer.log_q.copy_(torch.tensor([spread, -spread, 0.0]))
    layer(torch.ones(1, 3, dtype=dtype)).sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
    assert exact_constant(layer) <= layer.lipschitz_bound() * (1 + 1e-6)


@every_layer
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite_has_no_bound(choice, bad):
    name, keys = choice
    for which in ("weight", "bias", "log_q"):
        layer = make_layer(name, keys, 3, 3, np.eye(3), np.zeros(3))
        parameter = layer.free_weight if which == "weight" else getattr(layer, which, None)
        if parameter is None:
            continue
        with torch.no_grad():
            parameter.view(-1)[0] = bad
        for tight in (False, True):
            with pytest.raises(UserError, match="NaN or infinite"):
                layer.lipschitz_bound(tight=tight)


@pytest.mark.parametrize("name", ["aol", "sll_feedforward"])
@pytest.mark.parametrize("rows", [False, True])
def test_zero_columns_stay_zero_and_have_zero_gradient_not_nan(name, rows):
    weight = np.random.default_rng(1).standard_normal((5, 4))
    if rows:
        weight[2] = 0
    else:
        weight[:, 2] = 0
    layer = make_layer(name, {"rows": rows}, 4, 5, weight)
    effective = layer.effective_weight()
    effective.sum().backward()
    dead = (lambda m: m[2]) if rows else (lambda m: m[:, 2])
    assert bool((dead(effective) == 0).all())
    assert bool((dead(layer.weight.grad) == 0).all())
    assert bool(torch.isfinite(layer.weight.grad).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_residual_layer_without_weights_is_the_identity_whatever_its_bias(dtype):
    # A unit whose weights are zero drops out: not as 0 x infinity, its bias over the scale.
    for weight in (np.zeros((3, 3)), np.diag([0.0, 0.0, 1e-30])):
        layer = make_layer("sll", {}, 3, 3, weight, np.array([10.0, -10.0, 0.0]), dtype=dtype)
        x = torch.tensor([[1.0, 2.0, -3.0]], dtype=dtype)
        y = layer(x)
        assert torch.equal(y, x)
        y.square().sum().backward()
        for parameter in layer.parameters():
            assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
        assert layer.norm_after((3,), 4.0) >= 4
        if not weight.any():
            assert layer.local_error((3,), 4.0) == 0


SCALE_FREE = [
    c
    for c in CHOICES
    if c[0] in ("aol", "sll_feedforward", "spectral") and c[1].get("q") != "normal"
]


@pytest.mark.parametrize("choice", SCALE_FREE, ids=describe)
@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=sizes, columns=sizes, exponent=st.integers(-480, 480))
def test_a_power_of_two_leaves_the_effective_weight_to_the_bit(
    choice, seed, rows, columns, exponent
):
    name, keys = choice
    weight = np.random.default_rng(seed).standard_normal((rows, columns))
    plain = make_layer(name, keys, columns, rows, weight).effective_weight()
    scaled = make_layer(name, keys, columns, rows, np.ldexp(weight, exponent)).effective_weight()
    assert torch.equal(plain, scaled)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=st.integers(1, 6), exponent=st.integers(-140, 140))
def test_residual_sll_is_invariant_under_scaling_weight_and_bias(seed, size, exponent):
    generator = np.random.default_rng(seed)
    weight, bias = generator.standard_normal((size, size)), generator.standard_normal(size)
    x = torch.from_numpy(generator.standard_normal((4, size)))
    plain = make_layer("sll", {}, size, size, weight, bias)(x)
    factor = 10.0**exponent
    scaled = make_layer("sll", {}, size, size, factor * weight, factor * bias)(x)
    torch.testing.assert_close(plain, scaled, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [False, True])
@settings(max_examples=20, deadline=None)
@given(seed=seeds, outputs=sizes, inputs=sizes)
def test_the_free_weight_is_orthogonal_to_its_gradient(rows, seed, outputs, inputs):
    # <V, dL/dV> = 0 because W(cV) = W(V) (Euler).
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((outputs, inputs))
    layer = make_layer("aol", {"rows": rows}, inputs, outputs, weight)
    target = torch.from_numpy(generator.standard_normal((outputs, inputs)))
    (layer.effective_weight() * target).sum().backward()
    inner = float((layer.weight.detach() * layer.weight.grad).sum())
    size = float(layer.weight.detach().norm() * layer.weight.grad.norm())
    assert abs(inner) <= 1e-13 * max(size, 1.0)


def test_orthogonal_columns_are_kept_and_orthogonal_rows_by_the_rows_variant():
    generator = np.random.default_rng(3)
    tall = INITS["orthogonal"]((7, 4), generator)
    layer = make_layer("aol", {"rows": False}, 4, 7, tall)
    torch.testing.assert_close(layer.effective_weight().detach(), torch.from_numpy(tall))
    wide = make_layer("aol", {"rows": "auto"}, 7, 4, tall.T.copy())
    torch.testing.assert_close(wide.effective_weight().detach(), torch.from_numpy(tall.T.copy()))


@every_layer
def test_the_bound_survives_ten_optimiser_steps(choice):
    torch.manual_seed(0)
    name, keys = choice
    layer = LAYERS[name](5, 5, **keys, dtype=torch.float64)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    x, y = torch.randn(64, 5).double(), torch.randn(64, 5).double()
    for _ in range(10):
        optimiser.zero_grad()
        (layer(x) - 5 * y).square().mean().backward()
        optimiser.step()
        assert exact_constant(layer) <= layer.lipschitz_bound(tight=True) * (1 + ORACLE)
        assert name == "linear" or layer.lipschitz_bound() <= 1 + 1e-8


def test_a_forward_pass_uses_the_effective_weight():
    for name, keys in CHOICES:
        if LAYERS.fact(name, "residual"):
            continue
        layer = drawn_layer(name, keys, 5, 3, "normal", 0, 0)
        x = torch.randn(2, 5, dtype=torch.float64)
        torch.testing.assert_close(layer(x), x @ layer.effective_weight().mT)
        assert layer(x[0]).shape == (3,)
