"""Mistakes that certifiers are known to have made, one by one: here each comes out right."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify, lipschitz_bound
from lipexp.certification.chain import steps_of
from lipexp.errors import UserError
from lipexp.layers import LAYERS
from lipexp.layers.bounds import (
    certified_norm,
    convolution_norm,
)
from tests.certification.drawn_networks import linear
from tests.certification.test_crafted_networks import affine_truth, cancelling, is_inside, radii
from tests.exact import exact_constant, exact_norm, exact_scores, jacobians, norms, rational
from tests.strategies import CHOICES, describe, make_layer

# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("size", [1e-12, 1e-7, 1e-6, 1e-3, 1.0, 1e12])
def test_q_of_any_size_stretches_nothing(size):
    """An epsilon beside q in one of two places made this 3 at q = 1e-6 and 2e6 at 0."""
    generator = np.random.default_rng(4)
    for name, weight in (
        ("sll", np.eye(3)),
        ("sll", generator.standard_normal((3, 3))),
        ("sll_feedforward", np.eye(3)),
        ("sll_feedforward", np.abs(generator.standard_normal((3, 3)))),
    ):
        layer = make_layer(name, {}, 3, 3, weight)
        for spread in (np.zeros(3), np.array([0.0, 27.0, -27.0])):
            with torch.no_grad():
                layer.log_q.copy_(torch.from_numpy(math.log(size) + spread))
            assert exact_constant(layer) <= lipschitz_bound(layer) <= 1 + 1e-11


@pytest.mark.parametrize("small", [2.7e-162, 1e-200, 1e-300, 5e-324])
def test_one_column_beyond_the_range_of_squares_stretches_nothing(small):
    matrix = np.diag([1.0, small])
    for name, keys in CHOICES:
        layer = make_layer(name, keys, 2, 2, matrix)
        assert exact_constant(layer) <= layer.lipschitz_bound() * (1 + 1e-15)
        assert layer.lipschitz_bound() <= math.sqrt(2) + 1e-9


@pytest.mark.parametrize("choice", CHOICES, ids=describe)
def test_edited_loaded_and_trained_layers_are_bounded_as_they_are_now(choice):
    name, keys = choice
    generator = np.random.default_rng(5)
    layer = make_layer(name, keys, 4, 4, generator.standard_normal((4, 4)))
    other = make_layer(name, keys, 4, 4, 7 * generator.standard_normal((4, 4)))

    def edit():
        with torch.no_grad():
            layer.free_weight[0] *= -3

    def step():
        optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
        layer(torch.ones(2, 4).double()).square().sum().backward()
        optimiser.step()

    for change in (lambda: None, edit, step, lambda: layer.load_state_dict(other.state_dict())):
        change()
        for net in (layer, layer.eval(), layer.train()):
            assert exact_constant(net) <= lipschitz_bound(net, tight=True) * (1 + 1e-14)


def test_division_by_the_smallest_deviation_counts_and_not_by_the_largest():
    norm = nn.BatchNorm2d(3, eps=0.0, affine=False).double()
    norm.running_var.copy_(torch.tensor([1 / 128, 1.0, 1.0]) ** 2)
    assert 128 <= lipschitz_bound(norm) <= 128 * (1 + 1e-14)
    net = nn.Sequential(norm, nn.Flatten(), linear(np.eye(2, 3)))
    table = certify(net, torch.full((1, 3, 1, 1), 0.5), [0], [])
    assert table["margin"][0] == pytest.approx(63.5)
    exact = [(Fraction(127, 2), Fraction(128**2 + 1))]  # 128 x_0 - x_1
    assert is_inside(float(table["radius"][0]), exact)


def test_pools_whose_windows_do_not_divide_are_refused():
    for pool in (nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2), nn.LPPool2d(2, 2)):
        with pytest.raises(UserError, match=f"known of {type(pool).__name__}"):
            lipschitz_bound(pool)


def test_an_odd_number_under_maxmin_is_refused_and_not_dropped():
    net = nn.Sequential(linear(np.eye(3)), ACTIVATIONS["maxmin"](), linear(np.eye(2, 3)))
    with pytest.raises(UserError, match=r"1: inputs of shape \(3,\) do not fit"):
        certify(net, torch.rand(2, 3), [0, 0], [])


@pytest.mark.parametrize(
    ("slope", "exact"), [(0.0, 50**0.5), (0.1, 7.0577238659177729), (-1.0, 7.3350874910925746)]
)
def test_constant_of_a_leaky_network_worked_out_to_sixteen_digits(slope, exact):
    first = torch.tensor([[2.0, -1], [1, 3]]).double()
    second = torch.tensor([[1.0, 2], [-1, 1]]).double()
    patterns = [
        torch.diag(torch.tensor([a, b], dtype=torch.float64))
        for a in (1, slope)
        for b in (1, slope)
    ]
    found = max(exact_norm(second @ d @ first) for d in patterns)
    assert found == pytest.approx(exact, rel=1e-14)
    net = nn.Sequential(linear(first), nn.LeakyReLU(slope), linear(second))
    assert exact <= lipschitz_bound(net, tight=True) <= 7.3518009803865231 * (1 + 1e-10)


# ---------------------------------------------------------------- precision


def test_every_tensor_on_the_way_is_float64():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.Flatten(),
        *(LAYERS[name](8, 8) for name in LAYERS),
        LAYERS["aol"](8, 3),
    )
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for item in (*args, result):
                if isinstance(item, torch.Tensor) and item.is_floating_point():
                    seen.append((func, item.dtype))
            return result

    steps = steps_of(net.half())
    assert all(p.dtype == torch.float64 for step in steps for p in step.module.parameters())
    x = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    with Watch(), torch.no_grad():
        for step in steps:
            x = step.module(x)
    assert len(seen) > 20
    assert {dtype for _, dtype in seen} == {torch.float64}


def test_near_ties_that_float32_decides_wrongly_are_not_certified():
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(60):
        weight = generator.standard_normal((2, 100)).astype(np.float32)
        image = generator.integers(51, 205, 100).astype(np.float32) / np.float32(255)
        bias = np.array([-(weight[0] - weight[1]) @ image, 0], dtype=np.float32)
        truth = affine_truth(weight_of(weight), rational(bias), rational(image), 0)
        short = weight @ image + bias
        wrong += bool(short[0] > short[1]) and truth[0][0] < 0
        for radius in radii(linear(weight_of(weight), bias), image[None], 0):
            assert is_inside(radius, truth)
    assert wrong > 0  # the numbers are such that float32 is fooled


def weight_of(weight: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(weight.astype(np.float64))


def test_another_count_of_threads_is_within_the_slack():
    torch.manual_seed(0)
    net = nn.Sequential(linear(torch.randn(300, 400)), nn.ReLU(), linear(torch.randn(10, 300)))
    images, labels = torch.rand(64, 400), torch.zeros(64, dtype=torch.int64)
    one = certify(net, images, labels, [])
    torch.set_num_threads(2)
    try:
        two = certify(net, images, labels, [])
    finally:
        torch.set_num_threads(1)
    assert ((one["margin"] - two["margin"]).abs() <= one["slack"]).all()


# ---------------------------------------------------------------- crafted, in rational numbers


def test_a_class_that_changes_at_an_eighth_is_certified_below_it_in_exact_arithmetic():
    x, other = torch.full((1, 4), 0.5625).double(), torch.full((1, 4), 0.46875).double()
    assert sum((rational(x[0]) - rational(other[0])) ** 2) == Fraction(9, 256)
    for exponent, low, high in ((24, 1e-9, 1e-6), (53, 1.0, 100.0)):
        net = cancelling(2.0**exponent)
        here, there = exact_scores(net, x[0]), exact_scores(net, other[0])
        assert (here[0], there[0]) == (Fraction(9, 8), Fraction(15, 16))
        assert here[1] == there[1] == 1
        table = certify(net, x, [0], ["3/16", "1/8"])
        assert not table["certified_3/16"][0]
        assert not table["certified_1/8"][0]
        assert Fraction(float(table["radius"][0])) <= Fraction(1, 8)
        assert low <= table["slack"][0] <= high
        with torch.no_grad():
            short = net.float()(x.float())
        assert float(short[0, 0]) in (0.0, 2.0)  # what float32 says of 9/8


def test_the_residual_block_of_one_unit_has_slopes_within_one_exactly():
    for q in (0.0, 87.5, 88.0, -700.0, 700.0):
        layer = make_layer("sll", {}, 1, 1, np.array([[4.5877527e-4]], dtype=np.float32))
        with torch.no_grad():
            layer.log_q.fill_(q)
        branch = layer.branch()
        inner, outer = (rational(part.flatten())[0] for part in (branch.inner, branch.outer))
        bound = Fraction(lipschitz_bound(layer))
        assert abs(1 - outer * inner) <= bound <= 1 + Fraction(1, 10**11)


def test_the_matrix_whose_norm_is_the_root_of_eight_is_bounded_by_it_exactly():
    matrix = torch.tensor([[2.0, -2], [0.5, 0.5]])
    for bound in (lipschitz_bound(linear(matrix)), certified_norm(matrix)):
        assert 8 <= Fraction(bound) ** 2 <= 8 * (1 + Fraction(1, 10**9))
    zero_sums = torch.tensor([[1.0, -1], [2.0, -2]])
    assert Fraction(certified_norm(zero_sums)) ** 2 >= 10


def test_three_pixels_of_zero_padding_are_bounded_exactly():
    kernel = torch.tensor(np.outer([-1, 2, -1], [-1, 2, -1]) / 16)[None, None]
    root = Fraction(math.isqrt(2 * 10**40), 2 * 10**20)  # below sqrt2 / 2
    exact = ((1 + root) / 2) ** 2
    assert Fraction(convolution_norm(kernel)) >= exact > Fraction(5625, 10**4)


@pytest.mark.parametrize("exponent", [50, 200, 400, 490])
def test_layers_scaled_up_and_down_in_turn_are_certified_as_if_they_were_not(exponent):
    generator = np.random.default_rng(6)
    weights = [generator.standard_normal((3, 3)) for _ in range(4)]
    x = torch.from_numpy(generator.random((1, 3)))
    plain = nn.Sequential(*map(linear, weights))
    scales = [2.0**exponent, 2.0**-exponent] * 2
    scaled = nn.Sequential(*(linear(w * s) for w, s in zip(weights, scales, strict=True)))
    label = int(plain(x).argmax())
    first, second = (certify(net, x, [label], []) for net in (plain, scaled))
    assert first["margin"][0] == second["margin"][0]
    assert second["radius_tight"][0] == pytest.approx(first["radius_tight"][0], rel=1e-9)
    matrix = np.eye(3, dtype=object)
    for weight in weights:
        matrix = rational(weight) @ matrix
    pairs = [
        (Fraction(0) + (matrix[label] - row) @ rational(x[0]), sum((matrix[label] - row) ** 2))
        for j, row in enumerate(matrix)
        if j != label
    ]
    for radius in (*first["radius_tight"], *second["radius_tight"]):
        assert is_inside(float(radius), pairs)


def test_everything_at_the_scale_of_1e_minus_100_is_certified():
    x = torch.tensor([[0.7, 0.2]], dtype=torch.float64)
    for size in (1e-100, 1e-140):
        table = certify(linear(size * np.eye(2)), x, [0], [])
        assert table["radius_tight"][0] == pytest.approx(0.5 / 2**0.5, rel=1e-9)
        assert 0 < table["slack"][0] < size * 1e-14


def test_a_certificate_is_the_same_after_saving_and_loading(tmp_path):
    torch.manual_seed(1)

    def network():
        return nn.Sequential(*(LAYERS[name](6, 6) for name in LAYERS), LAYERS["aol"](6, 3))

    net, images = network(), torch.rand(20, 6)
    labels = net(images).argmax(1)
    before = certify(net, images, labels, ["1/8"])
    torch.save(net.state_dict(), tmp_path / "net.pt")
    other = network().train()
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    assert certify(other, images, labels, ["1/8"]).equals(before)
    assert certify(net.eval(), images, labels, ["1/8"]).equals(before)
    again = copy.deepcopy(net)
    assert certify(again, images, labels, ["1/8"]).equals(before)


def test_three_layers_of_relus_are_above_every_feasible_pattern():
    """20 of 64 patterns occur; their largest constant is sqrt 50."""
    first, second = [[1.0, 1], [1, -2], [2, 1]], [[1.0, -1, 1], [-2, 1, 0], [1, 1, -1]]
    net = nn.Sequential(
        linear(first, [1, 0, -1]),
        ACTIVATIONS["relu"](),
        linear(second, [0, 1, -1]),
        ACTIVATIONS["relu"](),
        linear([[1.0, -1, 2]]),
    )
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(20_000, 2, dtype=torch.float64, generator=generator) - 0.5) * 40
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    largest = float(gradient.norm(dim=1).max())
    assert largest == pytest.approx(50**0.5, rel=1e-12)
    all_patterns = float(norms(jacobians(net, (2,))).max())
    assert largest < all_patterns <= lipschitz_bound(net, tight=True)
