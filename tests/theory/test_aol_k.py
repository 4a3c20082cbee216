"""AOL-k: the small oracle, the bound, its invariances and its two ends."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.theory import aol_k, gaussian_weight_variance, sample_aol_k_variance
from tests.theory.small_networks import aol, mean_and_error

V = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]])


def norm(w: np.ndarray) -> float:
    return float(np.linalg.norm(w, 2))


def test_a_small_matrix_has_the_known_weights_and_norms():
    np.testing.assert_allclose(
        aol_k(V, 1),
        [
            [0.29814239699997197, 0.42640143271122083],
            [0.8944271909999159, -0.21320071635561041],
            [0.14907119849998599, 0.8528028654224417],
        ],
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        aol_k(V, 2),
        [
            [0.2921275264793757, 0.42880253089790005],
            [0.876382579438127, -0.21440126544895002],
            [0.14606376323968784, 0.8576050617958001],
        ],
        rtol=1e-14,
    )
    norms = [norm(aol_k(V, k)) for k in (1, 2, 3, 4)]
    expected = [1.0, 0.9986602243493282, 0.9969182763807938, 0.9971333072776877]
    assert norms == pytest.approx(expected, rel=1e-13)


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    k=st.integers(1, 12),
    exponent=st.integers(-140, 140),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=80)
def test_no_norm_exceeds_1_and_the_scale_drops_out(rows, columns, k, exponent, seed):
    v = np.random.default_rng(seed).standard_normal((rows, columns))
    w = aol_k(v, k)
    assert norm(w) <= 1 + 1e-12
    np.testing.assert_allclose(aol_k(v * 10.0**exponent, k), w, rtol=1e-11)
    np.testing.assert_array_equal(aol_k(v * 2.0**exponent, k), w)


def test_k_of_1_is_aol_and_large_k_divides_by_the_largest_singular_value():
    v = np.random.default_rng(2).standard_normal((7, 5))
    np.testing.assert_allclose(aol_k(v, 1), aol(v), rtol=1e-13)
    np.testing.assert_allclose(aol_k(v, 40), v / norm(v), rtol=1e-10)


def test_zero_columns_stay_zero():
    v = V.copy()
    v[:, 0] = 0
    w = aol_k(v, 3)
    np.testing.assert_array_equal(w[:, 0], 0)
    assert norm(w) == pytest.approx(1)
    np.testing.assert_array_equal(aol_k(np.zeros((2, 3)), 2), 0)


def test_k_of_1_samples_the_gaussian_law_and_larger_k_keeps_more():
    rng = np.random.default_rng(16)
    found = {
        k: mean_and_error(sample_aol_k_variance(rng, fan_in=16, fan_out=16, k=k, matrices=3000))
        for k in (1, 3)
    }
    mean, error = found[1]
    law = gaussian_weight_variance(fan_in=16, fan_out=16)
    assert error < 2e-3 * law
    assert abs(mean - law) < 4 * error
    assert found[3][0] > 1.2 * mean


@pytest.mark.parametrize(
    ("k", "log10_gain"), [(2, -0.9673), (3, -0.8874), (4, -0.8640), (5, -0.8629), (6, -0.8673)]
)
def test_relu_gains_at_width_64_are_the_measured_ones(k, log10_gain):
    rng = np.random.default_rng(64)
    mean, error = mean_and_error(
        sample_aol_k_variance(rng, fan_in=64, fan_out=64, k=k, matrices=60)
    )
    # 40 matrices stand behind the measured ones: standard errors alike
    assert error < 0.01 * mean
    assert math.log10(32 * mean) == pytest.approx(log10_gain, abs=5 * error / mean)


def test_k_below_1_is_refused():
    with pytest.raises(ValueError, match="k must be an int"):
        aol_k(V, 0)
