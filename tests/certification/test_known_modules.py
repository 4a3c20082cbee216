"""torch's own modules: bounds against dense matrices, rounding against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.certification import certify, lipschitz_bound
from lipexp.certification.chain import steps_of
from lipexp.lipschitz import safe_norm
from tests.exact import ORACLE, covers, dense_matrix, exact_norm, rational, times


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Evaluation mode, float64, all numbers drawn; variances positive."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for _, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator).double())
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_var.copy_(module.running_var.abs() + 0.01)
    return module


CONVOLUTIONS = [
    {"kernel_size": k, "stride": s, "padding": p, "padding_mode": m}
    for k, s, p, m in [
        (1, 1, 0, "zeros"),
        (3, 1, 1, "zeros"),
        (3, 1, "same", "zeros"),
        (3, 1, "valid", "zeros"),
        (3, 1, 4, "zeros"),
        (3, 2, 1, "zeros"),
        (2, 2, 0, "zeros"),
        ((3, 2), (1, 2), (1, 0), "zeros"),
        ((1, 3), 1, "same", "zeros"),
        (4, 1, "same", "zeros"),
        (3, 1, 1, "circular"),
        (3, 1, "same", "circular"),
        ((3, 2), 1, "same", "circular"),
        (3, 2, 1, "circular"),
        (4, 1, "same", "circular"),
        (5, 1, 1, "circular"),
    ]
]
LINEAR = {
    "average 2": lambda: nn.AvgPool2d(2),
    "average 3 by 1": lambda: nn.AvgPool2d(3, 1, padding=1),
    "average 3 by 2": lambda: nn.AvgPool2d(3, 2),
    "average 3 by 2, padded": lambda: nn.AvgPool2d(3, 2, padding=1),
    "average (2, 3) by (1, 2)": lambda: nn.AvgPool2d((2, 3), (1, 2)),
    "unshuffle": lambda: nn.PixelUnshuffle(2),
    "zero padding": lambda: nn.ZeroPad2d((1, 2, 0, -1)),
    "flatten": lambda: nn.Flatten(),
    "dropout": lambda: nn.Dropout(0.5),
    "identity": lambda: nn.Identity(),
    "leaky relu of slope 1": lambda: nn.LeakyReLU(1.0),
}


def bound_above_matrix(module: nn.Module, shape: tuple[int, ...]) -> tuple[float, float]:
    """(exact norm of the linear part, tight bound), after checking that the bounds hold."""
    with torch.no_grad():
        zero = module(torch.zeros(1, *shape).double())
        exact = exact_norm(dense_matrix(lambda x: module(x) - zero, shape))
    tight = lipschitz_bound(module, tight=True)
    assert exact <= tight * (1 + ORACLE)
    assert max(1.0, tight) <= lipschitz_bound(module) <= max(1.0, tight) * (1 + 1e-15)
    return exact, tight


def check_rounding(module: nn.Module, exactly, shape: tuple[int, ...], scale: float = 1.0) -> None:
    """The declared error and norm against exact outputs; ``exactly``: of flat fractions."""
    (step,) = steps_of(module)
    for x in torch.from_numpy(np.random.default_rng(0).standard_normal((5, *shape)) * scale):
        norm = float(safe_norm(x.flatten())) * (1 + 1e-14)
        with torch.no_grad():
            computed = step.module(x[None])[0]
            theirs = module(x[None])[0]
        exact = np.array(exactly(rational(x.flatten())))
        for found in (computed, theirs):
            assert covers(step.module.local_error(shape, norm), rational(found.flatten()) - exact)
        assert covers(step.module.norm_after(shape, norm), exact)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("keys", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_are_bounded_on_every_size_and_so_is_their_rounding(keys, bias):
    conv = filled(nn.Conv2d(2, 3, bias=bias, **keys))
    ratios = []
    for side in (4, 5, 7):
        exact, tight = bound_above_matrix(conv, (2, side, side + 1))
        ratios.append(tight / exact)
    assert min(ratios) < 2
    shape = (2, 4, 5)
    plain = filled(nn.Conv2d(2, 3, bias=False, **keys))
    with torch.no_grad():
        plain.weight.copy_(conv.weight)
    matrix = dense_matrix(plain, shape)
    offset = np.repeat(rational(conv.bias), len(matrix) // 3) if bias else Fraction(0)
    check_rounding(conv, lambda x: times(matrix, x) + offset, shape)


@pytest.mark.parametrize("name", sorted(LINEAR))
def test_linear_maps_without_weights_are_bounded_and_so_is_their_rounding(name):
    module = LINEAR[name]().double().eval()
    for shape in ((4, 6, 6), (1, 4, 8)):
        exact, tight = bound_above_matrix(module, shape)
        assert tight <= exact * 2
        if "average" in name:
            continue  # a matrix of ninths is not exact
        matrix = dense_matrix(module, shape)
        check_rounding(module, lambda x, m=matrix: times(m, x), shape)


def test_rounding_of_averages_is_covered():
    for kernel, stride in ((2, 2), (3, 1), (3, 2)):
        pool = nn.AvgPool2d(kernel, stride)
        side = (7 - kernel) // stride + 1

        def exactly(x, kernel=kernel, stride=stride, side=side):
            grid = [x[7 * row : 7 * row + 7] for row in range(7)]
            rows = [stride * k for k in range(side)]
            return [
                sum(sum(line[c : c + kernel]) for line in grid[r : r + kernel]) / kernel**2
                for r in rows
                for c in rows
            ]

        check_rounding(pool, exactly, (1, 7, 7))


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [(2, 2, 1), (3, 3, 1), (2, 3, 1), (3, 2, 2), (2, 1, 2), (3, 1, 3), ((3, 1), (1, 1), 3**0.5)],
)
def test_max_pools_stretch_by_the_windows_that_see_an_entry(kernel, stride, expected):
    pool = nn.MaxPool2d(kernel, stride)
    bound = lipschitz_bound(pool, tight=True)
    assert expected <= bound <= expected * (1 + 1e-14)
    images = torch.zeros(49, 1, 7, 7)
    images.view(49, 49).fill_diagonal_(1)
    attained = float(pool(images).flatten(1).norm(dim=1).max())
    assert attained <= bound * (1 + 1e-6)
    assert attained >= expected * (1 - 1e-6)
    for padded in (nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True)):
        pairs = torch.randn(2, 2000, 1, 6, 6).double()
        moved = (padded(pairs[0]) - padded(pairs[1])).flatten(1).norm(dim=1)
        assert bool((moved <= 2 * (pairs[0] - pairs[1]).flatten(1).norm(dim=1)).all())
        assert lipschitz_bound(padded) == 2


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_bounded_by_its_largest_scale_and_so_is_its_rounding(affine):
    for norm, shape in ((nn.BatchNorm2d(3, affine=affine), (3, 2, 2)), (nn.BatchNorm1d(3), (3,))):
        filled(norm)
        exact, tight = bound_above_matrix(norm, shape)
        assert tight <= exact * (1 + 1e-14)
        numbers = [rational(t) for t in (norm.running_mean, norm.running_var)]
        weight = rational(norm.weight) if norm.affine else [Fraction(1)] * 3
        bias = rational(norm.bias) if norm.affine else [Fraction(0)] * 3

        def exactly(x, weight=weight, bias=bias, numbers=numbers, eps=norm.eps):
            each = len(x) // 3
            roots = [root(v + Fraction(eps)) for v in numbers[1]]
            return [
                (v - numbers[0][k // each]) / roots[k // each] * weight[k // each] + bias[k // each]
                for k, v in enumerate(x)
            ]

        for scale in (1e-8, 1.0, 1e8):
            check_rounding(norm, exactly, shape, scale)


def test_a_scale_that_is_lost_in_the_division_is_no_constant_map():
    norm = nn.BatchNorm1d(2).double().eval()
    with torch.no_grad():
        norm.weight.fill_(2.0**-1074)
        norm.running_var.fill_(1e10)
    assert float(norm.weight.detach()[0] / norm.running_var[0].sqrt()) == 0
    assert lipschitz_bound(norm, tight=True) > 0
    with torch.no_grad():
        norm.weight.zero_()
    assert lipschitz_bound(norm, tight=True) == 0


def root(x: Fraction) -> Fraction:
    """The square root to 40 digits."""
    guess = Fraction(float(x) ** 0.5)
    for _ in range(3):
        guess = (guess + x / guess) / 2
        guess = guess.limit_denominator(10**60)
    return guess


@pytest.mark.parametrize("slope", [0.0, 0.2, -0.5, 1.0, -1.0, 3.0, -7.0])
def test_leaky_relu_of_any_slope(slope):
    module = nn.LeakyReLU(slope)
    assert lipschitz_bound(module) == max(1, abs(slope))
    exact = Fraction(slope)
    check_rounding(module, lambda x: [v if v > 0 else exact * v for v in x], (6,))


def test_modules_do_in_a_certificate_what_they_do_in_evaluation():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.ReLU(inplace=True), nn.Dropout2d(0.9)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4, 6),
        nn.Tanh(),
        nn.Dropout(0.9),
        nn.Linear(6, 3),
    )
    net(torch.rand(50, 2, 8, 8))  # running statistics
    assert net.training
    images = torch.rand(9, 2, 8, 8)
    table = certify(net, images, [0] * 9, [])
    with torch.no_grad():
        scores = net.double().eval()(images.double())
    margin = scores[:, 0] - scores[:, 1:].amax(1)
    np.testing.assert_allclose(table["margin"], margin, atol=float(table["slack"].max()), rtol=0)


def test_the_last_linear_layer_is_taken_pair_by_pair():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3), nn.Dropout())
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
        net[0].bias.zero_()
        net[2].weight.copy_(torch.tensor([[1.0, 0], [0.75, 0], [0, 100]]))
        net[2].bias.copy_(torch.tensor([0.0, 0, -1000]))
    table = certify(net, torch.tensor([[0.8, 0.1]]), [0], [])
    assert table["margin"][0] == pytest.approx(0.2)
    assert table["radius"][0] == pytest.approx(0.8)  # sqrt2 |W| would leave 0.0014
