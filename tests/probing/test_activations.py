"""What activations promise: slopes, pullbacks and differences, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.activations import ACTIVATIONS, check_inside_residual, check_width
from lipexp.activations.base import Activation
from lipexp.errors import UserError
from tests.strategies import seeds

every = pytest.mark.parametrize("name", sorted(ACTIVATIONS))


def draw(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@every
@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_lipschitz_constant_is_one_and_zero_goes_to_zero(name, seed):
    phi, x = ACTIVATIONS[name](), draw(seed, 50, 6)
    y = x + 0.3 * draw(seed + 1, 50, 6)
    stretch = (phi(x) - phi(y)).norm(dim=1) / (x - y).norm(dim=1)
    assert float(stretch.max()) <= phi.lipschitz_bound() * (1 + 1e-12)
    assert not bool(phi(torch.zeros(1, 6, dtype=torch.float64)).any())


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_slope_restriction_is_declared_rightly(name, seed):
    phi, x = ACTIVATIONS[name](), draw(seed, 200, 2)
    jacobian = torch.func.vmap(torch.func.jacrev(phi))(x)
    slopes = torch.diagonal(jacobian, dim1=1, dim2=2)
    elementwise = bool((jacobian[:, 0, 1] == 0).all() and (jacobian[:, 1, 0] == 0).all())
    restricted = elementwise and bool(((slopes >= 0) & (slopes <= 1)).all())
    assert restricted == ACTIVATIONS.fact(name, "slope_restricted")


@every
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_pullback_is_autograds(name, seed):
    phi, x, g = ACTIVATIONS[name](), draw(seed, 3, 5, 4), draw(seed + 1, 3, 5, 4)
    torch.testing.assert_close(phi.pullback(x, g), Activation.pullback(phi, x, g))
    torch.testing.assert_close(phi.active_fraction(x).double(), Activation.active_fraction(phi, x))


def exact(name, x):
    """phi in exact (tanh: 60-digit) arithmetic on a list of numbers."""
    if name == "maxmin":
        out = []
        for a, b in zip(x[::2], x[1::2], strict=True):
            out += [max(a, b), min(a, b)]
        return out
    slopes = {"relu": 0, "abs": -1, "identity": 1, "leaky_relu": Fraction(0.01)}
    return [v if v > 0 else slopes[name] * v for v in x]


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"tanh"}))
@settings(max_examples=60, deadline=None)
@given(seed=seeds, exponent=st.integers(-60, 3))
def test_difference_is_right_to_rounding_however_small(name, seed, exponent):
    generator = np.random.default_rng(seed)
    x, d = generator.standard_normal(6), generator.standard_normal(6)
    if generator.random() < 0.5:  # near the kink, where signs and orders change
        x *= 2.0**exponent
        x[1] = x[0] + 2.0**exponent * generator.standard_normal()
    ratio = 2.0**exponent
    fx, fd = [Fraction(v) for v in x], [Fraction(v) for v in d]
    after = exact(name, [a + Fraction(ratio) * b for a, b in zip(fx, fd, strict=True)])
    expected = [
        float((a - b) / Fraction(ratio)) for a, b in zip(after, exact(name, fx), strict=True)
    ]
    shape = (1, 1, 6)
    found = ACTIVATIONS[name]().difference(
        torch.from_numpy(x).view(shape),
        torch.from_numpy(d).view(shape),
        torch.full((1, 1, 1), ratio, dtype=torch.float64),
    )
    # x + ratio d is rounded before its sign is taken: at most 2 u |x| / ratio near a kink.
    slack = 4 * 2.0**-53 * (1 + np.abs(x).max() / ratio) if ratio > 1e-14 else 1e-14
    near = np.abs(found.flatten().numpy() - expected)
    crossing = np.abs(x) < 4 * ratio if name != "maxmin" else np.full(6, True)
    assert (near[~crossing] <= 1e-14).all()
    assert (near <= 1e-13 + slack).all()


def test_difference_at_a_ratio_that_underflows_is_the_derivative():
    x, d = draw(0, 1, 1, 6), draw(1, 1, 9, 6)
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    for name in ACTIVATIONS:
        phi = ACTIVATIONS[name]()
        jacobian = torch.func.jacrev(phi)(x.flatten())
        torch.testing.assert_close(phi.difference(x, d, zero), d @ jacobian.mT)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-8, 1e-200, 0.0])
@pytest.mark.parametrize("ratio", [1.0, 1e-9, 1e-40])
def test_tanh_at_a_scale_is_right_to_rounding(scale, ratio):
    mpmath.mp.dps = 80
    phi = ACTIVATIONS["tanh"]().at_scale(torch.full((1, 1, 1), scale, dtype=torch.float64))
    x, d = draw(2, 1, 1, 8), draw(3, 1, 1, 8)
    found = phi(x).flatten().tolist()
    moved = phi.difference(x, d, torch.full((1, 1, 1), ratio, dtype=torch.float64))
    s = mpmath.mpf(scale) if scale else mpmath.mpf(10) ** -400
    for k, (value, step) in enumerate(zip(x.flatten().tolist(), d.flatten().tolist(), strict=True)):
        expected = mpmath.tanh(s * value) / s
        assert found[k] == pytest.approx(float(expected), rel=1e-14)
        mpmath.mp.dps = 500 if scale < 1e-100 else 80
        later = mpmath.tanh(s * (mpmath.mpf(value) + mpmath.mpf(ratio) * step)) / s
        expected = (later - mpmath.tanh(s * mpmath.mpf(value)) / s) / mpmath.mpf(ratio)
        assert float(moved.flatten()[k]) == pytest.approx(float(expected), rel=1e-12)


def test_maxmin_needs_an_even_width_and_residual_layers_need_slopes_in_0_1():
    with pytest.raises(UserError, match="activation=maxmin needs a width"):
        check_width("maxmin", 7)
    check_width("relu", 7)
    for name in ACTIVATIONS:
        if ACTIVATIONS.fact(name, "slope_restricted"):
            check_inside_residual(name)
        else:
            with pytest.raises(UserError, match=r"elementwise slopes in \[0, 1\]"):
                check_inside_residual(name)


def test_an_activation_of_ones_own_needs_only_forward():
    class Soft(Activation):
        def forward(self, x):
            return x.relu() * 0.5

    x = draw(0, 2, 3, 4)
    torch.testing.assert_close(Soft().pullback(x, torch.ones_like(x)), 0.5 * (x > 0).double())
    with pytest.raises(UserError, match=r"defines no difference\(\)"):
        Soft().difference(x, x, torch.ones(2, 1, 1))


@every
@pytest.mark.parametrize("scale", [1e-3, 1.0])
@pytest.mark.parametrize("channels", [2, 6])
def test_over_channels_is_the_same_map_at_every_pixel(name, channels, scale):
    phi, over = ACTIVATIONS[name](), ACTIVATIONS[name]().over_channels()
    x, d = draw(0, 2, 1, channels, 3, 5), draw(1, 2, 4, channels, 3, 5)
    g = draw(2, 2, 1, channels, 3, 5)
    if scale < 1:  # no deviation reaches a kink; else many do
        x = x.sign() * (0.5 + x.abs()) + 5 * torch.arange(channels).view(-1, 1, 1)
    ratio = torch.tensor([scale, scale / 2], dtype=torch.float64).view(2, 1, 1, 1, 1)

    def last(values):
        return values.movedim(2, -1)

    assert torch.equal(last(over(x)), phi(last(x)))
    assert torch.equal(last(over.pullback(x, g)), phi.pullback(last(x), last(g)))
    assert torch.equal(over.active_fraction(x), phi.active_fraction(last(x)))
    moved = phi.difference(last(x), last(d), ratio)
    assert torch.equal(last(over.difference(x, d, ratio)), moved)
    # and it is the difference
    after = phi(last(x + ratio * d)) - phi(last(x))
    torch.testing.assert_close(moved * ratio, after, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["relu", "abs", "maxmin"])
@pytest.mark.parametrize("where", [(1, 2, 0, 1, 2), (1, 0, 1, 0, 0)])
def test_a_single_kink_that_is_crossed_anywhere_is_seen(name, where):
    over = ACTIVATIONS[name]().over_channels()
    x = torch.ones(2, 1, 2, 2, 3, dtype=torch.float64)
    x[:, :, 1] = 2
    d = torch.zeros(2, 3, 2, 2, 3, dtype=torch.float64)
    d[where] = -5 if where[2] == 1 else 5 if name == "maxmin" else -5
    one = torch.ones(2, 1, 1, 1, 1, dtype=torch.float64)
    assert torch.equal(over.difference(x, d, one), over(x + d) - over(x))
    assert not torch.equal(over.difference(x, d, one), over.pullback(x.expand_as(d), d))
