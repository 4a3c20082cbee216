"""Kernels: the law of their entries and the gains of residual blocks, against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.theory import (
    convolution_weight_variance,
    decay_per_layer,
    gaussian_weight_variance,
    mean_field_convolution_weight_variance,
    residual_convolution_gain,
    residual_gain,
)
from tests.theory.small_image_networks import aol_kernel, convolve, row_sums, transposed
from tests.theory.small_networks import activate, mean_and_error


def sizes(c_in, c_out, k):
    return {"in_channels": c_in, "out_channels": c_out, "kernel_size": k}


@pytest.mark.parametrize(
    ("c_in", "c_out", "k", "formula", "measured"),
    [
        (16, 16, 3, -1.5104, -1.5088),
        (64, 64, 3, -1.7992, -1.7985),
        (16, 16, 5, -1.7467, -1.7458),
        (16, 16, 1, -0.9022, -0.9001),
        (3, 64, 3, -2.0099, -2.0083),
        (64, 128, 3, -1.9554, -1.9550),
    ],
)
def test_relu_gains_are_the_measured_ones_and_the_mean_field_the_known_formula(
    c_in, c_out, k, formula, measured
):
    terms = c_in * k * k / 2
    simple = mean_field_convolution_weight_variance(**sizes(c_in, c_out, k))
    assert math.log10(terms * simple) == pytest.approx(formula, abs=6e-5)
    rate = decay_per_layer("aol", "normal", "relu", fan_in=c_in, fan_out=c_out, kernel_size=k)
    assert rate == pytest.approx(measured, abs=7e-4)  # from 20 to 2,000 kernels


@pytest.mark.parametrize(
    ("c_in", "c_out", "k", "kernels", "off"),
    [
        (16, 16, 3, 1000, 0),
        (3, 32, 3, 1000, 5e-4),
        (12, 8, 5, 600, 1e-3),
        (16, 16, 2, 1500, 5e-4),
        (4, 4, 3, 8000, 6e-3),
        (1, 8, 3, 8000, 6e-3),
    ],
)
def test_the_mean_square_of_a_kernel_agrees_with_simulation(c_in, c_out, k, kernels, off):
    rng = np.random.default_rng([c_in, c_out, k])
    squares = [aol_kernel(rng.standard_normal((c_out, c_in, k, k))) ** 2 for _ in range(kernels)]
    mean, error = mean_and_error([s.mean() for s in squares])
    law = convolution_weight_variance(**sizes(c_in, c_out, k))
    assert error < 2e-3 * mean
    assert abs(law / mean - 1) < 4 * error / mean + off
    taps, tap_error = mean_and_error([s.mean((0, 1)) for s in squares])
    assert np.all(np.abs(taps / mean - 1) < 5 * tap_error / mean + 0.01)


@given(n=st.integers(1, 300), d=st.integers(1, 300))
@settings(deadline=None, max_examples=30)
def test_a_kernel_of_one_tap_is_a_matrix(n, d):
    ours = convolution_weight_variance(**sizes(n, d, 1))
    assert ours == pytest.approx(gaussian_weight_variance(fan_in=n, fan_out=d), rel=1e-9)


@given(n=st.integers(1, 64), d=st.integers(1, 64), k=st.integers(1, 7))
@settings(deadline=None, max_examples=30)
def test_the_mean_square_obeys_the_bound_of_a_lipschitz_convolution(n, d, k):
    # every column of the operator has norm at most 1
    assert 0 < convolution_weight_variance(**sizes(n, d, k)) * d * k * k <= 1 + 1e-9


def test_rates_of_kernels_know_rows_inits_and_direction():
    rate = {"fan_in": 32, "fan_out": 16, "kernel_size": 3}
    forward = decay_per_layer("aol", "uniform", "abs", **rate)
    backward = decay_per_layer("aol", "uniform", "abs", backward=True, **rate)
    assert forward - backward == pytest.approx(math.log10(2))
    by_rows = decay_per_layer("aol", "normal", "abs", rows="auto", **rate)
    q = convolution_weight_variance(**sizes(16, 32, 3))
    assert by_rows == pytest.approx(math.log10(32 * 9 * q))
    linear = decay_per_layer("linear", "kaiming_normal", "relu", **rate)
    assert linear == pytest.approx(0, abs=1e-12)
    assert decay_per_layer("linear", "normal", "abs", **rate) == pytest.approx(math.log10(288))
    # orthogonal and identity kernels are a matrix at the centre tap
    dense = {"fan_in": 32, "fan_out": 16}
    for init in ("orthogonal", "identity"):
        for model in ("aol", "sll"):
            assert decay_per_layer(model, init, "relu", **rate) == decay_per_layer(
                model, init, "relu", **dense
            )


def test_rates_of_kernels_that_are_not_known_are_none():
    square = {"fan_in": 16, "fan_out": 16, "kernel_size": 3}
    for model, init, options in [
        ("spectral", "normal", {}),
        ("orthogonal", "orthogonal", {}),
        ("sll_feedforward", "normal", {"q": "normal"}),
        ("sll", "normal", {"q": "normal"}),
        ("aol", "normal", {"typical": True}),
        ("aol", "normal", {"fan_in": 3, "fan_out": 2}),
        ("sll", "normal", {"fan_in": 7}),
        ("somebody's", "normal", {}),
    ]:
        assert decay_per_layer(model, init, "relu", **(square | options)) is None
    assert decay_per_layer("aol", "normal", "tanh", **square) is None
    assert decay_per_layer("sll", "normal", "maxmin", **square) is None
    assert decay_per_layer("aol", "orthogonal", "maxmin", typical=True, **square) == pytest.approx(
        0, abs=1e-15
    )


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize(
    ("channels", "hidden", "k", "blocks", "off"),
    [(8, 8, 3, 500, 1e-3), (16, 8, 3, 300, 1e-3), (8, 16, 5, 300, 1e-3), (4, 4, 3, 1500, 5e-3)],
)
def test_residual_blocks_gain_what_the_law_says(channels, hidden, k, blocks, off, activation):
    rng = np.random.default_rng([channels, hidden, k])
    found = []
    for _ in range(blocks):
        x = rng.standard_normal((2, channels, 8, 8))
        kernel = rng.standard_normal((hidden, channels, k, k))
        scaled = kernel / row_sums(kernel.transpose(1, 0, 2, 3))[:, None, None, None]
        inner = activate(activation, convolve(x, kernel, "circular"), 0.0)
        y = x - 2 * transposed(inner, scaled, "circular")
        found.append(np.sum(y**2) / np.sum(x**2))
    mean, error = mean_and_error(found)
    law = residual_convolution_gain(
        channels=channels, hidden=hidden, kernel_size=k, activation=activation
    )
    assert error < 1.5e-3 * mean
    assert abs(law / mean - 1) < 4 * error / mean + off
    if channels >= 8:
        rate = decay_per_layer(
            "sll", "laplace", activation, fan_in=channels, fan_out=hidden, kernel_size=k
        )
        assert rate == pytest.approx(math.log10(law))


@pytest.mark.parametrize(("width", "off"), [(16, 3e-3), (64, 5e-5)])
def test_a_residual_block_of_one_tap_is_the_dense_one(width, off):
    ours = residual_convolution_gain(channels=width, hidden=width, kernel_size=1, activation="relu")
    dense = residual_gain(features=width, hidden=width, activation="relu")
    assert ours == pytest.approx(dense, rel=off)


def test_requests_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="kernel_size must be an int"):
        convolution_weight_variance(**sizes(2, 2, 0))
    with pytest.raises(ValueError, match="slopes in"):
        residual_convolution_gain(channels=8, hidden=8, kernel_size=3, activation="abs")
