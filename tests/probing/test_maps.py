"""Linear maps up and down: what is pulled back is the transpose; and what is kept for it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.layers.plumbing import (
    FirstChannels,
    FirstFeatures,
    Flatten,
    PadChannels,
    PadSides,
    PixelUnshuffle,
    SumPool,
    ZeroPad,
)
from lipexp.layers.windows import MODES, Window
from lipexp.probing import maps
from lipexp.probing.maps import Convolutions, Matrices, pulled_through, through
from lipexp.probing.segments import segments
from tests.strategies import seeds


def whole(generator, *shape):
    """Small whole numbers: sums of their products are exact in any order."""
    return torch.randint(-4, 5, shape, generator=generator).double()


def assert_transposed(weights, x, y):
    """<y, W x> = <W^T y, x> = <dL/dW, W>, network by network, all exactly."""
    stack = weights.kernels if isinstance(weights, Convolutions) else weights.weight
    products = [
        (y * weights(x), "up"),
        (weights.transposed(y, x.shape[2:]) * x, "down"),
        (weights.weight_gradient(y, x) * stack, "gradient"),
    ]
    expected = products[0][0].flatten(1).sum(1)
    for product, name in products:
        assert torch.equal(product.flatten(1).sum(1), expected), name


@st.composite
def windows(draw):
    side, mode = draw(st.integers(1, 4)), draw(st.sampled_from(MODES))
    padding = "same" if mode == "circular" else draw(st.sampled_from(["same", 0, 1, 3]))
    return Window.of(side, stride=draw(st.integers(1, 3)), padding=padding, mode=mode)


@settings(max_examples=80, deadline=None)
@given(window=windows(), height=st.integers(4, 7), width=st.integers(4, 7), seed=seeds)
def test_convolutions_and_their_weight_gradients_are_transposes(window, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    kernels = whole(generator, 2, 3, 2, window.side, window.side)
    x = whole(generator, 2, 5, 2, height, width)

    def apply(kernel, images):
        return window(images, kernel)

    for known in (window, None):
        weights = Convolutions(kernels, apply, known)
        out = weights(x)
        one = torch.stack([window(images, k) for images, k in zip(x, kernels, strict=True)])
        assert torch.equal(out, one)
        assert_transposed(weights, x, whole(generator, *out.shape))


def test_matrices_and_their_weight_gradients_are_transposes():
    generator = torch.Generator().manual_seed(0)
    weights = Matrices(whole(generator, 2, 3, 4))
    assert_transposed(weights, whole(generator, 2, 5, 4), whole(generator, 2, 5, 3))


def test_images_in_parts_are_the_images_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    window = Window.of(3)
    weights = Convolutions(whole(generator, 1, 3, 2, 3, 3), lambda k, x: window(x, k), window)
    x, y = whole(generator, 1, 7, 2, 6, 6), whole(generator, 1, 7, 3, 6, 6)
    sizes = []
    at_once = weights(x), weights.transposed(y, x.shape[2:]), weights.weight_gradient(y, x)
    weights._apply = lambda kernel, part: sizes.append(len(part)) or window(part, kernel)
    monkeypatch.setattr(maps, "COLUMN_BYTES", 3 * 2 * 9 * 36 * 8)
    in_parts = weights(x), weights.transposed(y, x.shape[2:]), weights.weight_gradient(y, x)
    assert sizes == [3, 3, 1]
    for one, other in zip(at_once, in_parts, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("modules", "shape"),
    [
        ([FirstChannels(3), PixelUnshuffle(2)], (6, 4, 4)),
        ([SumPool(2), Flatten()], (2, 4, 4)),
        ([PadChannels(2, 5), PadSides(5, 6)], (2, 4, 4)),
        ([FirstFeatures(2)], (5,)),
        ([ZeroPad(5, 8)], (5,)),
        ([], (2, 4, 4)),
    ],
    ids=["half", "pool", "pad", "scores", "zeros", "none"],
)
def test_plumbing_is_pulled_back_by_its_transpose(modules, shape):
    generator = torch.Generator().manual_seed(0)
    x = 4 * whole(generator, 2, 3, *shape)
    out = through(modules, x)
    for network, images in zip(out, x, strict=True):
        alone = images
        for module in modules:
            alone = module(alone)
        assert torch.equal(network, alone)
    y = 4 * whole(generator, *out.shape)
    back = pulled_through(modules, y, shape)
    assert back.shape == x.shape
    assert torch.equal((back * x).flatten(1).sum(1), (y * out).flatten(1).sum(1))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=60), budget=st.integers(0, 500))
def test_segments_cover_all_rows_in_order_within_the_budget(sizes, budget):
    found = segments(sizes, budget)
    assert [row for part in found for row in part] == list(range(1, len(sizes) + 1))
    held = [sum(sizes[row - 1] for row in part) for part in found]
    # Of layers of one size s: at least ceil(sqrt(depth)) s, so the starts need no more than that.
    floor = (sum(sizes) * max(sizes)) ** 0.5 + max(sizes)
    assert max(held) <= max(budget, floor)
    for part, kept in zip(found[:-1], held[1:], strict=True):
        assert kept + sizes[part[-1] - 1] > max(budget, floor - max(sizes))


def test_layers_of_one_size_are_kept_in_parts_of_the_budget_or_of_the_root_of_depth():
    assert segments([10] * 17, 0) == [range(1, 3), range(3, 8), range(8, 13), range(13, 18)]
    assert segments([10] * 17, 100) == [range(1, 8), range(8, 18)]
    assert segments([10] * 17, 170) == [range(1, 18)]
    assert segments([10, 10, 10, 10, 1, 1], 0) == [range(1, 3), range(3, 7)]
