"""lipconvnet: the published architecture and counts, what it refuses, how it is drawn."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import pytest
import torch
from torch import nn

from lipexp.errors import UserError
from lipexp.layers import CONVOLUTIONS
from lipexp.layers.base import FreeWeightModule, LipschitzConv2d
from lipexp.layers.plumbing import Centre, FirstChannels, PixelUnshuffle, SumPool
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.lipconvnet import lipconvnet
from tests.exact import exact_norm

CIFAR = {"input_shape": (3, 32, 32), "classes": 10, "mean": (0.5, 0.4, 0.3)}
PUBLISHED = {16: 1_572_288, 32: 6_283_136, 64: 25_120_512, 128: 100_457_984}


def plan(**keys) -> Blueprint:
    keys = {"model": "aol", "depth": 5, "width": 4, "activation": "maxmin", **CIFAR, **keys}
    if keys["model"] == "sll":
        keys = {**keys, "activation": "relu", "between": "maxmin"}
    return Blueprint(**keys)


def made(seed=0, replicate=0, **keys):
    return lipconvnet(plan(**keys), seed=seed, replicate=replicate)


def on_meta(**keys):
    with torch.device("meta"):
        return made(**keys)


def layers_of(network):
    return [module for module in network.modules() if isinstance(module, FreeWeightModule)]


def leaves(network):
    """The maps of the chain, in order."""
    return [module for part in network for module in part]


def product_of_bounds(network) -> float:
    return math.prod(module.lipschitz_bound() for module in leaves(network))


@pytest.mark.parametrize("width", PUBLISHED)
@pytest.mark.parametrize("model", list(CONVOLUTIONS))
def test_parameter_counts_are_the_published_ones_at_once(model, width):
    start = time.perf_counter()
    network = on_meta(model=model, width=width, depth=25)
    assert time.perf_counter() - start < 5  # nothing is drawn on the meta device
    counted = sum(parameter.numel() for parameter in network.parameters())
    # One q per hidden unit: first w, five layers of each of w, 2w, ..., 16w, head 32w.
    weights = 188 * width if model.startswith("sll") else 0
    assert counted == PUBLISHED[width] + weights
    assert len(layers_of(network)) == 27


@pytest.mark.parametrize("model", list(CONVOLUTIONS))
@pytest.mark.parametrize("each", [1, 2, 5])
def test_sides_channels_and_kernels_are_those_of_the_paper(model, each):
    network = on_meta(model=model, width=16, depth=5 * each)
    x = torch.empty(2, 3, 32, 32, dtype=torch.float64, device="meta")
    names = [name for name, _ in network.stem.named_children()]
    assert names == ["centre", "channels", "first", "activation"]
    assert network.stem.first.free_shape == (16, 16, 1, 1)
    x = network.stem(x)
    assert x.shape == (2, 16, 32, 32)

    expected = []
    for block in range(5):
        channels, image, side = 16 * 2**block, 32 // 2**block, 1 if block == 4 else 3
        for _ in range(each):
            expected.append(((channels, channels, side, side), (2, channels, image, image)))
    found = []
    for hidden in network.hidden_layers():
        assert hidden.number == len(found) + 1
        assert hidden.path == f"body.layer{hidden.number}"
        x = hidden.layer(x)
        found.append((hidden.layer.free_shape, tuple(x.shape)))
        x = hidden.activation(x)
        kinds = [type(module) for module in hidden.maps]
        ends_block = hidden.number % each == 0
        assert kinds[:2] == ([FirstChannels, PixelUnshuffle] if ends_block else [])
        if ends_block:
            assert hidden.maps[0].count == x.shape[1] // 2
            assert hidden.maps[1].factor == 2
        for module in hidden.maps:
            x = module(x)
    assert found == expected
    assert x.shape == (2, 512)
    assert network.head_layer.free_shape == (512, 512)
    assert [module.count for module in network.head_maps] == [10]
    assert network.head(x).shape == (2, 10)


def test_an_activation_stands_behind_every_layer_but_the_head():
    for model in CONVOLUTIONS:
        chain = leaves(on_meta(model=model, depth=10))
        for module, after in pairwise(chain):
            if isinstance(module, FreeWeightModule):
                last = module is chain[-2]
                assert type(after).__name__ == ("FirstFeatures" if last else "MaxMin")
                assert last or after.dim == -3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"depth": 7}, "depth=7: network=lipconvnet needs a multiple of 5"),
        ({"width": 5}, "width=5: network=lipconvnet needs an even number of channels"),
        ({"width": 2}, "width=2: network=lipconvnet needs at least 3 channels"),
        (
            {"input_shape": (3, 40, 40)},
            "images of 40x40: network=lipconvnet pads sides up to 32; larger ones must be "
            "multiples of 32",
        ),
        (
            {"input_shape": (3, 28, 64)},
            "images of 28x64: network=lipconvnet pads sides up to 32; larger ones must be "
            "multiples of 32",
        ),
        ({"input_shape": (54,)}, "network=lipconvnet needs images; this data set has none"),
        (
            {"model": "spectral"},
            "model=spectral has no convolution for network=lipconvnet; known: "
            "aol, sll, sll_feedforward, linear",
        ),
        ({"classes": 129}, "width=4: 129 classes do not fit into 128 units"),
        (
            {"bias": "corrected"},
            "bias=corrected is known for dense layers alone, not network=lipconvnet",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(keys, message):
    with pytest.raises(UserError) as raised:
        lipconvnet(plan(**keys), seed=0)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("shape", "side"),
    [((1, 28, 28), 32), ((3, 64, 64), 64), ((1, 8, 5), 32), ((3, 32, 64), 64), ((4, 32, 32), 32)],
)
@pytest.mark.parametrize("model", ["aol", "sll"])
def test_images_of_other_sizes_are_padded_or_pooled(model, shape, side):
    keys = {"input_shape": shape, "mean": (0.5,) * shape[0]}
    network = on_meta(model=model, **keys)
    x = torch.empty(2, *shape, dtype=torch.float64, device="meta")
    assert network.stem(x).shape == (2, 4, side, side)
    assert network(x).shape == (2, 10)
    pools = [module.side for module in network.body if isinstance(module, SumPool)]
    assert pools == ([side // 32] if side > 32 else [])


def jacobian(network, x):
    """The matrix of the network's derivative at one image."""
    x = x.clone().requires_grad_()
    scores = network(x[None])[0]
    rows = [torch.autograd.grad(score, x, retain_graph=True)[0].flatten() for score in scores]
    return torch.stack(rows)


