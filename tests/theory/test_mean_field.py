"""Mean field, its correction, bounds and printed formulas: known values and measured ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.theory import (
    GND,
    delta_corrected_weight_variance,
    gaussian_weight_variance,
    mean_field_residual_gain,
    mean_field_weight_variance,
    mean_norm,
    output_sum_factor,
    printed_bounds,
    residual_gain,
    square_asymptote,
    weight_variance_bound,
)
from tests.theory.small_networks import aol, mean_and_error

sizes = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("d", "n", "value"),
    [
        (2, 2, 0.333333333333333),
        (3, 3, 0.180294558740597),
        (10, 10, 0.0311057108140948),
        (64, 64, 0.00215254616314305),
        (256, 256, 0.000285047153486421),
        (10, 100, 0.00394270753118743),
        (100, 10, 0.00582647656315675),
    ],
)
def test_the_mean_field_has_the_known_values(d, n, value):
    assert mean_field_weight_variance(fan_in=n, fan_out=d) == pytest.approx(value, rel=1e-13)


@pytest.mark.parametrize(
    ("d", "n", "off", "corrected"),
    [
        (2, 2, 7.0e-2, 1.4e-3),
        (10, 10, 1.4e-2, -4.9e-4),
        (64, 64, 8.8e-4, -5.2e-5),
        (256, 256, 1.5e-5, -5.2e-6),
        (64, 784, 7.1e-3, -6.5e-7),
        (784, 64, -3.2e-3, -1.24e-5),
        (1024, 1024, -2.9e-5, -4.1e-7),
        (8192, 8192, -6.8e-6, 0),
    ],
)
def test_the_mean_field_is_off_by_the_known_amounts_and_the_correction_by_less(
    d, n, off, corrected
):
    exact = gaussian_weight_variance(fan_in=n, fan_out=d)
    mean_field = mean_field_weight_variance(fan_in=n, fan_out=d)
    assert mean_field / exact - 1 == pytest.approx(off, rel=0.06)
    delta = delta_corrected_weight_variance(fan_in=n, fan_out=d)
    assert delta / exact - 1 == pytest.approx(corrected, rel=0.02, abs=3e-8)


# Means over 1,500 to 200,000 matrices; standard error in units of the last digit.
SHAPES = {
    1.0: {(10, 10): (0.030654, 12), (64, 64): (0.0021542, 8), (2, 2): (0.30916, 15)},
    math.inf: {(10, 10): (0.030922, 11), (64, 64): (0.0021535, 8), (2, 2): (0.31460, 15)},
    0.5: {(10, 10): (0.031429, 14), (64, 64): (0.0022414, 11), (2, 2): (0.30662, 15)},
}
DIGITS = {(10, 10): 1e-6, (64, 64): 1e-7, (2, 2): 1e-5}


@pytest.mark.parametrize("beta", sorted(SHAPES))
def test_the_correction_knows_the_shape_of_the_weights(beta):
    for (d, n), (value, error) in SHAPES[beta].items():
        ours = delta_corrected_weight_variance(fan_in=n, fan_out=d, beta=beta)
        assert abs(ours - value) < 4 * error * DIGITS[d, n] + 5e-3 * value
        if d == 64:
            assert abs(ours - value) < 4 * error * DIGITS[d, n]


def test_heavy_tails_in_a_narrow_layer_are_met_by_the_correction_and_missed_by_the_mean_field():
    rng = np.random.default_rng(210)
    draws = GND(1.0, 0.5).sample(rng, (20_000, 2, 10))
    mean, error = mean_and_error([np.mean(aol(v) ** 2) for v in draws])
    ours = delta_corrected_weight_variance(fan_in=10, fan_out=2, beta=0.5)
    assert error < 2e-3 * mean
    assert abs(ours / mean - 1) < 0.006
    assert mean_field_weight_variance(fan_in=10, fan_out=2, beta=0.5) > 1.8 * mean


def test_mean_norms_meet_their_closed_forms():
    for beta in (0.5, 1.0, 3.0, math.inf):
        first = GND.unit_variance(beta).absolute_moment(1)
        assert mean_norm(beta, 1) == pytest.approx(first, rel=1e-9)
    assert mean_norm(2.0, 3) == pytest.approx(math.sqrt(8 / math.pi), rel=1e-14)
    assert mean_norm(2 + 1e-12, 50) == pytest.approx(mean_norm(2, 50), rel=1e-10)
    # two uniforms on (-1, 1): the mean distance from the centre of a square
    square = (math.sqrt(2) + math.asinh(1)) / 3 * math.sqrt(3)
    assert mean_norm(math.inf, 2) == pytest.approx(square, rel=1e-9)


@given(d=sizes, n=sizes)
@settings(deadline=None, max_examples=40)
def test_the_bound_holds_and_is_attained_where_one_side_is_1(d, n):
    bound = weight_variance_bound(fan_in=n, fan_out=d)
    assert gaussian_weight_variance(fan_in=n, fan_out=d) <= bound
    assert gaussian_weight_variance(fan_in=1, fan_out=d) == weight_variance_bound(
        fan_in=1, fan_out=d
    )


def test_the_asymptote_is_reached_slowly():
    for width, ratio in [(64, 0.879), (256, 0.932), (1024, 0.963), (8192, 0.9865)]:
        q = gaussian_weight_variance(fan_in=width, fan_out=width)
        assert q / square_asymptote(width) == pytest.approx(ratio, abs=6e-4)
        assert abs(1 - math.sqrt(math.pi / 2 / width) - q / square_asymptote(width)) < 3 / width


@pytest.mark.parametrize(
    ("d", "n", "normal", "laplace", "uniform"),
    [
        (2, 2, 0.292893, 0.292893, 0.292893),
        (4, 4, 0.100000, 0.076923, 0.113636),
        (10, 10, 0.026001, 0.013430, 0.031333),
        (64, 64, 0.00176056, 0.00039667, 0.00196886),
        (10, 2, 0.075975, 0.020341, 0.15113),
        (10, 1, 0.1, 0.021739, 0.28947),
    ],
)
def test_the_printed_formulas_give_what_is_printed(d, n, normal, laplace, uniform):
    printed = printed_bounds(fan_in=n, fan_out=d)
    assert printed == pytest.approx(
        {"normal": normal, "laplace": laplace, "uniform": uniform}, rel=2e-4
    )


@given(d=st.integers(2, 3000), n=st.integers(2, 3000))
@settings(deadline=None, max_examples=60)
def test_the_printed_bound_for_the_normal_lies_below_the_truth(d, n):
    printed = printed_bounds(fan_in=n, fan_out=d)["normal"]
    assert printed < gaussian_weight_variance(fan_in=n, fan_out=d)


@pytest.mark.parametrize(
    ("width", "gain"),
    [
        (32, 0.7305630738),
        (64, 0.7813559326),
        (128, 0.8291069197),
        (256, 0.8700120151),
        (512, 0.9030852180),
        (1024, 0.9287995708),
    ],
)
def test_the_residual_mean_field_has_the_known_gains(width, gain):
    ours = mean_field_residual_gain(features=width, hidden=width, activation="relu")
    assert ours == pytest.approx(gain, abs=6e-11)
    assert ours == pytest.approx(
        residual_gain(features=width, hidden=width, activation="relu"), rel=9e-4
    )


def test_the_residual_mean_field_of_the_identity_has_the_known_rates():
    for width, rate in [(64, -0.221794), (256, -0.124573)]:
        gain = mean_field_residual_gain(features=width, hidden=width, activation="identity")
        assert math.log10(gain) == pytest.approx(rate, abs=6e-7)
    with pytest.raises(ValueError, match="slopes in"):
        mean_field_residual_gain(features=4, hidden=4, activation="maxmin")


def test_the_gradient_of_a_sum_of_outputs_starts_as_simulated():
    # Networks of 6 fresh relu layers, width 24, loss = sum of relu(z_L).
    rng, width, depth, nets = np.random.default_rng(3), 24, 5, 12_000
    found = np.empty((nets, depth))
    for net in range(nets):
        x = rng.standard_normal(width)
        weights, masks = [], []
        for _ in range(depth + 1):
            weights.append(rng.standard_normal((width, width)) * math.sqrt(2 / width))
            z = weights[-1] @ x
            masks.append(z > 0)
            x = np.maximum(z, 0)
        cotangent = np.ones(width)
        for step in range(depth):
            cotangent = weights[-1 - step].T @ (cotangent * masks[-1 - step])
            found[net, step] = np.mean(cotangent**2)
    mean, error = mean_and_error(found)
    law = [output_sum_factor(width=width, steps=k + 1) for k in range(depth)]
    # Plain Gaussian layers of gain 1; the first step has the cotangent of a finite width.
    assert np.all(error < 0.03 * mean)
    np.testing.assert_allclose(mean, law, rtol=0.08)


def test_a_gradient_of_ones_has_the_known_factors():
    known = {(256, 1): 1.314, (256, 14): 9.09, (2024, 14): 9.53, (16, 3): 2.155, (16, 12): 4.21}
    for (width, steps), factor in known.items():
        assert output_sum_factor(width=width, steps=steps) == pytest.approx(factor, rel=6e-4)
    assert output_sum_factor(width=64, steps=10**6) == pytest.approx(64 / math.pi)


def test_sizes_below_one_are_refused_by_name():
    for function in (mean_field_weight_variance, delta_corrected_weight_variance, printed_bounds):
        with pytest.raises(ValueError, match="fan_out must be an int"):
            function(fan_in=2, fan_out=0)
    with pytest.raises(ValueError, match="width must be an int"):
        square_asymptote(0)
    with pytest.raises(ValueError, match="steps must be an int"):
        output_sum_factor(width=2, steps=0)
