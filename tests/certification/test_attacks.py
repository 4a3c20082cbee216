"""Attacks: what they return is true, and they find what is there, whatever the gradients' size."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify
from lipexp.certification.attack import _Open, attack
from lipexp.certification.ball import Balls
from lipexp.certification.chain import Step, steps_of
from lipexp.layers import FirstFeatures, Flatten
from tests.certification import test_isometric_networks as isometric
from tests.certification.drawn_networks import Formula, linear
from tests.strategies import (
    CHOICES,
    CONVOLUTION_CHOICES,
    describe,
    make_convolution,
    make_layer,
)


def steps_by(formula) -> list[Step]:
    return [Step("formula", Formula(formula))]


def net(seed: int = 0, scale: float = 1.0, inputs: int = 12, classes: int = 4) -> nn.Sequential:
    """Two hidden relu layers of Gaussian weights, all scores times ``scale``."""
    generator = np.random.default_rng(seed)

    def layer(rows, columns, size=1.0):
        weight = size * generator.standard_normal((rows, columns)) / math.sqrt(columns)
        return linear(weight, size * generator.standard_normal(rows) / 10)

    relu = ACTIVATIONS["relu"]
    return nn.Sequential(
        layer(16, inputs), relu(), layer(16, 16), relu(), layer(classes, 16, scale)
    )


def pixels(count: int = 60, inputs: int = 12, seed: int = 1) -> torch.Tensor:
    """Half of them on the faces of the box."""
    drawn = np.random.default_rng(seed).uniform(-0.5, 1.5, (count, inputs))
    return torch.from_numpy(drawn.clip(0, 1))


def labelled(steps, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        for step in steps:
            x = step.module(x)
    return x.argmax(1)


def everywhere(radius: float, count: int) -> torch.Tensor:
    return torch.full((count,), radius, dtype=torch.float64)


def exact_distance_squared(a: torch.Tensor, b: torch.Tensor) -> Fraction:
    pairs = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    return sum((Fraction(p) - Fraction(q)) ** 2 for p, q in pairs)


@pytest.mark.parametrize(
    "radius", [0.0, 1e-320, 1e-200, 1e-17, 1e-15, 1e-9, 0.3, 2.0, 50.0, math.inf]
)
@pytest.mark.parametrize("box", [True, False])
def test_points_are_in_ball_and_box_to_the_last_bit(radius, box):
    steps, x = steps_of(net()), pixels(20)
    if not box:
        x = x * 1e3 - 400
    y = labelled(steps, x)
    found = attack(steps, x, y, everywhere(radius, 20), iterations=5, restarts=3, box=box)
    assert found.points.dtype == torch.float64
    assert found.points.shape == x.shape
    if box:
        assert bool((found.points >= 0).all() and (found.points <= 1).all())
    assert bool((found.distance <= radius).all())
    for point, centre, distance in zip(found.points, x, found.distance, strict=True):
        squared = exact_distance_squared(point, centre)
        if radius < math.inf:
            assert squared <= Fraction(radius) ** 2
        assert float(squared) == pytest.approx(float(distance) ** 2, rel=1e-12, abs=1e-320)
    if 1e-9 <= radius <= 0.3:
        assert float(found.distance.min()) > 0.5 * radius


def test_the_margin_is_that_of_the_point_as_it_is_stored():
    steps, x = steps_of(net()), pixels()
    y = labelled(steps, x)
    found = attack(steps, x, y, everywhere(0.4, len(x)))
    scores = net()(found.points).detach()
    others = scores.scatter(1, y[:, None], -math.inf).amax(1)
    margin = scores.gather(1, y[:, None])[:, 0] - others
    torch.testing.assert_close(found.margin, margin, rtol=0, atol=1e-14)
    assert 0 < int((found.margin <= 0).sum()) < len(x)


def test_the_last_thing_computed_are_the_scores_of_what_is_returned():
    seen = []

    def scores(x):
        seen.append((x.detach().clone(), torch.stack((1 + 0 * x[:, 0], x.sum(1)), dim=1)))
        return seen[-1][1]

    x = torch.zeros(5, 3, dtype=torch.float64)
    found = attack(steps_by(scores), x, torch.zeros(5, dtype=torch.int64), everywhere(0.1, 5))
    points, counted = seen[-1]
    assert torch.equal(points, found.points)
    assert torch.equal((counted[:, 0] - counted[:, 1]).detach(), found.margin)


def test_inputs_that_are_wrong_or_have_no_ball_are_returned_as_they_are():
    steps, x = steps_of(net()), pixels(8)
    y = labelled(steps, x)
    y[:2] = (y[:2] + 1) % 4
    radii = torch.tensor([0.5, 0.5, 0.0, math.nan, -1.0, 1e-30, 0.5, 0.5], dtype=torch.float64)
    found = attack(steps, x, y, radii, iterations=10)
    assert bool((found.margin[:2] < 0).all())
    assert bool((found.margin[2:6] > 0).all())
    assert torch.equal(found.points[:6], x[:6])
    assert found.distance[:6].tolist() == [0.0] * 6
    assert found.tries[:6].tolist() == [0] * 6
    assert bool((found.tries[6:] > 0).all())
    assert not torch.equal(found.points[6], x[6])


def test_tries_are_the_restarts_that_were_carried_out():
    steps, x = steps_of(net()), pixels()
    y = labelled(steps, x)
    found = attack(steps, x, y, everywhere(0.4, len(x)), restarts=3)
    assert set(found.tries[found.margin > 0].tolist()) == {3}
    assert 1 in found.tries[found.margin <= 0].tolist()
    none = attack(steps, x, y, everywhere(0.4, len(x)), restarts=0)
    assert none.tries.tolist() == [0] * len(x)


def test_an_affine_classifier_falls_exactly_at_its_distance():
    generator = np.random.default_rng(3)
    weight, bias = generator.standard_normal((5, 30)), generator.standard_normal(5)
    steps, x = steps_of(linear(weight, bias)), pixels(50, 30)
    y = labelled(steps, x)
    scores = x.numpy() @ weight.T + bias
    apart = np.linalg.norm(weight[y][:, None] - weight, axis=2)
    apart[np.arange(50), y] = 1.0
    margins = scores[np.arange(50), y][:, None] - scores
    margins[np.arange(50), y] = np.inf
    distance = torch.from_numpy((margins / apart).min(1))
    inside = attack(steps, x, y, distance * (1 - 1e-9), restarts=9, box=False)
    assert int((inside.margin <= 0).sum()) == 0
    outside = attack(steps, x, y, distance * 1.0001, restarts=9, box=False)
    assert int((outside.margin <= 0).sum()) == 50


def test_one_gradient_is_enough_where_the_margin_is_affine():
    steps = steps_of(linear([[1.0, 2, -2], [0, 0, 0]], [9.0, 0]))
    x, radii = torch.zeros(1, 3, dtype=torch.float64), everywhere(3.0003, 1)
    found = attack(steps, x, torch.tensor([0]), radii, iterations=1, restarts=1, box=False)
    assert float(found.margin) == pytest.approx(-0.0009, rel=1e-6)


def least_in_ball_and_box(slope: np.ndarray, x: np.ndarray, radius: float) -> float:
    """min of slope . (x' - x) over the ball and the box: clamp(-s slope), |.| = radius."""

    def move(s):
        return np.clip(x - s * slope, 0, 1) - x

    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(move(middle)) < radius else (low, middle)
    return float(slope @ move(low))


def test_in_the_box_an_affine_margin_is_brought_to_its_least():
    generator = np.random.default_rng(4)
    weight = generator.standard_normal((2, 40))
    weight[1] = weight[0] - np.abs(generator.standard_normal(40)) * generator.choice([-1, 1], 40)
    bias = np.array([50.0, 0.0])
    steps, x = steps_of(linear(weight, bias)), pixels(20, 40)
    y = labelled(steps, x)
    assert y.tolist() == [0] * 20
    found = attack(steps, x, y, everywhere(1.3, 20), restarts=1)
    slope = weight[0] - weight[1]
    for k in range(20):
        least = least_in_ball_and_box(slope, x[k].numpy(), 1.3)
        reached = float(found.margin[k]) - (slope @ x[k].numpy() + 50)
        assert reached == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-290, 1e-100, 1e-14, 1.0, 1e100])