@pytest.mark.parametrize("init", ["normal", "orthogonal"])
@pytest.mark.parametrize("model", list(CONVOLUTIONS))
def test_no_two_images_are_torn_apart_beyond_the_product_of_bounds(model, init):
    shape = (3, 28, 32)
    network = made(model=model, init=init, bias="default", input_shape=shape)
    bound = product_of_bounds(network)
    assert model == "linear" or bound <= 1 + 1e-8
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(12, *shape, generator=generator, dtype=torch.float64)
    y = torch.rand(12, *shape, generator=generator, dtype=torch.float64)
    y[6:] = x[6:] + 1e-4 * (y[6:] - 0.5)  # near and far
    with torch.no_grad():
        apart = (network(x) - network(y)).norm(dim=1)
    assert bool((apart <= bound * (x - y).flatten(1).norm(dim=1)).all())
    assert bool((apart > 0).all())
    for image in x[:2]:
        assert exact_norm(jacobian(network, image)) <= bound * (1 + 1e-13)


@pytest.mark.parametrize("model", ["aol", "sll_feedforward", "linear"])
def test_of_identity_kernels_it_keeps_the_norm_of_what_every_half_keeps(model):
    # Pixels at rows 0 mod 4 and columns 0 mod 2 come into the first half of the channels in every
    # block, and maxmin moves numbers >= 0 within their pairs only: 128 pixels, 128 outputs.
    network = made(model=model, init="identity", input_shape=(1, 32, 32), mean=None, classes=128)
    x = torch.zeros(3, 1, 32, 32).double()
    x[:, :, ::4, ::2] = torch.rand(3, 1, 8, 16).double()
    y = network(x).detach()
    expected = x.flatten(1).sort(1).values[:, -128:]
    torch.testing.assert_close(y.sort(1).values, expected, rtol=1e-13, atol=0)
    x[:, :, 1::4] = 0.5  # other rows are lost
    assert bool((network(x).detach().norm(dim=1) < 0.9 * x.flatten(1).norm(dim=1)).all())


