"""Networks made to fool a certifier: what is certified is never more than the exact truth."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify, lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import AOLLinear
from tests.certification.drawn_networks import linear
from tests.exact import dense_matrix, exact_norm, jacobians, norms, rational, times
from tests.strategies import make_layer, seeds


def radii(net, images, label=0, **keywords) -> list[float]:
    """radius and radius_tight of one input; [0, 0] where nothing is certified at all."""
    table = certify(net, images, [label], ["1/8"], **keywords)
    return [float(table["radius"][0]), float(table["radius_tight"][0])]


def affine_truth(matrix, offset, x, label: int) -> list[tuple[Fraction, Fraction]]:
    """(margin, |a|^2) of each other class of the scores matrix x + offset, all exact."""
    return pairs_of(rational(matrix), times(matrix, x) + offset, label)


def pairs_of(matrix, scores, label: int) -> list[tuple[Fraction, Fraction]]:
    """(margin, |a|^2) of each class but the label; ``matrix``: exact rows, one for each score."""
    return [
        (scores[label] - score, sum((matrix[label] - row) ** 2))
        for j, (row, score) in enumerate(zip(matrix, scores, strict=True))
        if j != label
    ]


def is_inside(radius: float, pairs) -> bool:
    """Whether no input nearer than ``radius`` can tie, in exact arithmetic."""
    if radius == 0:
        return True
    if radius == np.inf:
        return all(margin > 0 and square == 0 for margin, square in pairs)
    return all(
        margin > 0 and Fraction(radius) ** 2 * square <= margin**2 for margin, square in pairs
    )


# ---------------- A, B: a large bias that cancels, and no longer does


def cancelling(offset: float) -> nn.Sequential:
    """Scores (relu(mean-like sum + offset) - offset, 1): the class changes 1/8 away from 9/16."""
    return nn.Sequential(
        linear([[0.5] * 4], [offset]), ACTIVATIONS["relu"](), linear([[1.0], [0]], [-offset, 1])
    )


def check_cancelling(exponent: int) -> None:
    images = torch.full((1, 4), 0.5625)
    for radius in radii(cancelling(2.0**exponent), images):
        assert radius <= 0.125


@pytest.mark.parametrize("exponent", [0, 24, 40, 45, 48, 50, 51, 52, 53, 54, 60, 100])
def test_a_bias_that_cancels_is_never_certified_beyond_the_truth(exponent):
    check_cancelling(exponent)


def test_a_bias_of_2_to_24_is_certified_and_one_of_2_to_53_refused():
    images = torch.full((1, 4), 0.5625)
    assert radii(cancelling(2.0**24), images)[0] == pytest.approx(0.125, abs=1e-6)
    assert radii(cancelling(2.0**53), images) == [0, 0]


# ---------------- C: ordinary numbers, where float32 certifies too much


def unit_rows(generator) -> tuple[np.ndarray, np.ndarray]:
    weight = generator.standard_normal((2, 784)).astype(np.float32)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    image = generator.integers(51, 205, 784).astype(np.float32) / np.float32(255)
    return weight, image


def check_ordinary_numbers(count: int = 20) -> None:
    """The certified radius of a linear classifier is at most the exact distance to its boundary."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        weight, image = unit_rows(generator)
        matrix = torch.from_numpy(weight)
        x = rational(torch.from_numpy(image))
        ((margin, square),) = affine_truth(matrix, [0, 0], x, 0)
        label = 0 if margin > 0 else 1
        for radius in radii(linear(matrix), image[None], label):
            assert is_inside(radius, [(abs(margin), square)])
            assert Fraction(radius) ** 2 * square >= margin**2 * (1 - Fraction(1, 10**8))


def test_ordinary_numbers_are_certified_to_nine_digits_and_never_beyond_the_truth():
    check_ordinary_numbers()


def test_first_ordinary_network_has_the_radius_worked_out_by_hand():
    weight, image = unit_rows(np.random.default_rng(0))
    net = linear(torch.from_numpy(weight))
    found = max(radii(net, image[None], 0) + radii(net, image[None], 1))
    assert 0.5062361180 < found <= 0.506236118209
    exact = times(torch.from_numpy(weight), rational(torch.from_numpy(image)))
    assert float(abs(exact[0] - exact[1])) == pytest.approx(0.723946658779, abs=1e-12)