def test_scores_of_any_scale_fall_at_the_same_points(scale):
    x = pixels(200)
    y = labelled(steps_of(net()), x)
    plain = attack(steps_of(net()), x, y, everywhere(0.3, 200))
    scaled = attack(steps_of(net(scale=scale)), x, y, everywhere(0.3, 200))
    assert 20 < int((plain.margin <= 0).sum()) < 180
    assert torch.equal(plain.margin <= 0, scaled.margin <= 0)
    assert torch.equal(plain.tries, scaled.tries)
    torch.testing.assert_close(scaled.margin / scale, plain.margin, rtol=0, atol=1e-3)


@pytest.mark.parametrize("power", [-900, -333, 333, 900])
def test_a_power_of_two_on_the_scores_changes_no_bit_of_the_points(power):
    x = pixels(100)
    y = labelled(steps_of(net()), x)
    plain = attack(steps_of(net()), x, y, everywhere(0.3, 100))
    scaled = attack(steps_of(net(scale=2.0**power)), x, y, everywhere(0.3, 100))
    assert torch.equal(plain.points, scaled.points)
    assert torch.equal(torch.ldexp(plain.margin, torch.tensor(power)), scaled.margin)


@pytest.mark.parametrize(
    ("activation", "share"), [("identity", 1.0), ("maxmin", 0.3), ("abs", 0.1)]
)
def test_on_isometric_networks_the_radius_is_the_truth_from_both_sides(activation, share):
    module = isometric.isometric(activation)
    images, labels = isometric.points(module)
    table = certify(module, images, labels, [])
    radius = torch.tensor(table["radius_tight"].tolist(), dtype=torch.float64)
    steps = steps_of(module)
    inside = attack(steps, images, labels, radius * isometric.INSIDE)
    assert int((inside.margin <= 0).sum()) == 0
    assert bool((inside.tries == 2).all())
    outside = attack(steps, images, labels, radius * isometric.OUTSIDE)
    assert int((outside.margin <= 0).sum()) >= share * len(images)


