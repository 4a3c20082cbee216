"""LDLT's output variance: closed values, Marchenko-Pastur for any aspect ratio, simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from lipexp.theory import ldlt_limit_variance, ldlt_series, ldlt_variance, sample_ldlt_variance
from tests.theory.small_networks import mean_and_error


@pytest.mark.parametrize(
    ("s", "value"),
    [
        (1 / 3, 0.2087121525),
        (1, 0.3819660112501051),
        (2, 0.5),
        (4, 0.6096117968),
        (100, 0.9048750780274961),
    ],
)
def test_square_limits_are_the_known_ones(s, value):
    assert ldlt_limit_variance(s=s) == pytest.approx(value, abs=6e-11)


@pytest.mark.parametrize(
    ("aspect", "s", "value", "tolerance"),
    [
        (0.75, 1, 0.4093327091, 6e-11),
        (0.75, 100, 0.965060, 6e-7),
        (2, 1, 1 - 1 / math.sqrt(2), 1e-14),
        (2, 100, 0.495097, 6e-7),
    ],
)
def test_other_aspect_ratios_have_the_known_limits(aspect, s, value, tolerance):
    assert ldlt_limit_variance(s=s, aspect=aspect) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize(("aspect", "s"), [(0.3, 1.0), (1.0, 1e-3), (1.0, 30.0), (3.0, 5.0)])
def test_the_limit_is_the_integral_over_the_marchenko_pastur_density(aspect, s):
    # eigenvalues x of W0 W0^T / (n sigma^2), W0 m x n; a mass 1 - 1/y at 0 for y > 1 adds nothing
    low, high = (1 - math.sqrt(aspect)) ** 2, (1 + math.sqrt(aspect)) ** 2

    def integrand(angle):
        x = (low + high) / 2 + (high - low) / 2 * math.cos(angle)
        root = (high - low) / 2 * math.sin(angle)
        return root**2 / (2 * math.pi * aspect) * s / (1 + s * x)

    integral = quad(integrand, 0, math.pi, epsabs=1e-14)[0]
    assert ldlt_limit_variance(s=s, aspect=aspect) == pytest.approx(integral, rel=1e-11)


@given(s=st.floats(1e-12, 1e12), aspect=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=80)
def test_the_limit_lies_between_0_and_the_share_of_rank_and_solves_its_equation(s, aspect):
    kept = ldlt_limit_variance(s=s, aspect=aspect)
    assert 0 < kept <= min(1, 1 / aspect) * (1 + 1e-12)
    assert kept <= s * (1 + 1e-12)  # 1 - 1/(1+x) <= x
    # (1 - H)(1 + s y H) = s H
    h = 1 - kept
    if 1e-3 < h < 1 - 1e-3:
        assert kept * (1 + s * aspect * h) == pytest.approx(s * h, rel=1e-9)


def test_one_unit_is_exact():
    for s, value in [(1, 0.3443204575812), (100, 0.8840737600381)]:
        assert ldlt_variance(width=1, s=s) == pytest.approx(value, rel=1e-12)
        direct = quad(
            lambda x, s=s: (
                math.sqrt(2 / math.pi) * math.exp(-x * x / 2) * s * x * x / (1 + s * x * x)
            ),
            0,
            12,
            epsabs=1e-13,
            limit=200,
        )[0]
        assert ldlt_variance(width=1, s=s) == pytest.approx(direct, rel=1e-10)


def test_finite_sizes_are_corrected_by_the_known_amounts():
    for s, coefficient in [(1, 0.0763932), (100, 0.22565)]:
        gap = ldlt_limit_variance(s=s) - ldlt_variance(width=1000, s=s)
        assert gap == pytest.approx(coefficient / 1000, rel=3e-5)
    assert ldlt_variance(width=64, s=1) == pytest.approx(0.380773, abs=1e-6)
    assert ldlt_variance(width=64, s=100) == pytest.approx(0.901349, abs=1e-6)


@pytest.mark.parametrize(("width", "matrices"), [(4, 20_000), (16, 4000), (32, 1500)])
@pytest.mark.parametrize("s", [1.0, 100.0])
def test_simulated_square_layers_agree(width, matrices, s):
    rng = np.random.default_rng(width)
    sample = sample_ldlt_variance(rng, outputs=width, inputs=width, s=s, matrices=matrices)
    mean, error = mean_and_error(sample)
    assert error < 1e-3
    left_out = {1.0: 0.05, 100.0: 1.0}[s] / width**2
    assert abs(mean - ldlt_variance(width=width, s=s)) < 4 * error + left_out
    assert mean < ldlt_limit_variance(s=s)


def test_simulated_rectangular_layers_agree():
    rng = np.random.default_rng(48)
    sample = sample_ldlt_variance(rng, outputs=48, inputs=64, s=1.0, matrices=500)
    mean, error = mean_and_error(sample)
    assert error < 1e-3
    assert abs(mean - ldlt_limit_variance(s=1.0, aspect=0.75)) < 4 * error + 0.1 / 48


def test_the_series_meets_the_limit_inside_its_radius_and_nothing_beyond():
    assert ldlt_series(s=0.05, terms=10) == pytest.approx(ldlt_limit_variance(s=0.05), abs=1e-8)
    assert ldlt_series(s=0.2, terms=10) == pytest.approx(0.145192, abs=6e-7)
    assert ldlt_series(s=0.25, terms=10) == pytest.approx(0.164120, abs=6e-7)
    assert ldlt_series(s=1.0, terms=10) == pytest.approx(-13035, abs=0.5)
    assert ldlt_series(s=0.2, terms=400) == pytest.approx(ldlt_limit_variance(s=0.2), rel=1e-12)


def test_requests_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"s must be a positive float\. Got -1"):
        ldlt_limit_variance(s=-1)
    with pytest.raises(ValueError, match="aspect"):
        ldlt_limit_variance(s=1, aspect=0.0)
    with pytest.raises(ValueError, match="width must be an int"):
        ldlt_variance(width=0, s=1.0)