# ---------------- D to G: layers whose norms were got wrong


def test_a_residual_layer_with_q_of_87_does_not_stretch():
    # exp(q) and exp(-q) apart, in float32, gave this one slope -1.9987.
    for q in (87.5, 88.0, -700.0, 700.0):
        layer = make_layer("sll", {}, 1, 1, np.array([[4.5877527e-4]]), dtype=torch.float32)
        with torch.no_grad():
            layer.log_q.fill_(q)
        exact = float(norms(jacobians(nn.Sequential(layer), (1,))).max())
        assert exact <= lipschitz_bound(layer) <= 1 + 1e-11


def test_matrices_that_fool_power_iteration_are_bounded():
    first = torch.tensor([[2.0, -2], [0.5, 0.5]])
    assert lipschitz_bound(linear(first)) >= 8**0.5
    second = np.random.default_rng(0).standard_normal((64, 64))
    second -= second.mean(1, keepdims=True)  # a start of all ones is orthogonal to everything
    exact = np.linalg.norm(second, 2)
    assert exact <= lipschitz_bound(linear(second)) <= exact * (1 + 1e-9)


def test_a_bright_pixel_seen_by_four_windows_counts_four_times():
    pool = nn.MaxPool2d(3, 2)
    bright = torch.zeros(1, 1, 5, 5)
    bright[0, 0, 2, 2] = 1
    assert float(pool(bright).norm()) == 2 <= lipschitz_bound(pool)


def test_zero_padding_of_three_pixels_is_not_bounded_by_their_ring():
    kernel = torch.tensor(np.outer([-1, 2, -1], [-1, 2, -1]) / 16)
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(kernel)
        exact = exact_norm(dense_matrix(conv, (1, 3, 3)))
    assert exact == pytest.approx(0.728553, abs=1e-6)  # on the ring of three pixels it is 0.5625
    assert exact <= lipschitz_bound(conv, tight=True)


# ---------------- underflow


def down_and_up(exponent: int, times_each: int, offset: float) -> nn.Sequential:
    scales = [2.0**-exponent] * times_each + [2.0**exponent] * times_each
    layers = [linear(np.eye(2) * scale) for scale in scales]
    return nn.Sequential(*layers, linear(np.eye(2), [offset, 0]))


@pytest.mark.parametrize("times_each", [2, 3])
@pytest.mark.parametrize("exponent", [100, 250, 300, 400, 480, 499, 500, 510, 530, 537, 600])
@pytest.mark.parametrize("offset", [0.0, 0.9, 2.0**380])
def test_scaling_twice_down_then_up_certifies_at_most_the_truth(exponent, times_each, offset):
    x = torch.tensor([[0.52, 0.5]], dtype=torch.float64)
    truth = affine_truth(torch.eye(2).double(), [Fraction(offset), 0], rational(x[0]), 0)
    for box in (True, False):
        try:
            found = radii(down_and_up(exponent, times_each, offset), x, box=box)
        except UserError:
            assert exponent >= 500
        else:
            assert all(is_inside(radius, truth) for radius in found)


def test_small_scales_that_do_not_underflow_are_certified():
    x = torch.tensor([[0.52, 0.5]], dtype=torch.float64)
    assert radii(down_and_up(200, 2, 0.0), x)[1] == pytest.approx(0.02 / 2**0.5, rel=1e-9)


def test_a_sum_of_squares_that_underflows_does_not_make_the_slack_vanish():
    # 1e-200 squared is 0: a plain norm would declare no rounding at all.
    x = torch.full((1, 3), 1e-200, dtype=torch.float64)
    net = nn.Sequential(linear(np.ones((1, 3)) * 1e150), linear([[1e100], [0]], [0, 2.9e50]))
    table = certify(net, x, [0], [])
    assert table["slack"][0] > 0
    tiny = certify(linear(np.eye(2)), torch.tensor([[1e-200, 0.0]]).double(), [0], [])
    assert tiny["slack"][0] >= 2.0**-53 * 1e-200


# ---------------- affine networks, exactly


