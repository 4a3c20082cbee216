"""E W_ij^2 of an AOL weight with Haar free weights."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from lipexp.theory import orthogonal_weight_variance
from tests.theory.small_networks import aol, haar, mean_and_error


@given(n=st.integers(1, 100_000), more=st.integers(0, 100_000))
@settings(deadline=None, max_examples=30)
def test_orthonormal_columns_lose_nothing(n, more):
    assert orthogonal_weight_variance(fan_in=n, fan_out=n + more) == 1 / (n + more)


@given(n=st.integers(1, 100_000))
@settings(deadline=None, max_examples=30)
def test_one_output_is_exact(n):
    assert orthogonal_weight_variance(fan_in=n, fan_out=1) == 1 / n


@given(n=st.integers(2, 100_000), d=st.integers(1, 100_000))
@settings(deadline=None, max_examples=60)
def test_the_bound_of_every_1_lipschitz_matrix_holds(n, d):
    assert 0 < orthogonal_weight_variance(fan_in=n, fan_out=d) * max(n, d) <= 1 + 1e-12


def test_two_by_three_agrees_with_its_exact_double_integral():
    # d = 2, n = 3: g is Beta(1, 1/2), u on a circle, so S = cos + sin of an angle in a quadrant.
    angle = (np.arange(4000) + 0.5) / 4000 * math.pi / 2
    total = np.cos(angle) + np.sin(angle)
    share = 1 - ((np.arange(4000) + 0.5) / 4000) ** 2  # quantiles of Beta(1, 1/2)
    exact = expit(-np.log(np.sqrt(1 / share - 1)[:, None] * total)).mean() / 2
    ours = orthogonal_weight_variance(fan_in=3, fan_out=2)
    assert ours == pytest.approx(exact, rel=1e-4)
    assert ours != pytest.approx(exact, rel=1e-6)  # the docstring's "to second order" is one


@pytest.mark.parametrize(
    ("d", "n", "matrices", "measured"),
    [(64, 784, 4, 0.16095), (64, 128, 200, 0.20025), (8, 32, 1500, None), (3, 4, 20_000, None)],
)
def test_narrowing_layers_agree_with_simulation(d, n, matrices, measured):
    rng = np.random.default_rng(d + n)
    mean, error = mean_and_error([n * np.mean(aol(haar(rng, d, n)) ** 2) for _ in range(matrices)])
    expected = n * orthogonal_weight_variance(fan_in=n, fan_out=d)
    assert error < 2e-3 * expected  # standard errors: 3e-5, 4e-5, 2e-4, 4e-4
    assert abs(mean - expected) < 5 * error + (4e-4 if n < 10 else 1e-4) * expected
    if measured:
        assert expected == pytest.approx(measured, rel=5e-3)


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match=r"fan_out must be an int .* Got 0 instead"):
        orthogonal_weight_variance(fan_in=3, fan_out=0)
