"""Constants of whole networks against exact ones: all slope patterns, or worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import lipschitz_bound
from lipexp.certification.chain import steps_of
from lipexp.certification.constants import find_head, pair_constants, product, row_distances
from lipexp.certification.scores import SQRT2
from lipexp.layers import SLLLinear
from tests.certification.drawn_networks import drawn_convnet, drawn_mlp, linear
from tests.exact import ORACLE, exact_norm, jacobians, norms, worst_slopes
from tests.strategies import make_layer, seeds

N1 = ([[2, -1], [1, 3]], [[1, 2], [-1, 1]])
N2 = ([[1, 2, 0], [0, 1, -1], [3, 0, 1]], [[1, -1, 2], [0, 2, 1]])
N3 = ([[1, 1], [1, -2], [2, 1]], [[1, -1, 1], [-2, 1, 0], [1, 1, -1]], [[1, -1, 2]])
N4 = ([[1, 2], [3, -1], [0, 1], [-2, 1]], [[1, 0, -1, 2], [2, 1, 1, 0]])


def network(matrices, activation, biases=None) -> nn.Sequential:
    modules = []
    for k, matrix in enumerate(matrices):
        modules.append(linear(matrix, None if biases is None else biases[k]))
        modules.append(activation())
    return nn.Sequential(*modules[:-1])


def pairs_of(net: nn.Module, classes: int, tight: bool = True) -> torch.Tensor:
    """The constants c_yj that a certificate would use."""
    steps = steps_of(net)
    head = find_head(steps)
    distances = None if head is None else row_distances(head.weight)
    bounds = [step.tight if tight else step.bound for step in steps]
    return pair_constants(bounds, head, distances, classes)


def exact_pairs(found: torch.Tensor) -> torch.Tensor:
    """max over Jacobians of |(e_y - e_j)^T J|, shape (classes, classes)."""
    differences = found[:, :, None] - found[:, None]
    return differences.norm(dim=-1).amax(0)


@pytest.mark.parametrize(
    ("matrices", "activation", "exact", "printed"),
    [
        (N1, "relu", 7.0710678118654752, 7.3518009803865231),
        (N1, "abs", 7.3350874910925746, 7.3518009803865231),
        (N2, "relu", 8.1611265427623862, 8.2724237501048352),
        (N2, "abs", 8.1611265427623862, 8.2724237501048352),
        (N3, "relu", 8.5440037453175312, 17.3600940167016656),
        (N4, "maxmin", 7.1400549446402591, 10.2843767725869079),
    ],
)
def test_the_product_of_norms_is_the_printed_one_and_above_the_exact_constant(
    matrices, activation, exact, printed
):
    net = network(matrices, ACTIVATIONS[activation])
    width = len(matrices[0][0])
    bound = lipschitz_bound(net, tight=True)
    assert bound == pytest.approx(printed, rel=1e-10)
    assert bound >= printed * (1 - 1e-15)
    found = float(norms(jacobians(net, (width,))).max())
    assert found == pytest.approx(exact, rel=1e-12)
    assert exact <= bound


def test_a_difference_of_two_scores_has_its_own_smaller_constant():
    net = network(N2, ACTIVATIONS["relu"])
    exact = exact_pairs(jacobians(net, (3,)))
    assert float(exact[0, 1]) == pytest.approx(34**0.5, rel=1e-13)
    found = pairs_of(net, 2)
    assert 34**0.5 < float(found[0, 1]) < SQRT2 * lipschitz_bound(net, tight=True)


@pytest.mark.parametrize(
    ("q", "kappa"), [((1, 1, 1), 0.89214706036952877), ((1, 2, 4), 0.95485350493803007)]
)
def test_residual_layer_of_a_small_matrix_is_below_its_bound(q, kappa):
    layer = make_layer("sll", {}, 3, 3, np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1]]))
    with torch.no_grad():
        layer.log_q.copy_(torch.tensor(q, dtype=torch.float64).log())
    exact = exact_norm(layer.effective_weight()) ** 2
    assert exact == pytest.approx(kappa, rel=1e-13)
    constant = float(norms(jacobians(nn.Sequential(layer), (3,))).max())
    assert constant <= lipschitz_bound(layer) <= 1 + 1e-13
    # Scaled until kappa = 1.25 the block stretches 2 kappa - 1 = 1.5 times: the theorem is sharp.
    branch = layer.branch()
    grown = branch.outer.detach() * (1.25 / exact)
    assert worst_slopes(branch.inner.detach(), grown) == pytest.approx(1.5, rel=1e-12)


def test_aol_of_a_matrix_that_it_makes_tight_has_norm_exactly_one():
    matrix = np.array([[1.0, 2, 0], [0, 1, -1], [3, 0, 1], [1, 1, 1]])
    layer = make_layer("aol", {}, 3, 4, matrix)
    exact = exact_norm(layer.effective_weight())
    assert exact == pytest.approx(1, abs=1e-14)
    assert exact <= lipschitz_bound(layer) * (1 + 1e-15) <= 1 + 1e-13


# ---------------------------------------------------------------- networks put together at random


def wild(generator, shape):
    """Gaussian, with columns of wildly different norm, zero or double rows and columns at times."""
    matrix = generator.standard_normal(shape)
    rows, columns = shape[:2]
    kind = generator.integers(6)
    if kind == 0:
        matrix *= 10.0 ** generator.integers(-12, 12, (columns, *[1] * (len(shape) - 2)))
    elif kind == 1:
        matrix[generator.integers(rows)] = 0
    elif kind == 2:
        matrix[:, generator.integers(columns)] = 0
    elif kind == 3 and rows > 1:
        matrix[0] = matrix[1]
    elif kind == 4 and columns > 1:
        matrix[:, 0] = matrix[:, 1]
    return matrix * 10.0 ** generator.integers(-8, 9)


def numbers(generator):
    """What weights and biases are drawn from."""
    return (
        lambda shape: wild(generator, shape),
        lambda shape: generator.standard_normal(shape) * 2.0 ** generator.integers(-20, 41),
    )


def check_constants(net: nn.Module, shape: tuple[int, ...]) -> None:
    """No Jacobian of any pattern exceeds the constants, of all scores or of a difference of two."""
    found = jacobians(net, shape)
    if found is None:
        return
    exact = float(norms(found).max())
    for tight in (False, True):
        assert exact <= lipschitz_bound(net, tight=tight) * (1 + ORACLE)
    allowed = pairs_of(net, found.shape[1]) * (1 + ORACLE) + ORACLE * exact
    assert bool((exact_pairs(found) <= allowed).all())


@settings(max_examples=120, deadline=None)
@given(seed=seeds)
def test_constants_of_composed_networks_are_above_the_exact_ones(seed):
    generator = np.random.default_rng(seed)
    check_constants(*drawn_mlp(generator, *numbers(generator), list(ACTIVATIONS)))


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_constants_of_composed_convolutions_are_above_the_exact_ones(seed):
    generator = np.random.default_rng(seed)
    tiny = {"sides": (1, 2, 3), "most": 8}
    check_constants(*drawn_convnet(generator, *numbers(generator), list(ACTIVATIONS), **tiny))


@pytest.mark.parametrize("activation", ["identity", "abs", "maxmin"])
def test_constants_of_orthogonal_networks_are_tight(activation):
    generator = np.random.default_rng(0)
    square = [np.linalg.qr(generator.standard_normal((4, 4)))[0] for _ in range(3)]
    net = network([*square, square[0][:3]], ACTIVATIONS[activation])
    bound = lipschitz_bound(net)
    assert 1 <= bound <= 1 + 1e-11
    found = jacobians(net, (4,), most=2**13)
    exact = float(exact_pairs(found)[0, 1])
    assert exact <= float(pairs_of(net, 3)[0, 1]) * (1 + ORACLE) <= exact * (1 + 1e-11)


def test_the_product_never_underflows_and_is_zero_only_for_a_zero_factor():
    down, up = [2.0**-400] * 3, [2.0**400] * 3
    assert product(down + up) >= 1
    assert product(up + down) >= 1
    assert product([2.0**-600, 2.0**-600, 2.0**600, 2.0**600]) >= 1
    assert product([1.0, 0.0, 3.0]) == 0
    assert product([]) == 1
    assert product([1 + 2**-52] * 1000) >= (1 + 2**-52) ** 1000


def test_a_zero_layer_makes_every_difference_constant():
    net = nn.Sequential(linear(np.zeros((2, 2))), linear(np.eye(2)))
    assert lipschitz_bound(net, tight=True) == 0
    assert lipschitz_bound(net) >= 1
    assert bool((pairs_of(net, 2) == 0).all())


def test_a_head_of_unit_rows_is_taken_pair_by_pair():
    # Antipodal rows: the difference of the scores moves twice as far as the signal, not sqrt2.
    net = nn.Sequential(linear(np.eye(2)), linear([[0.6, 0.8], [-0.6, -0.8], [0.8, -0.6]]))
    found = pairs_of(net, 3)
    assert 2 <= float(found[0, 1]) <= 2 * (1 + 1e-11)
    assert 2**0.5 <= float(found[0, 2]) <= 2**0.5 * (1 + 1e-11)


def test_equal_rows_of_a_head_have_distance_exactly_zero_and_others_never():
    rows = [[1.0, 2], [1, 2], [1, 2 + 2**-51], [0, 0], [-0.0, 0], [5e-324, 0]]
    distances = row_distances(torch.tensor(rows, dtype=torch.float64))
    assert float(distances[0, 1]) == 0
    assert float(distances[0, 2]) >= 2**-51
    assert float(distances[3, 4]) == 0
    assert float(distances[3, 5]) > 0


def test_bounds_of_a_shared_module_are_counted_as_often_as_it_is_executed():
    layer = linear([[2.0, 0], [0, 1]])
    net = nn.Sequential(layer, ACTIVATIONS["abs"](), layer, layer)
    assert lipschitz_bound(net) >= 8


def test_a_residual_layer_is_bounded_with_its_activation():
    torch.manual_seed(0)
    check_constants(nn.Sequential(SLLLinear(3, 4, dtype=torch.float64), linear(np.eye(3))), (3,))