class Affine:
    """matrix x + offset in rational numbers, layer by layer."""

    def __init__(self, inputs: int):
        self.matrix = rational(np.eye(inputs))
        self.offset = rational(np.zeros(inputs))

    def then(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.matrix = rational(weight) @ self.matrix
        self.offset = rational(weight) @ self.offset + rational(bias)

    def pairs(self, x: np.ndarray) -> tuple[int, list[tuple[Fraction, Fraction]]]:
        """The class, and (margin, |a|^2) of each other one."""
        scores = self.matrix @ x + self.offset
        label = int(np.argmax(scores))
        return label, pairs_of(self.matrix, scores, label)


@settings(max_examples=80, deadline=None)
@given(seed=seeds, box=st.booleans(), whole=st.booleans())
def test_radii_of_affine_networks_are_at_most_the_exact_distance(seed, box, whole):
    check_affine(seed, box, whole)


def check_affine(seed: int, box: bool, whole: bool, reach: int = 30) -> None:
    generator = np.random.default_rng(seed)
    inputs, classes = (int(n) for n in generator.integers(2, 5, 2))
    sizes = [inputs, *(int(n) for n in generator.integers(1, 5, generator.integers(0, 3))), classes]
    exact, modules = Affine(inputs), []
    for columns, rows in pairwise(sizes):
        weight = generator.standard_normal((rows, columns)) * 2.0 ** generator.integers(
            -reach, reach
        )
        if generator.integers(4) == 0 and rows > 1:
            weight[0] = weight[1]
        bias = generator.standard_normal(rows) * 2.0 ** generator.integers(-reach, reach // 3)
        modules.append(linear(weight, bias))
        exact.then(weight, bias)
    if whole:
        images = generator.integers(0, 256, (1, inputs), dtype=np.uint8)
        x = np.array([Fraction(int(k), 255) for k in images[0]])
    else:
        images = generator.random((1, inputs))
        x = rational(images[0])
    label, pairs = exact.pairs(x)
    for radius in radii(nn.Sequential(*modules), images, label, box=box):
        assert is_inside(radius, pairs)


def test_floats_are_the_points_as_they_stand_and_are_not_divided_again():
    # At 0.8 the class is 0, at 0.8 / 255 it is 1.
    net = linear([[1.0], [0.0]], [-0.5, 0.0])
    image = torch.tensor([[0.8]])
    table = certify(net, image, [0], [])
    assert table["margin"][0] == pytest.approx(0.3)
    assert table["radius"][0] <= float(image[0, 0]) - 0.5
    assert certify(net, np.array([[204]], np.uint8), [0], [])["margin"][0] == pytest.approx(0.3)
    sixteenths = certify(net, np.array([[12]], np.uint8), [0], [], scale=16)
    assert sixteenths["margin"][0] == 0.25


def test_a_large_common_offset_of_the_scores_is_paid_for():
    net = linear([[1.0, 0], [0, 1]], [2.0**60, 2.0**60])
    assert radii(net, torch.tensor([[0.9, 0.1]])) == [0, 0]


def check_rounding_elsewhere(exponent: int, box: bool) -> None:
    """Both scores grow with M x_1, which their difference does not: at x = 0 nothing rounds, at
    x' = (t, 0) sums of M t and 1/2 do.  Inside the radius computed scores keep their order, too.
    """
    net = linear([[2.0**exponent, 1.0], [2.0**exponent, 0.0]], [0.5, 0.0])
    for radius in radii(net, torch.zeros(1, 2), box=box):
        distances = np.linspace(0, min(radius, 1.0), 50)[:-1]
        with torch.no_grad():
            scores = net(torch.tensor([[t, 0.0] for t in distances], dtype=torch.float64))
        assert radius == 0 or bool((scores[:, 0] > scores[:, 1]).all())


@pytest.mark.parametrize("box", [True, False])
@pytest.mark.parametrize("exponent", [0, 20, 45, 48, 49, 50, 51, 52, 53, 54, 60])
def test_computed_scores_keep_their_order_everywhere_inside_the_radius(exponent, box):
    check_rounding_elsewhere(exponent, box)


def test_a_network_in_float32_is_certified_in_float64():
    torch.manual_seed(0)
    net = nn.Sequential(AOLLinear(6, 5), ACTIVATIONS["abs"](), AOLLinear(5, 3))
    images = torch.rand(10, 6)
    low, high = (certify(n, images, [0] * 10, []) for n in (net, net.double()))
    assert low.drop(columns="index").equals(high.drop(columns="index"))
    assert set(map(str, low.dtypes[["margin", "slack", "radius", "radius_tight"]])) == {"float64"}
