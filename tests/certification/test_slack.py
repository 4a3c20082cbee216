"""The declared rounding of whole networks against rational arithmetic on the same numbers."""

from __future__ import annotations

from fractions import Fraction

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
from lipexp.layers import CONVOLUTIONS, LAYERS, Centre, FirstFeatures, Flatten, SumPool
from tests.certification.exact import exact_scores, linear, rational, size_of
from tests.strategies import CHOICES, make_layer, seeds

RATIONAL = [a for a in ACTIVATIONS if a != "tanh"]
CPU = torch.device("cpu")


def some(generator, names):
    return names[generator.integers(len(names))]


def drawn_mlp(generator, scale: float, bias: float) -> tuple[nn.Sequential, tuple[int, ...]]:
    inputs = size = int(generator.integers(1, 6))
    modules: list[nn.Module] = []
    for _ in range(generator.integers(1, 4)):
        name, keys = some(generator, CHOICES)
        residual = LAYERS.fact(name, "residual")
        rows = int(generator.integers(1, 6))
        weight = generator.standard_normal((rows, size)) * scale ** generator.integers(-1, 2)
        offset = generator.standard_normal(rows) * bias
        modules.append(make_layer(name, keys, size, rows, weight, offset))
        if not residual:
            fitting = [a for a in RATIONAL if rows % ACTIVATIONS.fact(a, "multiple", 1) == 0]
            modules.append(ACTIVATIONS[some(generator, fitting)]())
            size = rows
    modules.append(
        linear(generator.standard_normal((3, size)), generator.standard_normal(3) * bias)
    )
    if generator.integers(2):
        modules.append(FirstFeatures(2))
    return nn.Sequential(*modules), (inputs,)


def drawn_convnet(generator, scale: float, bias: float) -> tuple[nn.Sequential, tuple[int, ...]]:
    channels, side = int(generator.integers(1, 3)), int(generator.choice([2, 4]))
    shape = (channels, side, side)
    modules: list[nn.Module] = [Centre((0.3,) * channels, shape)]
    for _ in range(generator.integers(1, 3)):
        name = some(generator, list(CONVOLUTIONS))
        layer = CONVOLUTIONS[name](
            channels,
            2,
            int(generator.choice([1, 2, 3])),
            padding_mode=some(generator, ["zeros", "circular"]),
            init=None,
            dtype=torch.float64,
        )
        weight = generator.standard_normal(layer.free_shape) * scale ** generator.integers(-1, 2)
        layer.fill(weight, generator.standard_normal(2) * bias)
        modules.append(layer)
        if not CONVOLUTIONS.fact(name, "residual"):
            channels = 2
            modules.append(ACTIVATIONS[some(generator, RATIONAL)]().over_channels())
    modules += [SumPool(2), Flatten()]
    size = channels * (side // 2) ** 2
    modules.append(
        linear(generator.standard_normal((2, size)), generator.standard_normal(2) * bias)
    )
    return nn.Sequential(*modules), shape


def check_slack(net: nn.Module, images: torch.Tensor) -> float:
    """Scores are within the declared error, at the points and for any point of the box, in batches,
    alone, and with the inputs' numbers summed in other orders; returns the largest used share.
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
    used = 0.0
    with torch.no_grad():
        alone = torch.stack([_through(steps, image[None])[0] for image in images])
    for k, image in enumerate(images):
        exact = exact_scores(net, image)
        for computed in (passage.scores[k], alone[k]):
            error = size_of([a - b for a, b in zip(rational(computed), exact, strict=True)])
            assert error <= float(declared[k])
            used = max(used, error / float(declared[k]))
        margin = exact[0] - max(exact[1:])
        assert abs(float(margin - Fraction(float(table["margin"][k])))) <= table["slack"][k]
    return used


def _through(steps, x):
    for step in steps:
        x = step.module(x)
    return x


@settings(max_examples=60, deadline=None)
@given(seed=seeds, scale=st.integers(-60, 60), bias=st.integers(-20, 60))
def test_slack_covers_the_rounding_of_dense_networks(seed, scale, bias):
    generator = np.random.default_rng(seed)
    net, shape = drawn_mlp(generator, 2.0**scale, 2.0**bias)
    images = generator.random((3, *shape)) * 2.0 ** generator.integers(-60, 20)
    check_slack(net, torch.from_numpy(images))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, scale=st.integers(-60, 60), bias=st.integers(-20, 60))
def test_slack_covers_the_rounding_of_convolutions(seed, scale, bias):
    generator = np.random.default_rng(seed)
    net, shape = drawn_convnet(generator, 2.0**scale, 2.0**bias)
    check_slack(net, torch.from_numpy(generator.random((2, *shape))))


def test_slack_covers_rounding_that_every_summation_order_makes():
    # Sums of 2^53 and ones in any order lose up to all of the ones.
    row = [2.0**53, *[1.0] * 12, -(2.0**53)]
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(14)
        net = nn.Sequential(linear(np.stack([np.array(row)[order], np.zeros(14)])))
        used = check_slack(net, torch.ones(1, 14, dtype=torch.float64))
        assert used <= 1


def test_the_image_that_is_meant_is_k_over_255_and_not_the_float_next_to_it():
    # Scores of exactly known size: one pixel times 255 x 2^52, less k x 2^52, is 0 in exact
    # arithmetic, and the pixel's rounding is all that the difference shows.
    big = 2.0**52
    for k in (1, 7, 77, 254):
        net = nn.Sequential(linear([[255 * big], [0.0]], [-k * big, 0.0]))
        table = certify(net, np.array([[k]], dtype=np.uint8), [0], [])
        assert abs(table["margin"][0]) <= table["slack"][0]


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
