"""The probe of convolutional networks against plain float64, and against what is conserved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.activations.sorting import MaxMin
from lipexp.activations.two_slopes import Abs, ReLU
from lipexp.inits import INITS
from lipexp.layers import CONVOLUTIONS
from lipexp.layers.aol import AOLConv2d
from lipexp.layers.linear import PlainConv2d
from lipexp.layers.plumbing import FirstChannels, PixelUnshuffle
from lipexp.layers.sll import SLLConv2d
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.lipconvnet import lipconvnet
from lipexp.networks.network import Network
from lipexp.probing import segments
from lipexp.probing.cotangent import Cotangent
from lipexp.probing.probe import probe
from lipexp.probing.signal import Plain
from lipexp.probing.steps import make_step
from lipexp.streams import stream
from tests.probing.plain_float64 import climbed, gaussian_cotangent, generators, plain, plain_loss

LABELS = torch.tensor([0, 2, 1])
BLOCKS = 5


def networks(replicates=1, *, dtype=torch.float64, **plan):
    plan = {"model": "aol", "depth": 5, "width": 4, "input_shape": (3, 32, 32), **plan}
    plan = {"activation": "relu", "between": "maxmin", **plan}
    return [
        lipconvnet(Blueprint(**plan), seed=0, replicate=r, dtype=dtype) for r in range(replicates)
    ]


def images(count=3, side=32):
    return torch.from_numpy(stream(0, "images").standard_normal((count, 3, side, side)))


def assert_columns(found, expected, atol):
    for column, values in expected.items():
        np.testing.assert_allclose(found[column][:, 0], values, rtol=0, atol=atol, err_msg=column)


def combinations():
    for model in CONVOLUTIONS:
        for activation in ("relu", "maxmin", "tanh"):
            if CONVOLUTIONS.fact(model, "residual") and activation == "maxmin":
                continue
            for bias in ("none", "zero", "default", "normal"):
                yield model, activation, bias


@pytest.mark.parametrize(("model", "activation", "bias"), list(combinations()))
def test_carried_probe_of_convolutions_equals_plain_float64(model, activation, bias):
    (network,) = networks(model=model, activation=activation, bias=bias, depth=10)
    found = probe([network], images(), generators=generators()).columns
    # Under a bias the plain variance is what two numbers 1e6 times as large leave.
    assert_columns(found, plain(network, images()), atol=1e-8)


@pytest.mark.parametrize("model", ["aol", "sll"])
@pytest.mark.parametrize("bias", ["zero", "normal"])
def test_loss_enters_through_the_first_features_of_the_head(model, bias):
    (network,) = networks(model=model, bias=bias, classes=3)
    statistics = probe([network], images(), cotangent="loss", labels=LABELS)
    assert_columns(statistics.columns, plain_loss(network, images(), LABELS), atol=1e-9)
    assert statistics.paths[-2:] == ["body.layer5", "head"]
    assert statistics.layers[-1] == [network.head_layer]


@pytest.mark.parametrize("model", ["aol", "sll"])
@pytest.mark.parametrize("bias", ["zero", "default"])
def test_ones_enter_at_the_last_convolution(model, bias):
    (network,) = networks(model=model, bias=bias)
    found = probe([network], images(), cotangent="ones").columns
    zs, _ = climbed(network, images())
    expected = plain(network, images(), torch.ones_like(zs[-1]))
    expected["log10_gradient_variance"][-1] = -np.inf  # equal for all inputs
    assert_columns(found, expected, atol=1e-9)


@pytest.mark.parametrize("bias", ["zero", "default"])
def test_larger_images_are_pooled_on_the_way_up_and_spread_on_the_way_down(bias):
    (network,) = networks(classes=3, width=2, input_shape=(1, 64, 64), bias=bias)
    x = images(3, 64)[:, :1]
    found = probe([network], x, cotangent="loss", labels=LABELS).columns
    assert_columns(found, plain_loss(network, x, LABELS), atol=1e-9)


class Rolled(PlainConv2d):
    """A convolution that is applied in a way of its own."""

    def apply_weight(self, weight, x, bias=None):
        return super().apply_weight(weight, x.roll(1, -1), bias)


def convolution(kind, *sizes, **keys):
    layer = kind(*sizes, dtype=torch.float64, init="normal", **keys)
    nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize("replicates", [1, 2])
def test_strides_and_all_paddings_are_those_of_the_layers(replicates):
    torch.manual_seed(0)
    body = [
        [
            *(convolution(AOLConv2d, 3, 6, 3, stride=2), MaxMin(-3)),
            *(convolution(AOLConv2d, 6, 6, 3, stride=3, padding=2), ReLU()),
            *(convolution(AOLConv2d, 6, 8, 2), Abs(), FirstChannels(3)),
            *(convolution(AOLConv2d, 3, 4, 5, padding_mode="circular"), ReLU()),
            *(convolution(SLLConv2d, 4, 5, 2), MaxMin(-3)),
            *(convolution(SLLConv2d, 4, 6, 3, padding_mode="circular"), Abs(), PixelUnshuffle(2)),
            *(convolution(SLLConv2d, 16, 7, 3), ReLU()),
            *(convolution(Rolled, 16, 6, 1, stride=2), MaxMin(-3)),
            *(convolution(Rolled, 6, 4, 3), MaxMin(-3)),
        ]
        for _ in range(replicates)
    ]
    several = [Network(nn.Sequential(), nn.Sequential(*modules), None) for modules in body]
    x = images(4, 20)
    found = probe(several, x, generators=generators(replicates)).columns
    for replicate, network in enumerate(several):
        zs, _ = climbed(network, x)
        shapes = segments.signal_shapes(list(network.hidden_layers()), (3, 20, 20))
        assert shapes == [tuple(z.shape[1:]) for z in zs[1:]]
        expected = plain(network, x, gaussian_cotangent(zs[-1].shape, replicate))
        for column, values in expected.items():
            np.testing.assert_allclose(found[column][:, replicate], values, atol=1e-9)


@pytest.mark.parametrize("model", sorted(CONVOLUTIONS))
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs", "maxmin", "identity"])
def test_the_inner_product_of_signal_and_cotangent_is_conserved_by_convolutions(model, activation):
    # Euler: <delta_l, z_l> is the same at every layer, input by input, where all is homogeneous.
    inside = CONVOLUTIONS.fact(model, "residual")
    if inside and not ACTIVATIONS.fact(activation, "slope_restricted"):
        pytest.skip("not sound inside a residual layer")
    (network,) = networks(model=model, activation=activation, depth=40)
    layers = list(network.hidden_layers())
    steps = [make_step([hidden.layer], gradients=True) for hidden in layers]
    signal, entering, zs = Plain.of(network.stem(images()).detach()[None]), [], []
    for hidden, step in zip(layers, steps, strict=True):
        entering.append(signal)
        zs.append(step.up(signal)[0].measured())
        signal = zs[-1].activated(hidden.activation).through(hidden.maps)
    down = Cotangent.of(gaussian_cotangent(zs[-1].mantissa.shape[1:])[None])
    logarithms = [log2_of_inner_products(down, zs[-1])]
    for k in range(len(layers) - 1, 0, -1):
        below, z = layers[k - 1], zs[k - 1]
        down, _ = steps[k].down(down, entering[k].mantissa, entering[k].exponent)
        down = down.pulled_through(below.maps, z.mantissa.shape[2:])
        down = down.pulled_back(below.activation, z.mantissa, z.exponent).measured()[0]
        logarithms.append(log2_of_inner_products(down, z))
    assert np.isfinite(logarithms[0]).all()
    # 40 layers, each adding a few roundings of |delta| |z|, up to 1e5 times the inner product
    np.testing.assert_allclose(logarithms, np.tile(logarithms[0], (40, 1)), atol=1e-8)


def log2_of_inner_products(down: Cotangent, signal: Plain) -> np.ndarray:
    inner = (down.full() * signal.mantissa).flatten(2).sum(-1).abs()[0].numpy()
    return np.log2(inner) + down.exponent + signal.exponent


@pytest.mark.parametrize("init", ["orthogonal", "identity"])
@pytest.mark.parametrize("model", ["aol", "sll_feedforward", "linear"])
def test_orthogonal_kernels_and_maxmin_keep_second_moments_where_no_channel_is_dropped(model, init):
    found = probe(
        networks(model=model, init=init, activation="maxmin", depth=100),
        images(),
        generators=generators(),
    ).columns
    each = 100 // BLOCKS
    for column in ("log10_second_moment", "log10_gradient_second_moment"):
        blocks = found[column][1:, 0].reshape(BLOCKS, each)
        np.testing.assert_allclose(blocks, blocks[:, :1].repeat(each, 1), rtol=0, atol=1e-12)
        drops = blocks[1:, 0] - blocks[:-1, -1]
        assert (np.abs(drops) > 1e-4).all()  # half of the channels have been


@pytest.mark.parametrize("bias", ["zero", "normal"])
@pytest.mark.parametrize("exponent", [-150, 40])
def test_the_scale_of_a_free_kernel_moves_its_gradient_alone(exponent, bias):
    (network,), (scaled,) = networks(bias=bias), networks(bias=bias)
    for hidden in scaled.hidden_layers():
        with torch.no_grad():
            hidden.layer.weight *= 10.0**exponent
    first = probe([network], images(), generators=generators()).columns
    second = probe([scaled], images(), generators=generators()).columns
    for column, values in first.items():
        shift = -2 * exponent if column == "log10_weight_gradient_second_moment" else 0
        np.testing.assert_allclose(second[column], values + shift, atol=1e-9, err_msg=column)


@pytest.mark.parametrize("model", ["aol", "sll"])
@pytest.mark.parametrize("bias", ["zero", "default"])
def test_a_hundred_convolutions_stay_finite(model, bias):
    activation = "relu" if model == "sll" else "maxmin"
    found = probe(
        networks(model=model, activation=activation, bias=bias, depth=100),
        images(),
        generators=generators(),
    ).columns
    for column, values in found.items():
        if column not in ("operator_norm", "active_fraction"):
            start = 1 if "weight" in column else 0
            assert np.isfinite(values[start:]).all(), column
    if model == "aol":  # the input's share goes on falling, under the bias too
        assert found["log10_variance"][-1, 0] < -60
        assert (found["log10_second_moment"][-1, 0] > -6) == (bias == "default")


@pytest.mark.parametrize("bias", ["zero", "default"])
@pytest.mark.parametrize("model", ["aol", "sll"])
def test_convolutions_that_are_computed_twice_give_the_same_bits(model, bias):
    several = networks(2, model=model, bias=bias, depth=15)
    whole = probe(several, images(), generators=generators(2)).columns
    pieces = probe(several, images(), generators=generators(2), kept_bytes=0).columns
    for column, values in whole.items():
        np.testing.assert_array_equal(values, pieces[column], err_msg=column)


def test_convolutional_replicates_together_are_the_replicates_alone():
    together = probe(networks(3, bias="normal"), images(), generators=generators(3)).columns
    for replicate, network in enumerate(networks(3, bias="normal")):
        alone = probe([network], images(), generators=[stream(0, "cotangent", replicate)]).columns
        for column, values in alone.items():
            np.testing.assert_allclose(values[:, 0], together[column][:, replicate], atol=1e-11)


@pytest.mark.parametrize("model", sorted(CONVOLUTIONS))
def test_kernels_have_their_mean_square_and_only_those_of_one_tap_an_operator_norm(model):
    (network,) = networks(model=model, depth=10, classes=3)
    found = probe([network], images(), cotangent="loss", labels=LABELS).columns
    layers = [*(hidden.layer for hidden in network.hidden_layers()), network.head_layer]
    for row, layer in enumerate(layers, 1):
        weight = layer.effective_weight().detach()
        mean_square = float(weight.square().mean().log10())
        assert found["log10_weight_variance"][row, 0] == pytest.approx(mean_square, abs=1e-12)
        norm = found["operator_norm"][row, 0]
        if CONVOLUTIONS.fact(model, "residual") or weight[0, 0].numel() > 1:
            assert np.isnan(norm)
        else:
            exact = float(torch.linalg.svdvals(weight.flatten(1))[0])
            assert norm == pytest.approx(exact, rel=1e-13)
    counted = np.isfinite(found["operator_norm"]).sum()
    assert counted == (0 if CONVOLUTIONS.fact(model, "residual") else 3)


def test_histograms_count_every_pixel():
    statistics = probe(networks(2), images(), generators=generators(2), histograms=[1, 5])
    assert [h.counts.sum() for h in statistics.histograms] == [2 * 3 * 4 * 32**2, 2 * 3 * 64 * 2**2]


@pytest.mark.parametrize("init", sorted(INITS))
def test_every_init_of_kernels_can_be_probed_in_float32_too(init):
    double = probe(networks(init=init), images(), generators=generators()).columns
    single = probe(
        networks(init=init, dtype=torch.float32), images().float(), generators=generators()
    ).columns
    for column, values in double.items():
        # The signs of overlaps that are 0 but for rounding decide a part of the gradient.
        if not (column == "log10_weight_gradient_second_moment" and init == "orthogonal"):
            np.testing.assert_allclose(single[column], values, atol=1e-3, err_msg=column)


@pytest.mark.parametrize("depth", [25, 100])
def test_what_is_kept_of_cifar_images_at_width_16_is_half_a_gibibyte_at_most(depth):
    with torch.device("meta"):
        (network,) = networks(depth=depth, width=16)
    layers = list(network.hidden_layers())
    entering = torch.empty(1, 256, 16, 32, 32, dtype=torch.float64, device="meta")
    sizes = segments.bytes_per_layer(layers, entering)
    assert sizes[0] > 256 * 16 * 32**2 * 8
    rows = segments.segments(sizes, segments.default_budget(layers))
    at_starts = sum(sizes[part[0] - 1] for part in rows)
    assert at_starts + max(sum(sizes[row - 1] for row in part) for part in rows) < 2**29
