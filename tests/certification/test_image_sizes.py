"""Convolutions on images of a known size: the torus that they lie on, and bounds that know it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lipexp.certification import certify, lipschitz_bound
from lipexp.certification.chain import steps_of
from lipexp.layers import CONVOLUTIONS, AOLConv2d
from lipexp.layers.bounds import convolution_norm
from lipexp.layers.windows import Window
from tests.certification.drawn_networks import linear
from tests.exact import ORACLE, dense_matrix, exact_norm, weight_matrix
from tests.strategies import draw_q, kernels, make_convolution, seeds, windows

HAT = np.outer([-1.0, 2.0, -1.0], [-1.0, 2.0, -1.0]) / 16


def norm_on(window: Window, kernel: torch.Tensor, height: int, width: int) -> float:
    shape = (kernel.shape[1], height, width)
    return exact_norm(dense_matrix(lambda x: window(x, kernel), shape))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), window=windows(), inputs=st.integers(1, 4), outputs=st.integers(1, 4))
def test_the_norm_on_an_image_is_at_most_that_of_its_torus(data, window, inputs, outputs):
    side, keys, height, width = window
    kernel = torch.from_numpy(data.draw(kernels(outputs, inputs, side)))
    mode, stride = keys["padding_mode"], keys["stride"]
    slide = Window.of(side, stride=stride, padding=keys.get("padding", "same"), mode=mode)
    exact = norm_on(slide, kernel, height, width)
    assert exact <= convolution_norm(kernel, slide.torus(height, width)) * (1 + ORACLE)


@pytest.mark.parametrize("side", [2, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 4), (7, 5), (8, 8)])
def test_a_ring_of_the_images_size_is_exact_and_one_of_more_than_zeros_need_is_close(side, size):
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (3, 2), (2, 4)):
        kernel = torch.from_numpy(generator.standard_normal((*shape, side, side)))
        ring = Window.of(side, mode="circular")
        assert ring.torus(*size) == size
        exact = norm_on(ring, kernel, *size)
        assert exact <= convolution_norm(kernel, size) * (1 + ORACLE)
        assert convolution_norm(kernel, size) <= exact * (1 + 3e-4)  # 14 squarings of 8 numbers
        assert Window.of(side).torus(*size) == tuple(n + side // 2 for n in size)


def test_three_pixels_lie_on_a_torus_of_four_and_not_on_one_of_three():
    kernel = torch.from_numpy(HAT)[None, None]
    window = Window.of(3)
    assert window.torus(3, 3) == (4, 4)
    exact = norm_on(window, kernel, 3, 3)
    assert exact == pytest.approx(0.728553, abs=1e-6)
    assert convolution_norm(kernel, (3, 3)) < 0.57 < exact  # the ring of three pixels: 0.5625
    assert exact <= convolution_norm(kernel, window.torus(3, 3)) <= 1 + 1e-9


def test_a_torus_of_one_less_than_zeros_need_is_too_small_somewhere():
    generator = np.random.default_rng(0)
    short = 0
    for _ in range(200):
        kernel = torch.from_numpy(generator.standard_normal((1, 1, 3, 3)))
        for n in (2, 3):
            exact = norm_on(Window.of(3), kernel, n, n)
            assert exact <= convolution_norm(kernel, (n + 1, n + 1)) * (1 + ORACLE)
            short += exact > convolution_norm(kernel, (n, n))
    assert short > 0


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=seeds, height=st.integers(1, 7), width=st.integers(1, 7))
def test_a_step_that_knows_its_images_has_a_smaller_bound_that_holds(data, seed, height, width):
    name = data.draw(st.sampled_from([n for n in CONVOLUTIONS if n != "sll"]))
    mode = data.draw(st.sampled_from(("zeros", "circular")))
    side = data.draw(st.sampled_from((1, 2, 3)))
    kernel = data.draw(kernels(2, 3, side))
    layer = draw_q(make_convolution(name, {}, 3, 2, kernel, padding_mode=mode), seed)
    (step,) = steps_of(nn.Sequential(layer))
    before = step.tight
    exact = exact_norm(weight_matrix(layer, (3, height, width)))
    if not 1e-150 < exact < 1e150:
        return
    step.check_range((3, height, width))
    assert exact <= step.tight * (1 + ORACLE)
    assert step.tight <= before
    assert max(1.0, step.tight) <= step.bound


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (9, 3)])
@pytest.mark.parametrize(
    "keys",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": 2},
        {"kernel_size": 3, "padding": 5},
        {"kernel_size": 3},
        {"kernel_size": (3, 2), "padding": (1, 0), "stride": (1, 2)},
        {"kernel_size": (1, 3), "padding": "same"},
        {"kernel_size": 4, "padding": "same"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": (3, 2), "padding": "same", "padding_mode": "circular"},
    ],
    ids=str,
)
def test_torchs_convolutions_know_their_images_too(keys, size):
    if keys["kernel_size"] == 4 and min(size) < 4:
        size = (4, 5)
    torch.manual_seed(0)
    for _ in range(5):
        conv = nn.Conv2d(2, 3, bias=False, dtype=torch.float64, **keys)
        (step,) = steps_of(nn.Sequential(conv))
        free = step.tight
        step.check_range((2, *size))
        exact = exact_norm(dense_matrix(conv, (2, *size)))
        assert exact <= step.tight * (1 + ORACLE)
        assert step.tight <= free
        assert step.bound == max(1.0, step.tight)


def test_a_bound_that_a_plugin_wrote_is_not_replaced():
    class Wider(AOLConv2d):
        def forward(self, x):
            return 5 * super().forward(x)

        def lipschitz_bound(self, tight=False):
            return 5 * super().lipschitz_bound(tight)

        def local_error(self, shape, norm):
            return 6 * super().local_error(shape, norm)

        def norm_after(self, shape, norm):
            return 5 * super().norm_after(shape, norm)

    (step,) = steps_of(nn.Sequential(Wider(1, 1, 3, dtype=torch.float64)))
    step.check_range((1, 4, 4))
    assert step.tight >= 5 * (1 - 1e-9)


def test_certificates_of_small_images_gain_by_it_and_the_bound_of_any_image_stays():
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 4, 3, padding=1, dtype=torch.float64)
    net = nn.Sequential(conv, nn.Flatten(), linear(np.eye(16)[:3]))
    before = lipschitz_bound(net, tight=True)
    table = certify(net, torch.rand(5, 1, 2, 2), [0] * 5, [])
    assert table.attrs["lipschitz_upper_bound_tight"] < 0.96 * before
    assert lipschitz_bound(net, tight=True) == before
    exact = exact_norm(dense_matrix(lambda x: conv(x) - conv(0 * x), (1, 2, 2)))
    assert exact <= table.attrs["lipschitz_upper_bound_tight"] * (1 + ORACLE)
