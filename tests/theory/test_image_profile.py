"""Profiles of convolutional networks: simulation at every layer, borders, halving, unshuffling."""

import math

import numpy as np
import pytest

from lipexp.theory import ImageLayer, decay_per_layer, image_profile, profile
from lipexp.theory.image_layers import enter, leave
from lipexp.theory.image_steps import feedforward_step
from lipexp.theory.weights import Shape, WeightLaw
from tests.theory.small_image_networks import convolve, image_network, unshuffle
from tests.theory.small_networks import mean_and_error

# Two layers, the first half of the channels unshuffled, and again; borders are felt at these sides.
NETWORK = [
    ImageLayer(8, 8, 3, 8),
    ImageLayer(8, 8, 3, 8),
    ImageLayer(16, 16, 3, 4),
    ImageLayer(16, 16, 2, 4),
    ImageLayer(32, 32, 1, 2),
]
SIMULATED = [
    ("aol", "normal", "relu", "identity", 0.0, "zeros"),
    ("aol", "normal", "maxmin", "identity", 0.0, "circular"),
    ("aol", "normal", "relu", "identity", 1.0, "zeros"),
    ("aol", "orthogonal", "leaky_relu", "identity", 0.0, "zeros"),
    ("linear", "normal", "abs", "identity", 0.0, "zeros"),
    ("sll", "normal", "relu", "maxmin", 0.0, "zeros"),
    ("sll", "normal", "identity", "identity", 0.0, "zeros"),
    ("sll", "normal", "leaky_relu", "abs", 0.0, "circular"),
    ("sll", "orthogonal", "leaky_relu", "maxmin", 0.0, "zeros"),
    ("sll", "identity", "relu", "maxmin", 0.0, "zeros"),
]


@pytest.mark.parametrize(("model", "init", "activation", "between", "bias", "padding"), SIMULATED)
def test_simulated_networks_follow_the_law_at_every_layer_both_ways(
    model, init, activation, between, bias, padding
):
    rng = np.random.default_rng(2311)
    nets = []
    for _ in range(160):
        x = rng.standard_normal((3, 8, 8, 8))
        options = {"between": between, "bias": bias, "padding": padding}
        nets.append(image_network(rng, model, init, activation, NETWORK, x, **options))
    mean, error = mean_and_error(nets)
    law = image_profile(
        model,
        init,
        activation,
        NETWORK,
        between=between,
        bias="normal" if bias else "zero",
        padding=padding,
        slope=0.2,
    )
    for row, column in enumerate((law.log10_second_moment, law.log10_gradient_second_moment)):
        expected = 10**column
        assert np.all(error[row] < 0.08 * expected)
        assert np.all(np.abs(mean[row] - expected) < 4 * error[row] + 0.01 * expected)


@pytest.mark.parametrize(
    ("init", "activation", "between"),
    [("normal", "relu", "maxmin"), ("orthogonal", "identity", "abs")],
)
def test_what_one_channel_holds_stays_there_in_residual_blocks_and_counts_when_channels_go(
    init, activation, between
):
    rng = np.random.default_rng(3)
    size = np.ones((8, 8, 8))
    size[4:] = 0.1  # second moments: the half that is dropped holds little
    nets = []
    for _ in range(200):
        x = rng.standard_normal((2, 8, 8, 8)) * np.sqrt(size)
        nets.append(image_network(rng, "sll", init, activation, NETWORK, x, between=between))
    mean, error = mean_and_error(nets)
    options = {"between": between}
    law = image_profile("sll", init, activation, NETWORK, input_second_moment=size, **options)
    expected = 10**law.log10_second_moment
    assert np.all(np.abs(mean[0] - expected) < 4 * error[0] + 0.01 * expected)
    alike = image_profile(
        "sll", init, activation, NETWORK, input_second_moment=size.mean(), **options
    )
    assert law.log10_second_moment[3] > alike.log10_second_moment[3] + 0.05