def test_a_later_restart_goes_for_a_class_that_the_first_one_passed_by():
    # Class 1 is near but turns round at 0.96 < 1; class 2 is ahead of 3, which alone is in reach.
    def scores(x):
        first = 0.9 + 0.2 * (0.3 - (x[:, 0] - 0.8).abs())
        second, third = 0.6 - 0.01 * x[:, 1], 0.5 + 2 * (x[:, 1] - 0.5)
        return torch.stack((0 * first + 1.0, first, second, third), dim=1)

    steps, x = steps_by(scores), torch.full((10, 2), 0.5, dtype=torch.float64)
    y, radii = torch.zeros(10, dtype=torch.int64), everywhere(0.4, 10)
    assert int((attack(steps, x, y, radii, restarts=1).margin <= 0).sum()) == 0
    assert int((attack(steps, x, y, radii, restarts=2).margin <= 0).sum()) == 10


def test_without_gain_for_long_steps_are_halved_and_begin_again_at_the_best_point():
    balls = Balls(pixels(3, 2), everywhere(1.0, 3), True)
    which = torch.arange(3)
    rows = _Open.start(which, which, None, balls, torch.zeros(3, 2, dtype=torch.float64))

    def look(*losses):
        rows.q, rows.gradient = rows.q + 1, rows.gradient - 1
        rows.control(torch.tensor(losses, dtype=torch.float64), patience=2)

    look(3.0, 3.0, math.nan)
    look(2.0, 3.0, 1.0)
    assert rows.shrink.flatten().tolist() == [1, 1, 1]
    look(1.0, 4.0, 1.0)
    assert rows.shrink.flatten().tolist() == [1, 0.5, 1]
    assert rows.q[:, 0].tolist() == [3, 1, 3]
    assert rows.gradient[:, 0].tolist() == [-3, -1, -3]
    look(0.0, 2.0, 1.0)
    look(0.0, 1.0, 0.0)
    assert rows.shrink.flatten().tolist() == [1, 0.5, 0.5]
    assert rows.q[:, 0].tolist() == [5, 3, 3]
    assert rows.least.tolist() == [0, 1, 0]


def test_where_there_is_no_gradient_it_looks_around_at_random():
    def scores(x):
        step = (x[:, 0] - 0.55).relu()
        return torch.stack((0 * step + 0.1, 2 * step), dim=1)

    steps, x = steps_by(scores), torch.full((50, 2), 0.5, dtype=torch.float64)
    found = attack(steps, x, torch.zeros(50, dtype=torch.int64), everywhere(0.4, 50))
    assert int((found.margin <= 0).sum()) == 50


