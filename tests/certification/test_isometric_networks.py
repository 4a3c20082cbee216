"""Networks that keep distances: the radius is the truth to nine digits, seen from both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify
from tests.certification.drawn_networks import linear

WIDTH, CLASSES, POINTS = 32, 10, 300
INSIDE, OUTSIDE = 1 - 1e-9, 1.0001


def haar(generator, rows: int, columns: int) -> np.ndarray:
    q, r = np.linalg.qr(generator.standard_normal((columns, columns)))
    return (q * np.sign(np.diag(r)))[:rows]


def isometric(activation: str, layers: int = 4, head=None) -> nn.Sequential:
    """Orthogonal layers and a head of orthonormal rows, or any other ``head``."""
    generator = np.random.default_rng(0)
    modules = []
    for _ in range(layers):
        modules.append(linear(haar(generator, WIDTH, WIDTH), generator.standard_normal(WIDTH) / 9))
        modules.append(ACTIVATIONS[activation]())
    head = haar(generator, CLASSES, WIDTH) if head is None else head
    return nn.Sequential(*modules, linear(head))


def points(net: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs near the middle of the box, and the classes they have."""
    images = 0.5 + 0.02 * torch.from_numpy(
        np.random.default_rng(1).standard_normal((POINTS, WIDTH))
    )
    with torch.no_grad():
        return images, net(images).argmax(1)


def broken(net, images, labels, radius, steps: int = 30) -> torch.Tensor:
    """Which inputs lose their class (a tie counts) to some x' at that distance, for each class.

    x' = x + r g / |g| with g the gradient of s_j - s_y, again and again at the last x': one step
    where the network is affine, a fixed point where it folds.
    """
    found = torch.zeros(len(images), dtype=torch.bool)
    for other in range(net(images[:1]).shape[1]):
        at = images.clone()
        for _ in range(steps):
            at.requires_grad_()
            scores = net(at)
            gain = scores[:, other] - scores.gather(1, labels[:, None])[:, 0]
            found |= (gain.detach() >= 0) & (labels != other)
            (gradient,) = torch.autograd.grad(gain.sum(), at)
            size = gradient.norm(dim=1, keepdim=True)
            step = gradient / torch.where(size > 0, size, 1.0)
            at = (images + radius[:, None] * step).detach()
            assert bool((at >= 0).all() and (at <= 1).all())
    return found


def check_isometric(activation: str, least_outside: float, head=None) -> None:
    """Nothing breaks just inside the radius, and so many inputs do just outside."""
    net = isometric(activation, head=head)
    images, labels = points(net)
    table = certify(net, images, labels, [])
    radius = torch.tensor(table["radius_tight"].tolist(), dtype=torch.float64)
    assert bool((radius > 0).all())
    assert (table["radius"] <= table["radius_tight"]).all()
    assert int(broken(net, images, labels, radius * INSIDE).sum()) == 0
    assert int(broken(net, images, labels, radius * OUTSIDE).sum()) >= least_outside * POINTS


@pytest.mark.parametrize(
    ("activation", "share"), [("identity", 1.0), ("maxmin", 0.3), ("abs", 0.1)]
)
def test_no_input_breaks_inside_its_radius_and_many_do_just_outside(activation, share):
    check_isometric(activation, share)


def test_a_head_of_antipodal_unit_rows_is_tight_with_the_factor_two():
    # With sqrt2 instead of |w_y - w_j| = 2 the radius would be 1.41 times too large.
    row = haar(np.random.default_rng(2), 1, WIDTH)
    check_isometric("identity", 1.0, head=np.concatenate((row, -row)))


def test_a_head_of_near_rows_is_tight_where_sqrt2_would_give_much_away():
    rows = haar(np.random.default_rng(3), 3, WIDTH)
    rows[1] = 0.9 * rows[0] + 0.435889894354067 * rows[1]
    check_isometric("identity", 1.0, head=rows)
