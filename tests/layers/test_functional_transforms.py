"""torch.func over networks of every layer: the numbers of autograd, and second derivatives."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap

from lipexp.layers import gram
from tests.strategies import (
    CHOICES,
    CONVOLUTION_CHOICES,
    activation,
    describe,
    draw_q,
    make_convolution,
    make_layer,
)

# torch's own, the first time that anything is differentiated forward.
forward_mode = pytest.mark.filterwarnings("ignore:.*jit.script.* is deprecated:FutureWarning")


def dense(name, keys):
    torch.manual_seed(0)
    layers = [make_layer(name, keys, 8, 8, *drawn((8, 8), 8)) for _ in range(2)]
    return layers, torch.randn(3, 8, dtype=torch.float64)


def convolutional(side):
    def build(name, keys):
        torch.manual_seed(side)
        layers = [make_convolution(name, keys, 3, 3, *drawn((3, 3, side, side), 3)) for _ in "ab"]
        return layers, torch.randn(3, 3, 4, 4, dtype=torch.float64)

    return build


def drawn(shape, units):
    weight, bias = torch.randn(shape, dtype=torch.float64), torch.randn(units, dtype=torch.float64)
    return weight.numpy(), bias.numpy()


CASES = [pytest.param((dense, choice), id=describe(choice)) for choice in CHOICES]
CASES += [
    pytest.param((convolutional(side), choice), id=f"{describe(choice)}-side={side}")
    for choice in CONVOLUTION_CHOICES
    for side in (1, 3)
]


@pytest.fixture(params=CASES)
def network(request, monkeypatch):
    """(network, inputs); the fast sums are used at this size too."""
    build, (name, keys) = request.param
    monkeypatch.setattr(gram, "BLOCK_MINIMUM", 1)
    layers, x = build(name, keys)
    for seed, layer in enumerate(layers):
        draw_q(layer, seed, spread=1.0)
    return nn.Sequential(layers[0], activation("abs"), layers[1]), x


def parameters_of(net):
    return {name: value.detach() for name, value in net.named_parameters()}


def outputs_by(net, x):
    """The outputs as a function of the parameters."""
    return lambda parameters: functional_call(net, parameters, (x,))


def loss_by(net, x):
    return lambda parameters: outputs_by(net, x)(parameters).pow(3).sum()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def autograds(outputs, of, cotangent=None):
    found = torch.autograd.grad(outputs, of, cotangent, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(of, found, strict=True)]


def jacobians(outputs, of):
    """Row by row, one backward pass each."""
    rows = [autograds(output, of) for output in outputs.flatten()]
    return [torch.stack(each).unflatten(0, outputs.shape) for each in zip(*rows, strict=True)]


def test_grad_and_vjp_over_parameters_are_autograds_in_training(network):
    net, x = network
    parameters, own = parameters_of(net), list(net.parameters())
    expected, cotangent = net(x), torch.randn_like(x)
    for training in (True, False):
        net.train(training)
        found = grad(loss_by(net, x))(parameters)
        assert_same(list(found.values()), autograds(expected.pow(3).sum(), own))
        outputs, pulled_back = vjp(outputs_by(net, x), parameters)
        assert_same(outputs, expected.detach())
        found = pulled_back(cotangent)[0]
        assert_same(list(found.values()), autograds(expected, own, cotangent))
        assert_same(autograds(net(x), own, cotangent), autograds(expected, own, cotangent))


def test_jacobians_by_inputs_and_parameters_are_autograds(network):
    net, x = network
    found = jacrev(outputs_by(net, x))(parameters_of(net))
    assert_same(list(found.values()), jacobians(net(x), list(net.parameters())))
    x.requires_grad_()
    expected = jacobians(net(x), [x])[0]
    assert_same(jacrev(net)(x.detach()), expected)
    each = vmap(jacrev(lambda row: net(row[None])[0]))(x.detach())
    assert_same(each, torch.stack([e.select(x.dim() - 1, i) for i, e in enumerate(expected)]))


@forward_mode
def test_forward_mode_is_the_jacobian_times_the_direction(network):
    net, x = network
    net.eval()
    parameters = parameters_of(net)
    of = outputs_by(net, x)
    directions = {name: torch.randn_like(value) for name, value in parameters.items()}
    jacobian = jacrev(of)(parameters)
    parts = [jacobian[name].flatten(x.dim()) @ directions[name].flatten() for name in parameters]
    assert_same(jvp(of, (parameters,), (directions,))[1], sum(parts))
    assert_same(jacfwd(of)(parameters), jacobian)


@forward_mode
def test_second_derivatives_are_autograds_whichever_mode_is_in_which(network):
    net, x = network
    parameters, own = parameters_of(net), list(net.parameters())
    directions = {name: torch.randn_like(value) for name, value in parameters.items()}

    def ahead(of):
        return lambda at: jvp(of, (at,), (directions,))[1]

    def back(of):
        return lambda at: along(grad(of)(at).values())

    def along(slopes):
        return sum((g * d).sum() for g, d in zip(slopes, directions.values(), strict=True))

    slopes = torch.autograd.grad(net(x).pow(3).sum(), own, create_graph=True)
    expected = along(torch.autograd.grad(along(slopes), own))
    for outer, inner in product((ahead, back), repeat=2):
        assert_same(outer(inner(loss_by(net, x)))(parameters), expected)


@pytest.mark.parametrize("training", [True, False])
def test_networks_mapped_over_are_those_one_by_one(network, training):
    net, x = network
    net.train(training)
    both = [parameters_of(net), {name: 2 * p.flip(0) for name, p in parameters_of(net).items()}]
    stacked = {name: torch.stack([one[name] for one in both]) for name in both[0]}
    assert_same(vmap(outputs_by(net, x))(stacked), torch.stack([*map(outputs_by(net, x), both)]))
    found = vmap(grad(loss_by(net, x)))(stacked)
    for index, parameters in enumerate(both):
        expected = grad(loss_by(net, x))(parameters)
        assert_same({name: each[index] for name, each in found.items()}, expected)


@pytest.mark.parametrize(
    ("sums", "shape"),
    [
        (lambda v: gram.GramSums.apply(v), (5, 9)),
        (lambda v: gram.KernelOverlaps.apply(v), (2, 3, 3, 3)),
        (lambda v: gram.inverse_root(gram.gram_sums(v)), (5, 4)),
        (lambda v: gram.inverse(gram.gram_sums(v)), (5, 4)),
    ],
    ids=["gram", "kernel", "inverse root", "inverse"],
)
@forward_mode
def test_second_derivatives_are_those_of_differences(sums, shape):
    torch.manual_seed(0)
    v = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sums, v, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(sums, v)
