"""Gain of residual SLL blocks: known constants and simulation, forward and backward."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.theory import decay_per_layer, profile, random_q_residual_gain, residual_gain
from tests.theory.small_networks import activate, draw, mean_and_error, residual


@pytest.mark.parametrize(
    ("width", "gain"),
    [
        (32, 0.7299574293),
        (64, 0.7812479628),
        (128, 0.8290930649),
        (256, 0.8700118926),
        (512, 0.9030859489),
        (1024, 0.9287999145),
    ],
)
def test_square_relu_gains_are_the_known_ones(width, gain):
    ours = residual_gain(features=width, hidden=width, activation="relu")
    assert ours == pytest.approx(gain, abs=6e-11)
    rate = decay_per_layer("sll", "normal", "relu", fan_in=width, fan_out=width)
    assert rate == pytest.approx(math.log10(gain), abs=1e-10)


@pytest.mark.parametrize(("n", "h", "gain"), [(64, 256, 0.732005), (256, 64, 0.911886)])
def test_unequal_hidden_sizes_have_the_known_gains(n, h, gain):
    assert residual_gain(features=n, hidden=h, activation="relu") == pytest.approx(gain, abs=6e-6)
    rate = decay_per_layer("sll", "normal", "relu", fan_in=n, fan_out=h)
    assert rate == pytest.approx(math.log10(gain), abs=1e-5)


@pytest.mark.parametrize(
    ("activation", "width", "rate"),
    [
        ("identity", 64, -0.222709),
        ("identity", 256, -0.124617),
        ("leaky_relu", 64, -0.1085),
        ("leaky_relu", 256, -0.0612),
        ("leaky_relu", 1024, -0.0324),
    ],
)
def test_other_activations_have_the_known_rates(activation, width, rate):
    ours = decay_per_layer("sll", "uniform", activation, fan_in=width, fan_out=width)
    assert ours == pytest.approx(rate, abs=6e-5 if activation == "leaky_relu" else 6e-7)


def block_gains(features, hidden, activation, blocks):
    """Gains of one-block networks on 8 inputs each: mean and standard error."""
    rng = np.random.default_rng([features, hidden])
    nets = [
        residual(rng, "normal", activation, features, hidden, 1, inputs=8) for _ in range(blocks)
    ]
    return mean_and_error([forward[1] / forward[0] for forward, _ in nets])


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize(
    ("features", "hidden", "blocks"),
    [(8, 2, 4000), (8, 8, 8000), (8, 32, 8000), (16, 16, 4000), (16, 64, 3000), (48, 48, 1000)],
)
def test_blocks_of_any_shape_gain_what_the_law_says(features, hidden, activation, blocks):
    mean, error = block_gains(features, hidden, activation, blocks)
    law = residual_gain(features=features, hidden=hidden, activation=activation)
    assert error < 0.006 * law
    assert abs(mean - law) < 5 * error + 2e-3 * law


def test_the_overlaps_that_two_columns_share_are_in_the_law():
    # Without their correlation the law is 6.4 % low at this size, with it 0.6 % high.
    mean, error = block_gains(4, 16, "identity", 12_000)
    law = residual_gain(features=4, hidden=16, activation="identity")
    assert error < 0.005 * law
    assert abs(mean - law) < 5 * error + 0.007 * law


@given(features=st.integers(8, 600), hidden=st.integers(1, 2000), slope=st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_no_gain_exceeds_one_or_falls_below_zero(features, hidden, slope):
    gain = residual_gain(features=features, hidden=hidden, activation="leaky_relu", slope=slope)
    assert 0 < gain <= 1 + 1e-12


@pytest.mark.parametrize("features", [1, 2, 8, 100, 3000])
@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_a_single_hidden_unit_reflects_or_passes(features, slope):
    # T = |w|^2: |y|^2 = |x|^2 - 4 a (1-a) |u_-|^2 / T, and E u^2 / T = 1/n.
    gain = residual_gain(features=features, hidden=1, activation="leaky_relu", slope=slope)
    assert gain == pytest.approx(1 - 2 * slope * (1 - slope) / features, abs=1e-12)


@pytest.mark.parametrize("hidden", [1, 7, 64])
def test_blocks_of_fewer_than_8_features_have_no_law(hidden):
    for features, known in [(7, False), (8, True)]:
        rate = decay_per_layer("sll", "normal", "relu", fan_in=features, fan_out=hidden)
        assert (rate is not None) is known
        law = profile("sll", "normal", "relu", [features] * 3, hidden=hidden)
        assert np.isfinite(law.log10_second_moment[1:]).all() == known


def test_depth_100_at_width_256_loses_six_decades():
    assert profile("sll", "normal", "relu", [256] * 101).log10_second_moment[100] == pytest.approx(
        -6.047, abs=6e-4
    )


@pytest.mark.parametrize(
    ("init", "activation", "hidden", "slope"),
    [
        ("normal", "relu", 32, 0.01),
        ("normal", "leaky_relu", 32, 0.3),
        ("normal", "identity", 16, 0.01),
        ("uniform", "relu", 64, 0.01),
        ("orthogonal", "leaky_relu", 32, 0.2),
        ("orthogonal", "leaky_relu", 8, 0.2),
        ("identity", "leaky_relu", 32, 0.2),
    ],
)
def test_three_blocks_gain_what_the_law_says_both_ways(init, activation, hidden, slope):
    rng = np.random.default_rng(32)
    nets = [
        residual(rng, init, activation, 32, hidden, 3, inputs=8, slope=slope) for _ in range(400)
    ]
    mean, error = mean_and_error(nets)  # standard errors at block 3: below 1.2 % of the mean
    law = profile("sll", init, activation, [32] * 4, hidden=hidden, slope=slope)
    for row, column in enumerate((law.log10_second_moment, law.log10_gradient_second_moment)):
        expected = 10**column
        assert np.all(error[row] < 0.012 * expected)
        # Uniform weights are not quite Gaussian: 0.4 % a block at this width.
        allowed = 5 * error[row] + (0.012 if init == "uniform" else 1e-3) * expected
        assert np.all(np.abs(mean[row] - expected) < allowed)


@pytest.mark.parametrize("init", ["orthogonal", "identity"])
@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("hidden", [12, 24])
def test_orthonormal_columns_preserve_the_norm_of_every_input(init, activation, hidden):
    forward, backward = residual(
        np.random.default_rng(1), init, activation, 24, hidden, 5, inputs=3
    )
    np.testing.assert_allclose(forward, forward[0], rtol=1e-12)
    np.testing.assert_allclose(backward, backward[-1], rtol=1e-12)
    law = profile("sll", init, activation, [24] * 6, hidden=hidden)
    assert not law.log10_second_moment.any()
    assert not law.log10_gradient_second_moment.any()


def test_identity_blocks_with_leaky_relu_pay_the_full_slope_from_the_second_block_on():
    # The first block leaves no positive entry; every later one multiplies all by 1 - 2 slope.
    rate = decay_per_layer("sll", "identity", "leaky_relu", fan_in=64, fan_out=64)
    assert rate == pytest.approx(2 * math.log10(0.98), rel=1e-12)
    haar_rate = decay_per_layer("sll", "orthogonal", "leaky_relu", fan_in=64, fan_out=64)
    assert haar_rate == pytest.approx(math.log10((1 + 0.98**2) / 2), rel=1e-12)


@pytest.mark.parametrize(
    ("init", "activation", "options"),
    [
        ("normal", "maxmin", {}),
        ("normal", "abs", {}),
        ("orthogonal", "maxmin", {}),
        ("normal", "tanh", {}),
        ("normal", "relu", {"q": "normal"}),
        ("normal", "leaky_relu", {"slope": 1.5}),
        ("identity", "leaky_relu", {"slope": 0.6}),
        ("somebody's", "relu", {}),
        ("normal", "somebody's", {}),
    ],
)
def test_blocks_without_a_law_have_none(init, activation, options):
    assert decay_per_layer("sll", init, activation, fan_in=8, fan_out=8, **options) is None
    law = profile("sll", init, activation, [8, 8, 8], **options)
    assert np.isnan(law.log10_second_moment[1:]).all()
    assert law.law.startswith("no law is known for model=sll")


def test_more_hidden_units_than_features_have_no_law_without_iid_weights():
    for init in ("orthogonal", "identity"):
        assert decay_per_layer("sll", init, "relu", fan_in=8, fan_out=9) is None


def test_identity_blocks_that_leave_features_out_have_no_leaky_law():
    assert decay_per_layer("sll", "identity", "leaky_relu", fan_in=8, fan_out=7) is None
    assert decay_per_layer("sll", "identity", "relu", fan_in=8, fan_out=7) == 0


def test_an_activation_that_is_unsound_inside_a_block_is_refused():
    for name in ("abs", "maxmin", "nobody's"):
        with pytest.raises(ValueError, match=re.escape(f"Got {name!r} instead")):
            residual_gain(features=4, hidden=4, activation=name)
    with pytest.raises(ValueError, match="hidden must be an int"):
        residual_gain(features=4, hidden=0, activation="relu")


@pytest.mark.parametrize("between", ["maxmin", "abs"])
@pytest.mark.parametrize("init", ["normal", "orthogonal", "identity"])
def test_what_preserves_norms_may_stand_between_blocks(init, between):
    rng = np.random.default_rng(33)
    activation = "relu" if init == "identity" else "leaky_relu"
    found = []
    for _ in range(300):
        x = rng.standard_normal((8, 16))
        start = np.mean(x**2)
        for block in range(3):
            x = activate(between, x, 0.2) if block else x
            w = draw(rng, init, 16, 16)
            scaled = w / np.abs(w.T @ w).sum(0)
            x = x - 2 * activate(activation, x @ w, 0.2) @ scaled.T
        found.append(np.mean(x**2) / start)
    mean, error = mean_and_error(found)
    law = profile("sll", init, activation, [16] * 4, between=between, slope=0.2)
    assert error < 0.01
    expected = 10 ** law.log10_second_moment[3]
    assert abs(mean - expected) < 4 * error + 1e-9 + 2e-3 * (init == "normal")
    np.testing.assert_array_equal(law.typical_log10_second_moment, law.log10_second_moment)
    assert np.isnan(law.log10_input_variance[1:]).all()  # it is not linear


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize(("features", "hidden", "blocks"), [(32, 32, 1200), (32, 8, 1200)])
def test_blocks_with_random_q_gain_what_the_law_says(features, hidden, blocks, activation):
    rng = np.random.default_rng([features, hidden])
    found = []
    for _ in range(blocks):
        w, q = rng.standard_normal((features, hidden)), np.exp(rng.standard_normal(hidden))
        sums = (np.abs(w.T @ w) * q).sum(1) / q
        x = rng.standard_normal((8, features))
        y = x - 2 * activate(activation, x @ w, 0.0) / sums @ w.T
        found.append(np.mean(y**2) / np.mean(x**2))
    mean, error = mean_and_error(found)
    sizes = {"features": features, "hidden": hidden, "activation": activation}
    law = random_q_residual_gain(**sizes)
    assert error < 3e-3 * mean
    assert abs(mean - law) < 4 * error + 2e-3 * law
    assert law > residual_gain(**sizes) * 1.003  # random q takes less off
    rate = decay_per_layer("sll", "normal", activation, fan_in=features, fan_out=hidden, q="normal")
    assert rate == pytest.approx(math.log10(law))


def test_random_q_of_little_spread_is_q_of_one():
    for activation in ("relu", "identity"):
        sizes = {"features": 24, "hidden": 40, "activation": activation}
        narrow = random_q_residual_gain(**sizes, sigma=1e-3)
        assert narrow == pytest.approx(residual_gain(**sizes), rel=1e-5)
    with pytest.raises(ValueError, match="sigma"):
        random_q_residual_gain(features=4, hidden=4, activation="relu", sigma=-1.0)