def test_an_uneven_input_is_blurred_pixel_by_pixel():
    rng = np.random.default_rng(4)
    light = np.zeros((8, 8))
    light[0, 0] = 64.0  # at the corner: 4 of 9 taps reach it
    layers = [ImageLayer(8, 8, 3, 8)] * 2
    nets = []
    for _ in range(400):
        x = rng.standard_normal((2, 8, 8, 8)) * np.sqrt(light)
        nets.append(image_network(rng, "aol", "normal", "relu", layers, x))
    mean, error = mean_and_error(nets)
    law = image_profile("aol", "normal", "relu", layers, input_second_moment=light)
    even = image_profile("aol", "normal", "relu", layers)
    expected = 10**law.log10_second_moment
    assert np.all(np.abs(mean[0] - expected) < 4 * error[0] + 0.01 * expected)
    assert law.log10_second_moment[1] < even.log10_second_moment[1] - 0.2


@pytest.mark.parametrize(("model", "init"), [("aol", "normal"), ("sll", "normal")])
@pytest.mark.parametrize("side", [4, 32])
def test_the_slope_deep_inside_is_that_of_decay_per_layer_and_the_border_s_own(model, init, side):
    layers = [ImageLayer(16, 16, 3, side)] * (60 if side == 4 else 1200)
    rate = decay_per_layer(model, init, "relu", fan_in=16, fan_out=16, kernel_size=3)
    ring = image_profile(model, init, "relu", layers, padding="circular")
    for column in (ring.log10_second_moment, ring.log10_gradient_second_moment[::-1]):
        np.testing.assert_allclose(np.diff(column)[1:-1], rate, atol=1e-12)
    zeros = np.diff(image_profile(model, init, "relu", layers).log10_second_moment)
    if model == "aol":
        border = 2 * math.log10((1 + 2 * math.cos(math.pi / (side + 1))) / 3)
        assert zeros[-1] - rate == pytest.approx(border, abs=1e-6)
        assert border == pytest.approx({4: -0.118, 32: -0.0026}[side], abs=1e-3)


def test_images_of_one_pixel_are_a_dense_network():
    layers = [ImageLayer(24, 24, 1, 1)] * 5
    for bias in ("zero", "normal", "corrected"):
        ours = image_profile("aol", "normal", "relu", layers, bias=bias, input_second_moment=2.0)
        dense = profile("aol", "normal", "relu", [24] * 6, bias=bias, input_second_moment=2.0)
        for name in (
            "log10_second_moment",
            "log10_gradient_second_moment",
            "log10_input_variance",
            "log10_weight_variance",
        ):
            np.testing.assert_allclose(getattr(ours, name), getattr(dense, name), atol=1e-12)


def test_nothing_underflows_in_a_thousand_layers():
    law = image_profile("aol", "gnd", "relu", [ImageLayer(64, 64, 3, 8)] * 1000)
    rate = decay_per_layer("aol", "gnd", "relu", fan_in=64, fan_out=64, kernel_size=3)
    assert law.log10_second_moment[-1] < 1000 * rate < -1700
    assert np.isfinite(law.log10_gradient_second_moment).all()
    assert np.isnan(law.typical_log10_second_moment[2:]).all()
    assert "any iid symmetric init" in law.law


def test_kernels_of_one_tap_among_zeros_have_a_mean_square_over_all_taps():
    law = image_profile("aol", "orthogonal", "abs", [ImageLayer(4, 8, 3, 4)])
    assert 10 ** law.log10_weight_variance[1] == pytest.approx(1 / 8 / 9)
    law = image_profile("sll", "normal", "tanh", [ImageLayer(8, 8, 3, 4)], hidden=4)
    assert np.isfinite(law.log10_weight_variance[1])  # the weights have a law of their own
    assert np.isnan(law.log10_second_moment[1])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("aol", "identity", "maxmin"), {}),  # its channels stay unlike
        (("aol", "somebody's", "relu"), {}),
        (("aol", "normal", "somebody's"), {}),
        (("spectral", "normal", "relu"), {}),
        (("aol", "normal", "tanh"), {"bias": "normal"}),
        (("sll", "normal", "relu"), {"bias": "normal"}),
        (("sll", "normal", "relu"), {"between": "relu"}),
        (("sll", "identity", "leaky_relu"), {}),
        (("sll", "orthogonal", "relu"), {"hidden": 4}),
    ],
)
def test_without_a_law_there_is_nan_behind_the_input_and_a_line_that_says_so(arguments, options):
    law = image_profile(*arguments, NETWORK, input_second_moment=10.0, **options)
    assert law.law.startswith(f"no law is known for convolutions of model={arguments[0]}")
    assert law.log10_second_moment[0] == 1
    assert law.log10_gradient_second_moment[-1] == 0
    assert np.isnan(law.log10_second_moment[1:]).all()
    assert np.isnan(law.log10_gradient_second_moment[:-1]).all()


