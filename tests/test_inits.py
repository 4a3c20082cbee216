"""Inits: what each distribution promises, at fixed seeds with five standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.streams import stream
from lipexp.theory import free_weight_variance

DRAWS = (500, 400)
IID = [name for name in INITS if name not in ("orthogonal", "identity")]


def draw(name, shape=DRAWS, seed=0, **keys):
    return INITS[name](shape, np.random.default_rng(seed), **keys)


def moments(sample):
    """(mean, its standard error, variance, its standard error)."""
    flat = sample.ravel()
    n, variance = flat.size, flat.var()
    fourth = np.mean(flat**4)
    return flat.mean(), math.sqrt(variance / n), variance, math.sqrt((fourth - variance**2) / n)


@pytest.mark.parametrize("name", IID)
def test_mean_zero_and_the_declared_variance(name):
    fan_out, fan_in = DRAWS
    mean, mean_error, variance, error = moments(draw(name))
    declared = free_weight_variance(name, fan_in=fan_in, fan_out=fan_out, alpha=1.0, beta=0.5)
    assert abs(mean) < 5 * mean_error
    assert abs(variance - declared) < 5 * error


@pytest.mark.parametrize("name", IID)
@pytest.mark.parametrize("side", [1, 2, 3])
def test_every_tap_of_a_kernel_counts_as_an_input_and_as_an_output(name, side):
    outputs, inputs = 60, 150
    kernel = draw(name, (outputs, inputs, side, side))
    fans = {"fan_in": inputs * side**2, "fan_out": outputs * side**2}
    declared = free_weight_variance(name, **fans, alpha=1.0, beta=0.5)
    mean, mean_error, variance, error = moments(kernel)
    assert kernel.shape == (outputs, inputs, side, side)
    assert abs(mean) < 5 * mean_error
    assert abs(variance - declared) < 5 * error


@pytest.mark.parametrize("name", ["orthogonal", "identity"])
@pytest.mark.parametrize(("side", "centre"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_structured_kernels_are_the_matrix_at_the_centre_tap(name, side, centre):
    for shape in ((3, 3), (5, 2), (2, 5)):
        kernel = draw(name, (*shape, side, side), seed=4)
        expected = np.zeros((*shape, side, side))
        expected[:, :, centre, centre] = draw(name, shape, seed=4)
        np.testing.assert_array_equal(kernel, expected)
        assert np.abs(kernel[:, :, centre, centre]).max() > 0.5


@pytest.mark.parametrize("name", sorted(INITS))
@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2, 2), (1, 1, 1, 1)])
def test_every_init_fills_matrices_and_kernels_by_float64_of_its_own(name, shape):
    first, again = draw(name, shape, seed=7), draw(name, shape, seed=7)
    assert first.shape == shape
    assert first.dtype == np.float64
    assert first.flags.writeable
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all()
    if name != "identity":
        assert (draw(name, shape, seed=8) != first).any() or shape == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("beta", "kurtosis"), [(0.5, 25.2), (1, 6), (2, 3), (4, 2.18843961523), (math.inf, 1.8)]
)
def test_generalised_normal_has_its_variance_and_kurtosis(beta, kurtosis):
    sample = draw("gnd", (2000, 1000), alpha=1.5, beta=beta).ravel()
    declared = free_weight_variance("gnd", fan_in=1, fan_out=1, alpha=1.5, beta=beta)
    _, _, variance, error = moments(sample)
    assert abs(variance - declared) < 5 * error
    scaled = (sample / math.sqrt(declared)) ** 4
    assert abs(scaled.mean() - kurtosis) < 5 * scaled.std() / math.sqrt(scaled.size)


@pytest.mark.parametrize("keys", [{"alpha": 0}, {"beta": 0}, {"beta": math.nan}, {"alpha": -1}])
def test_generalised_normal_refuses_what_is_no_distribution(keys):
    with pytest.raises(UserError, match=r"init\.(alpha|beta)="):
        draw("gnd", **keys)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 5), (5, 1), (1, 1)])
def test_orthogonal_has_orthonormal_columns_or_rows(shape):
    matrix = draw("orthogonal", shape)
    tall = matrix if shape[0] >= shape[1] else matrix.T
    np.testing.assert_allclose(tall.T @ tall, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_is_haar_and_not_what_qr_returns():
    # E trace(Q)^2 = 1 for Haar measure; without the sign fix the diagonal is biased negative.
    traces = [np.trace(draw("orthogonal", (4, 4), seed)) for seed in range(3000)]
    assert abs(np.mean(traces)) < 5 / math.sqrt(3000)
    # variance of trace^2 is 2 (trace is nearly N(0, 1) at size 4)
    assert abs(np.mean(np.square(traces)) - 1) < 5 * math.sqrt(2 / 3000)


def test_identity_narrowing_repeats_columns_and_widening_adds_zero_rows():
    np.testing.assert_array_equal(draw("identity", (3, 3)), np.eye(3))
    np.testing.assert_array_equal(draw("identity", (2, 4)), np.hstack([np.eye(2)] * 2))
    np.testing.assert_array_equal(draw("identity", (4, 2)), np.eye(4, 2))


def test_streams_are_the_same_again_and_independent_of_each_other():
    def first(*key):
        return stream(*key).standard_normal(1000)

    np.testing.assert_array_equal(first(0, "weights", 0, 3), first(0, "weights", 0, 3))
    keys = [(0, "weights", 0, 3), (1, "weights", 0, 3), (0, "bias", 0, 3), (0, "weights", 1, 3)]
    keys += [(0, "weights", 0, 4), (0, "weights", 3, 0), (2**40, "weights", 0, 3)]
    draws = np.array([first(*key) for key in keys])
    correlations = np.corrcoef(draws) - np.eye(len(keys))
    assert np.abs(correlations).max() < 5 / math.sqrt(1000)
