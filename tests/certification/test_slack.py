"""The declared rounding of whole networks against rational arithmetic on the same numbers."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify
from lipexp.certification.chain import steps_of
from lipexp.certification.inputs import Points
from lipexp.certification.passage import send
from lipexp.certification.slack import error_at, error_within, input_error, norm_bound
from lipexp.layers import LipschitzResidual
from lipexp.layers.base import LipschitzAffine
from tests.certification.drawn_networks import drawn_convnet, drawn_mlp, linear
from tests.exact import covers, exact_scores, rational, size_of
from tests.strategies import seeds

RATIONAL = [a for a in ACTIVATIONS if a != "tanh"]
CPU = torch.device("cpu")


def numbers(generator, scale: float, bias: float):
    """What weights and biases are drawn from."""
    return (
        lambda shape: generator.standard_normal(shape) * scale ** generator.integers(-1, 2),
        lambda shape: generator.standard_normal(shape) * bias,
    )


def check_slack(net: nn.Module, images: torch.Tensor) -> None:
    """Scores are within the declared error, at the points and for any point of the box: in batches,
    alone, and with the terms of every sum over units or channels in another order.
    """
    labels = [0] * len(images)
    steps = steps_of(net)
    passage = send(steps, Points(images, labels, scale=1.0, box=False), CPU)
    inputs = images[0].numel()
    declared = error_at(steps, passage.shapes, passage.norms, input_error(passage.sizes, inputs))
    everywhere = error_within(
        steps, passage.shapes, passage.sizes, input_error(passage.sizes, inputs)
    )
    assert bool((everywhere >= declared * (1 - 1e-12)).all())  # the norm is all that it knows
    table = certify(net, images, labels, [], box=False)
    for k, image in enumerate(images):
        exact = exact_scores(net, image)
        with torch.no_grad():
            alone = through(steps, image[None], torch.arange)
            shuffled = [through(steps, image[None], shuffles(seed))[0] for seed in range(3)]
        for computed in (passage.scores[k], *alone, *shuffled):
            assert covers(float(declared[k]), rational(computed) - exact)
        margin = exact[0] - max(exact[1:])
        assert abs(float(margin - Fraction(float(table["margin"][k])))) <= table["slack"][k]


def shuffles(seed: int):
    """terms -> one order of so many after the other."""
    return partial(torch.randperm, generator=torch.Generator().manual_seed(seed))


def through(steps, x, order):
    """The scores of a batch, every sum over ``terms`` units or channels in ``order(terms)``."""
    for step in steps:
        module = step.module
        if isinstance(module, LipschitzAffine):
            weight = module.in_use()
            place = order(weight.shape[1])
            x = module.apply_weight(weight[:, place], x[:, place], module.bias)
        elif isinstance(module, LipschitzResidual):
            branch = module.in_use()
            place = order(branch.inner.shape[1])
            hidden = module.apply_inner(branch.inner[:, place], x[:, place], branch.bias)
            hidden = module.activation.at_scale(branch.scale)(hidden)
            place = order(branch.outer.shape[1])
            x = x - module.apply_outer(branch.outer[:, place], hidden[:, place])
        else:
            x = module(x)
    return x


@settings(max_examples=60, deadline=None)
@given(seed=seeds, scale=st.integers(-60, 60), bias=st.integers(-20, 60))
def test_slack_covers_the_rounding_of_dense_networks(seed, scale, bias):
    generator = np.random.default_rng(seed)
    net, shape = drawn_mlp(generator, *numbers(generator, 2.0**scale, 2.0**bias), RATIONAL)
    images = generator.random((3, *shape)) * 2.0 ** generator.integers(-60, 20)
    check_slack(net, torch.from_numpy(images))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, scale=st.integers(-60, 60), bias=st.integers(-20, 60))
def test_slack_covers_the_rounding_of_convolutions(seed, scale, bias):
    generator = np.random.default_rng(seed)
    drawn = numbers(generator, 2.0**scale, 2.0**bias)
    net, shape = drawn_convnet(generator, *drawn, RATIONAL, sides=(2, 4), most=32)
    check_slack(net, torch.from_numpy(generator.random((2, *shape))))


def test_slack_covers_rounding_that_every_summation_order_makes():
    # Sums of 2^53 and ones in any order lose up to all of the ones.
    row = [2.0**53, *[1.0] * 12, -(2.0**53)]
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(14)
        net = nn.Sequential(linear(np.stack([np.array(row)[order], np.zeros(14)])))
        check_slack(net, torch.ones(1, 14, dtype=torch.float64))


def test_the_image_that_is_meant_is_k_over_255_and_not_the_float_next_to_it():
    # Scores of exactly known size: one pixel times 255 x 2^52, less k x 2^52, is 0 in exact
    # arithmetic, and the pixel's rounding is all that the difference shows.
    big = 2.0**52
    for k in (1, 7, 77, 254):
        net = nn.Sequential(linear([[255 * big], [0.0]], [-k * big, 0.0]))
        table = certify(net, np.array([[k]], dtype=np.uint8), [0], [])
        assert abs(table["margin"][0]) <= table["slack"][0]


def test_pixels_that_are_the_scores_have_the_rounding_of_k_over_255_in_their_slack():
    # No layer rounds here: all that is off is the division of the images.
    pairs = np.array([(k, k - 1) for k in range(1, 256)], dtype=np.uint8)
    table = certify(nn.Flatten(), pairs, [0] * 255, [])
    off = [abs(Fraction(1, 255) - Fraction(margin)) for margin in table["margin"]]
    assert max(off) > 4 * Fraction(1, 2**53) / 255  # more than forming the margin explains
    assert all(e <= Fraction(slack) for e, slack in zip(off, table["slack"], strict=True))


@pytest.mark.parametrize("size", [0.0, 5e-324, 1e-200, 1e-130, 1.0, 1e149, 1e200, 1e300])
def test_norms_are_bounded_at_any_scale(size):
    rows = torch.from_numpy(np.random.default_rng(0).random((20, 7))) * size
    for row, bound in zip(rows, norm_bound(rows), strict=True):
        exact = size_of(rational(row))
        assert exact <= float(bound)
        assert float(bound) <= exact * (1 + 1e-13) + 2.0**-999


def test_norm_of_what_is_not_finite_is_not_finite_and_leaves_the_other_rows_alone():
    rows = torch.tensor([[3.0, 4], [torch.nan, 1], [torch.inf, 1], [1, 0]], dtype=torch.float64)
    bounds = norm_bound(rows)
    assert bounds[[0, 3]].tolist() == pytest.approx([5, 1])
    assert not bool((bounds[1:3] <= 1e308).any())