def test_a_bias_that_is_not_known_for_kernels_leaves_the_gradient_its_law():
    law = image_profile("aol", "normal", "relu", NETWORK, bias="corrected")
    assert np.isnan(law.log10_second_moment[1:]).all()
    assert np.isfinite(law.log10_gradient_second_moment).all()


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_windows_are_those_of_a_convolution_and_go_back_transposed(side, padding):
    rng = np.random.default_rng(side)
    layer = ImageLayer(1, 1, side, 6)
    step = feedforward_step(WeightLaw(1.0, Shape.KERNEL, side**2), layer, padding)
    x, y = rng.random((2, 1, 6, 6))
    ones = np.ones((1, 1, side, side))
    np.testing.assert_allclose(step.forward(x), convolve(x[None], ones, padding)[0])
    assert np.vdot(step.forward(x), y) == pytest.approx(np.vdot(x, step.backward(y)))


@pytest.mark.parametrize(
    "after", [ImageLayer(6, 4, 3, 6), ImageLayer(12, 3, 3, 3), ImageLayer(36, 3, 1, 2)]
)
def test_maps_are_cut_and_unshuffled_as_images_are_and_go_back_transposed(after):
    rng, before = np.random.default_rng(9), ImageLayer(5, 6, 3, 6)
    x, y = rng.random((6, 6, 6)), rng.random((after.in_channels, after.side, after.side))
    factor = 6 // after.side
    kept = after.in_channels // factor**2
    np.testing.assert_array_equal(enter(x, before, after), unshuffle(x[None, :kept], factor)[0])
    assert np.vdot(enter(x, before, after), y) == pytest.approx(np.vdot(x, leave(y, before, after)))
    # one map for channels that are alike is the mean over them
    alike = np.broadcast_to(x[:1], x.shape)
    np.testing.assert_allclose(enter(x[:1], before, after)[0], enter(alike, before, after).mean(0))
    y = np.broadcast_to(y[:1], y.shape)
    np.testing.assert_allclose(leave(y[:1], before, after)[0], leave(y, before, after).mean(0))


def test_layers_that_cannot_follow_each_other_are_refused():
    first = ImageLayer(8, 8, 3, 8)
    for second in (
        ImageLayer(9, 9, 3, 8),
        ImageLayer(36, 8, 3, 4),
        ImageLayer(10, 8, 3, 4),
        ImageLayer(8, 8, 3, 3),
        ImageLayer(8, 8, 3, 16),
    ):
        with pytest.raises(ValueError, match="must follow by keeping first channels"):
            image_profile("aol", "normal", "relu", [first, second])
    with pytest.raises(ValueError, match="must be equal"):
        image_profile("sll", "normal", "relu", [ImageLayer(8, 9, 3, 8)])
    with pytest.raises(ValueError, match="at least 1 layer"):
        image_profile("aol", "normal", "relu", [])
    with pytest.raises(ValueError, match="side must be an int"):
        image_profile("aol", "normal", "relu", [ImageLayer(8, 8, 3, 0)])
    with pytest.raises(ValueError, match="padding must be one of"):
        image_profile("aol", "normal", "relu", [first], padding="reflect")
    with pytest.raises(ValueError, match="Got shape"):
        image_profile("aol", "normal", "relu", [first], input_second_moment=np.ones(3))
    with pytest.raises(ValueError, match="range"):
        image_profile("aol", "normal", "relu", [first], input_second_moment=-1.0)
