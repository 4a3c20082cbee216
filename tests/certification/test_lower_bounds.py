"""Lower bounds of Lipschitz constants: never above the truth, and near it where it can be had."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import lipschitz_bound
from lipexp.certification.chain import Step, steps_of
from lipexp.certification.gradients import Chain
from lipexp.certification.lower_bounds import lipschitz_lower_bound
from tests.certification import test_isometric_networks as isometric
from tests.certification.drawn_networks import Formula, drawn_convnet, drawn_mlp, linear
from tests.certification.test_network_constants import N1, N2, N4, network
from tests.exact import exact_norm, jacobians, norms
from tests.strategies import seeds


def some_inputs(count: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, inputs)))


@pytest.mark.parametrize("size", [1e-200, 1e-100, 1.0, 1e100])
def test_of_a_matrix_it_is_the_norm(size):
    matrix = np.random.default_rng(1).standard_normal((5, 8))
    steps = steps_of(linear(size * matrix, np.zeros(5)))
    found = lipschitz_lower_bound(steps, some_inputs(20, 8), iterations=60)
    exact = size * exact_norm(torch.from_numpy(matrix))
    assert bool((found <= exact * (1 + 1e-13)).all())
    assert bool((found >= exact * (1 - 1e-3)).all())


@pytest.mark.parametrize("activation", ["identity", "maxmin", "abs"])
def test_of_an_isometric_network_it_is_one(activation):
    steps = steps_of(isometric.isometric(activation))
    found = lipschitz_lower_bound(steps, some_inputs(50, isometric.WIDTH))
    assert float(found.max()) <= 1.0
    assert float(found.max()) >= 1 - 1e-9


@pytest.mark.parametrize(
    ("matrices", "activation", "exact"),
    [
        (N1, "relu", 7.0710678118654752),
        (N1, "abs", 7.3350874910925746),
        (N2, "relu", 8.1611265427623862),
        (N4, "maxmin", 7.1400549446402591),
    ],
)
def test_the_exact_constant_of_a_small_network_is_approached_from_below(
    matrices, activation, exact
):
    steps = steps_of(network(matrices, ACTIVATIONS[activation]))
    found = lipschitz_lower_bound(steps, some_inputs(100, len(matrices[0][0])))
    assert exact * (1 - 1e-3) <= float(found.max()) <= exact


def test_pairs_climb_above_the_jacobians_at_the_data():
    generator = np.random.default_rng(2)
    sizes = [10, 30, 30, 30, 4]
    matrices = [generator.standard_normal((b, a)) / math.sqrt(a) for a, b in pairwise(sizes)]
    net = network(matrices, ACTIVATIONS["relu"], [generator.standard_normal(b) for b in sizes[1:]])
    x = some_inputs(50, 10)
    found = lipschitz_lower_bound(steps_of(net), x)
    at_data = torch.stack(
        [torch.linalg.matrix_norm(torch.autograd.functional.jacobian(net, row), 2) for row in x]
    )
    assert bool((found > 1.05 * at_data).double().mean() > 0.9)
    assert float(found.max()) <= lipschitz_bound(net, tight=True)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_it_is_never_above_the_exact_constant_of_a_drawn_network(seed):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal
    net, shape = drawn_mlp(generator, weight, weight, ["relu", "abs", "maxmin", "leaky_relu"])
    found = lipschitz_lower_bound(steps_of(net), torch.from_numpy(weight((10, *shape))))
    exact = float(norms(jacobians(net, shape)).max())
    assert float(found.max()) <= exact * (1 + 1e-13)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_it_is_never_above_the_bound_of_a_drawn_convolutional_network(seed):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal
    net, shape = drawn_convnet(
        generator, weight, weight, ["relu", "maxmin"], sides=(3, 4), most=1000
    )
    x = torch.from_numpy(generator.uniform(0, 1, (4, *shape)))
    found = lipschitz_lower_bound(steps_of(net), x, iterations=10)
    assert float(found.max()) <= lipschitz_bound(net, tight=True)


@pytest.mark.parametrize("power", [24, 53, 60])
def test_what_large_biases_round_away_is_no_lower_bound(power):
    # Scores of 1-Lipschitz sums beside 2^power: quotients of computed scores go far above 1.
    row = np.full((1, 4), 0.5)
    net = nn.Sequential(
        linear(row, [2.0**power]), ACTIVATIONS["relu"](), linear([[1.0], [0]], [-(2.0**power), 1])
    )
    found = lipschitz_lower_bound(steps_of(net), some_inputs(200, 4).abs())
    assert float(found.max()) <= 1.0
    assert (float(found.max()) > 0.99) == (power == 24)


@pytest.mark.parametrize(
    "formula", [lambda x: 0 * x + 1, lambda x: x * math.nan, lambda x: x * math.inf]
)
def test_where_nothing_is_proven_it_is_zero(formula):
    steps = [Step("formula", Formula(formula))]
    x = torch.cat((torch.zeros(1, 3), torch.ones(2, 3))).double()
    assert lipschitz_lower_bound(steps, x).tolist() == [0.0] * 3


def test_inputs_of_zero_and_of_any_size_are_served():
    steps = steps_of(linear(np.eye(3)))
    sizes = torch.tensor([0.0, 1e-200, 1e-10, 1.0, 1e10, 1e100], dtype=torch.float64)
    x = sizes[:, None] * torch.ones(1, 3, dtype=torch.float64)
    found = lipschitz_lower_bound(steps, x)
    assert bool((found <= 1).all())
    assert found.tolist() == pytest.approx([1.0] * 6, rel=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 20])
def test_batches_and_their_portions_do_not_matter(batch, monkeypatch):
    generator = np.random.default_rng(5)
    matrices = [generator.standard_normal(shape) for shape in ((8, 6), (8, 8), (3, 8))]
    steps, x = steps_of(network(matrices, ACTIVATIONS["relu"])), some_inputs(20, 6)
    whole = lipschitz_lower_bound(steps, x, seed=3, first=10)
    other = lipschitz_lower_bound(steps, x, seed=4, first=10)
    assert not torch.allclose(other, whole)
    three = 3 * sum(math.prod(shape) for shape in Chain(steps, x[:1]).shapes)
    monkeypatch.setattr("lipexp.certification.gradients.SIGNAL_NUMBERS", {"cpu": three})
    parts = [
        lipschitz_lower_bound(steps, x[k : k + batch], seed=3, first=10 + k)
        for k in range(0, len(x), batch)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=0)