@pytest.mark.parametrize("times", [math.nan, math.inf, -math.inf])
def test_gradients_that_are_not_finite_do_not_stop_it(times):
    class Wild(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * times

    steps = steps_by(lambda x: Wild.apply(x) @ torch.tensor([[1.0, 0], [0, 1]]).double())
    x = torch.tensor([[0.6, 0.4]], dtype=torch.float64).repeat(40, 1)
    found = attack(steps, x, torch.zeros(40, dtype=torch.int64), everywhere(0.3, 40))
    assert int((found.margin <= 0).sum()) == 40
    assert bool((found.distance <= 0.3).all())


def test_a_chain_that_cannot_be_differentiated_is_tried_at_random():
    steps = steps_by(lambda x: x.detach().clone())
    x = torch.tensor([[0.6, 0.4]], dtype=torch.float64).repeat(20, 1)
    found = attack(steps, x, torch.zeros(20, dtype=torch.int64), everywhere(0.3, 20))
    assert int((found.margin <= 0).sum()) == 20


def test_a_tie_is_a_success_and_so_is_a_score_that_is_not_a_number():
    def scores(x):
        lead = (x[:, 0] - 0.5).relu()
        return torch.stack((lead, 0 * lead), dim=1)

    x, y = torch.full((3, 2), 0.6, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    found = attack(steps_by(scores), x, y, everywhere(0.3, 3))
    assert found.margin.tolist() == [0.0] * 3
    assert found.tries.tolist() == [1] * 3
    missing = attack(
        steps_by(lambda x: torch.where(x < 0.55, math.nan, scores(x))), x, y, everywhere(0.3, 3)
    )
    assert missing.margin.tolist() == [-math.inf] * 3
    at_once = attack(steps_by(lambda x: scores(x) * math.nan), x, y, everywhere(0.3, 3))
    assert at_once.margin.tolist() == [-math.inf] * 3
    assert at_once.tries.tolist() == [0] * 3


@pytest.mark.parametrize("batch", [1, 7, 59])
def test_batches_do_not_matter(batch):
    steps, x = steps_of(net()), pixels()
    y = labelled(steps, x)
    radii = torch.linspace(0.1, 0.6, len(x), dtype=torch.float64)
    whole = attack(steps, x, y, radii, seed=5, first=100, restarts=3)
    parts = [
        attack(steps, x[k : k + batch], y[k : k + batch], radii[k : k + batch],
               seed=5, first=100 + k, restarts=3)
        for k in range(0, len(x), batch)
    ]  # fmt: skip
    assert torch.equal(torch.cat([part.tries for part in parts]), whole.tries)
    torch.testing.assert_close(
        torch.cat([part.points for part in parts]), whole.points, rtol=0, atol=1e-6
    )


def test_seed_and_index_choose_where_later_restarts_begin():
    steps, x = steps_of(net()), pixels(20)
    y, radii = labelled(steps, x), everywhere(0.2, 20)
    found = [
        attack(steps, x, y, radii, iterations=1, restarts=4, **keys).points
        for keys in ({}, {}, {"seed": 1}, {"first": 1})
    ]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[3])


def test_portions_of_a_batch_do_not_matter(monkeypatch):
    steps, x = steps_of(net()), pixels()
    y, radii = labelled(steps, x), everywhere(0.4, len(pixels()))
    whole = attack(steps, x, y, radii)
    monkeypatch.setattr("lipexp.certification.gradients.SIGNAL_NUMBERS", {"cpu": 1})
    parts = attack(steps, x, y, radii)
    assert torch.equal(parts.tries, whole.tries)
    torch.testing.assert_close(parts.points, whole.points, rtol=0, atol=1e-6)


def leaves_of(output: torch.Tensor) -> set[int]:
    """The tensors that a backward pass would leave gradients at."""
    found, seen, waiting = set(), set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [parent for parent, _ in node.next_functions]
    return found


def graph_leaves(steps, x: torch.Tensor, monkeypatch) -> int:
    """The most tensors with gradients in any graph that an attack pulls back through."""
    sizes = []
    plain = torch.autograd.grad

    def watched(output, *arguments, **keywords):
        sizes.append(len(leaves_of(output)))
        return plain(output, *arguments, **keywords)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    attack(steps, x, labelled(steps, x), everywhere(0.1, len(x)), iterations=2)
    return max(sizes)


@pytest.mark.parametrize("choice", CHOICES, ids=describe)
def test_no_graph_leads_to_the_weights(choice, monkeypatch):
    name, keys = choice
    generator = np.random.default_rng(0)
    weight, bias = generator.standard_normal((6, 6)), generator.standard_normal(6)
    layer = make_layer(name, keys, 6, 6, weight, bias)
    module = nn.Sequential(layer, ACTIVATIONS["relu"](), FirstFeatures(3))
    assert graph_leaves(steps_of(module), pixels(4, 6), monkeypatch) == 1
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("choice", CONVOLUTION_CHOICES, ids=describe)
def test_no_graph_leads_to_the_kernels(choice, monkeypatch):
    name, keys = choice
    kernel = np.random.default_rng(0).standard_normal((2, 2, 3, 3))
    layer = make_convolution(name, keys, 2, 2, kernel, np.zeros(2))
    module = nn.Sequential(layer, nn.MaxPool2d(2), nn.Conv2d(2, 2, 1), Flatten(), nn.Linear(8, 3))
    x = pixels(4, 32).reshape(4, 2, 4, 4)
    assert graph_leaves(steps_of(module.double()), x, monkeypatch) == 1


def test_the_watcher_sees_a_weight_that_asks_for_a_gradient(monkeypatch):
    steps = steps_of(net())
    next(steps[0].module.parameters()).requires_grad_()
    steps[0].module._kept = None
    assert graph_leaves(steps, pixels(4), monkeypatch) == 2