@pytest.mark.parametrize("model", ["aol", "sll", "sll_feedforward"])
def test_equal_seeds_draw_equal_weights_and_others_others(model):
    keys = {"model": model, "bias": "normal"}
    if model != "aol":
        keys["layer_keys"] = {"q": "normal"}
    first, again = made(3, **keys).state_dict(), made(3, **keys).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for other in (made(4, **keys).state_dict(), made(3, 1, **keys).state_dict()):
        drawn = [name for name in first if "centre" not in name]
        assert not any(torch.equal(first[name], other[name]) for name in drawn)


@pytest.mark.parametrize("model", ["aol", "sll"])
def test_a_layer_has_its_own_stream_at_every_depth(model):
    keys = {"model": model, "bias": "normal", "init": "normal"}
    shallow, deep = made(depth=5, **keys), made(depth=10, **keys)
    for name in ("stem.first", "body.layer1", "head.0"):
        for what in ("weight", "bias"):
            one, other = (n.get_parameter(f"{name}.{what}") for n in (shallow, deep))
            assert torch.equal(one, other)
    # Layer 2 stands in another block, of other sizes; what fills it is the same stream.
    one, other = (n.get_parameter("body.layer2.weight").flatten() for n in (shallow, deep))
    count = min(one.numel(), other.numel())
    assert one.numel() != other.numel()
    assert torch.equal(one[:count], other[:count])
    # and no two layers share one
    drawn = [layer.free_weight.flatten()[:16] for layer in layers_of(deep)]
    overlap = torch.corrcoef(torch.stack(drawn).detach()).fill_diagonal_(0)
    assert float(overlap.abs().max()) < 0.99


@pytest.mark.parametrize("bias", ["zero", "default", "normal", "none"])
def test_biases_are_drawn_as_asked(bias):
    network = made(bias=bias, width=16)
    for layer in layers_of(network):
        if bias == "none":
            assert layer.bias is None
            continue
        drawn = layer.bias.detach()
        if bias == "zero":
            assert not bool(drawn.any())
        elif bias == "default":
            limit = 1 / math.sqrt(math.prod(layer.free_shape[1:]))
            assert limit / 2 < float(drawn.abs().max()) <= limit
        else:  # variance 1: five standard errors of a mean square of n Gaussians
            assert abs(float(drawn.square().mean()) - 1) < 5 * math.sqrt(2 / drawn.numel())


def test_keys_of_a_layer_reach_every_layer():
    network = made(model="sll", layer_keys={"hidden": 7, "q": "normal"})
    assert {layer.free_shape[0] for layer in layers_of(network)} == {7}
    assert all(bool(layer.log_q.any()) for layer in layers_of(network))
    rows = made(layer_keys={"rows": True})
    assert all(layer.rows for layer in layers_of(rows))
    inits = made(init="gnd", init_keys={"alpha": 2.0, "beta": math.inf})
    assert all(1 < float(layer.weight.detach().abs().max()) <= 2 for layer in layers_of(inits))


def test_a_network_without_classes_ends_with_its_features():
    network = made(classes=None, mean=None)
    assert not network.has_head
    assert not any(isinstance(module, Centre) for module in network.modules())
    assert network(torch.rand(2, 3, 32, 32).double()).shape == (2, 128)
    assert isinstance(network.stem.first, LipschitzConv2d)


def test_a_network_is_a_chain_of_modules_that_all_answer():
    for model in ("aol", "sll"):
        network = made(model=model)
        assert isinstance(network, nn.Sequential)
        shape, norm = (3, 32, 32), 10.0
        x = torch.zeros(1, *shape).double()
        for module in leaves(network):
            assert module.lipschitz_bound() >= 1
            assert math.isfinite(module.local_error(shape, norm))
            norm = module.norm_after(shape, norm)
            x = module(x)
            shape = tuple(x.shape[1:])
            assert float(x.detach().norm()) <= norm
