"""Bounds of convolutions against the dense matrix that each is on images of one size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.inits import INITS
from lipexp.layers import CONVOLUTIONS, SLLConv2d
from lipexp.layers.windows import Window, flipped
from tests.exact import (
    ORACLE,
    branch_matrices,
    dense_matrix,
    exact_norm,
    norms,
    residual_jacobians,
    weight_matrix,
    worst_slopes,
)
from tests.strategies import (
    CONVOLUTION_CHOICES,
    describe,
    draw_q,
    kernels,
    make_convolution,
    seeds,
    windows,
)

AFFINE = [c for c in CONVOLUTION_CHOICES if not CONVOLUTIONS.fact(c[0], "residual")]
RESIDUAL = [c for c in CONVOLUTION_CHOICES if CONVOLUTIONS.fact(c[0], "residual")]

channels = st.integers(1, 4)


@pytest.mark.parametrize("choice", AFFINE, ids=describe)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), inputs=channels, outputs=channels, seed=seeds)
def test_norm_of_a_convolution_on_any_image_never_exceeds_the_bound(
    choice, data, inputs, outputs, seed
):
    name, keys = choice
    side, window, height, width = data.draw(windows())
    kernel = data.draw(kernels(outputs, inputs, side))
    layer = make_convolution(name, keys, inputs, outputs, kernel, **window)
    draw_q(layer, seed, data.draw(st.sampled_from((3.0, 300.0))))
    exact = exact_norm(weight_matrix(layer, (inputs, height, width)))
    assert exact <= layer.lipschitz_bound() * (1 + ORACLE)
    assert exact <= layer.lipschitz_bound(tight=True) * (1 + ORACLE)
    assert layer.lipschitz_bound() >= 1
    if name != "linear":
        assert layer.lipschitz_bound() <= 1 + 1e-8


@pytest.mark.parametrize("choice", RESIDUAL, ids=describe)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), inputs=channels, hidden=channels, seed=seeds)
def test_kappa_of_a_residual_block_on_any_image_never_exceeds_its_bound(
    choice, data, inputs, hidden, seed
):
    name, keys = choice
    side, window, height, width = data.draw(windows(residual=True))
    kernel = data.draw(kernels(hidden, inputs, side))
    layer = make_convolution(name, keys, inputs, hidden, kernel, **window)
    draw_q(layer, seed, data.draw(st.sampled_from((3.0, 300.0))))
    _, rows, t = layer._scaled()
    root = t.detach().sqrt().repeat_interleave(height * width)
    inner = dense_matrix(lambda x: layer.apply_inner(rows, x), (inputs, height, width))
    assert exact_norm(root[:, None] * inner) ** 2 <= layer._kappa() * (1 + 2 * ORACLE)
    assert 1 <= layer.lipschitz_bound() <= 1 + 1e-8


@pytest.mark.parametrize("choice", RESIDUAL, ids=describe)
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), inputs=st.integers(1, 3), side=st.sampled_from((1, 2, 3, 5)), seed=seeds)
def test_no_pattern_of_slopes_stretches_a_residual_block_beyond_its_bound(
    choice, mode, data, inputs, side, seed
):
    name, keys = choice
    hidden, height, width = data.draw(
        st.sampled_from([(1, 2, 3), (2, 1, 3), (3, 2, 1), (2, 2, 2), (1, 1, 7), (7, 1, 1)])
    )
    kernel = data.draw(kernels(hidden, inputs, side))
    layer = make_convolution(name, keys, inputs, hidden, kernel, padding_mode=mode)
    draw_q(layer, seed)
    inner, outer = branch_matrices(layer, (inputs, height, width))
    assert worst_slopes(inner, outer) <= layer.lipschitz_bound() * (1 + ORACLE)


@settings(max_examples=80, deadline=None)
@given(window=windows(residual=True), inputs=channels, outputs=channels, seed=seeds)
def test_outer_is_the_transpose_of_inner_to_the_bit(window, inputs, outputs, seed):
    side, keys, height, width = window
    layer = SLLConv2d(inputs, outputs, side, **keys, init=None, dtype=torch.float64)
    # Whole numbers: a small torus adds several taps, in whatever order, without rounding.
    kernel = torch.from_numpy(np.random.default_rng(seed).integers(-9, 10, layer.free_shape) * 1.0)
    inner = dense_matrix(lambda x: layer.apply_inner(kernel, x), (inputs, height, width))
    outer = dense_matrix(lambda h: layer.apply_outer(flipped(kernel), h), (outputs, height, width))
    assert torch.equal(outer, inner.mT)


@settings(max_examples=80, deadline=None)
@given(window=windows(), inputs=channels, outputs=channels, seed=seeds)
def test_a_window_is_the_sum_over_taps_that_it_says(window, inputs, outputs, seed):
    side, keys, height, width = window
    generator = np.random.default_rng(seed)
    x = generator.integers(-9, 10, (inputs, height, width)) * 1.0
    kernel = generator.integers(-9, 10, (outputs, inputs, side, side)) * 1.0
    stride, padding = keys["stride"], keys.get("padding", "same")
    before, after = (padding, padding) if padding != "same" else ((side - 1) // 2, side // 2)
    if keys["padding_mode"] == "circular":
        rows, columns = ((np.arange(-before, n + after) % n) for n in (height, width))
        padded = x[:, rows][:, :, columns]
    else:
        padded = np.zeros((inputs, height + before + after, width + before + after))
        padded[:, before : before + height, before : before + width] = x
    patches = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))
    expected = np.einsum("oiab,ihwab->ohw", kernel, patches)[:, ::stride, ::stride]
    slide = Window.of(side, stride=stride, padding=padding, mode=keys["padding_mode"])
    found = slide(torch.from_numpy(x), torch.from_numpy(kernel))
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("side", [1, 2, 3, 5])
@pytest.mark.parametrize("init", ["orthogonal", "identity"])
@pytest.mark.parametrize("choice", AFFINE, ids=describe)
def test_orthogonal_and_dirac_kernels_are_isometries_and_their_bounds_say_so(
    choice, init, side, mode
):
    name, keys = choice
    kernel = INITS[init]((4, 4, side, side), np.random.default_rng(0))
    layer = make_convolution(name, keys, 4, 4, kernel, padding_mode=mode)
    matrix = weight_matrix(layer, (4, 5, 3))
    torch.testing.assert_close(matrix.mT @ matrix, torch.eye(60).double(), rtol=0, atol=1e-13)
    assert 1 <= layer.lipschitz_bound() <= 1 + 1e-9
    assert abs(layer.lipschitz_bound(tight=True) - 1) <= 1e-9


@pytest.mark.parametrize("rows", [False, True])
def test_a_kernel_without_signs_is_scaled_to_the_edge(rows):
    # On a torus constant images gain |sum of taps|, which is what the overlaps add up to.
    kernel = np.random.default_rng(0).random((3, 2, 3, 3))
    layer = make_convolution("aol", {"rows": rows}, 2, 3, kernel, padding_mode="circular")
    exact = exact_norm(weight_matrix(layer, (2, 5, 5)))
    assert exact == pytest.approx(1, abs=1e-13)
    small = make_convolution("aol", {"rows": rows}, 2, 3, kernel)  # zeros: below, and growing
    growing = [exact_norm(weight_matrix(small, (2, n, n))) for n in (1, 2, 4, 8)]
    assert growing == sorted(growing)
    assert growing[-1] < 1


def test_padding_that_repeats_pixels_would_double_the_norm_and_is_refused():
    for mode in ("reflect", "replicate"):
        with pytest.raises(ValueError, match="one of zeros, circular"):
            CONVOLUTIONS["aol"](2, 2, 3, padding_mode=mode)
    with pytest.raises(ValueError, match="needs padding='same'"):
        CONVOLUTIONS["aol"](2, 2, 3, padding=2, padding_mode="circular")
    for wrong in (-1, True, "valid", 1.0):
        with pytest.raises(ValueError, match="'same' or a whole number"):
            CONVOLUTIONS["aol"](2, 2, 3, padding=wrong)
    for side, stride in ((0, 1), (3, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            CONVOLUTIONS["aol"](2, 2, side, stride)


@pytest.mark.parametrize("choice", CONVOLUTION_CHOICES, ids=describe)
def test_a_float32_convolution_is_bounded_by_its_float64_copy(choice):
    name, keys = choice
    kernel = np.random.default_rng(0).standard_normal((3, 3, 3, 3))
    layer = make_convolution(name, keys, 3, 3, kernel, dtype=torch.float32)
    stored = layer.free_weight.detach().double().numpy()
    wide = make_convolution(name, keys, 3, 3, stored)
    if layer.draws_own:
        with torch.no_grad():
            wide.log_q.copy_(layer.log_q)
    for tight in (False, True):
        assert layer.lipschitz_bound(tight=tight) == wide.lipschitz_bound(tight=tight)


@pytest.mark.parametrize("choice", CONVOLUTION_CHOICES, ids=describe)
def test_the_bound_of_a_convolution_survives_optimiser_steps(choice):
    torch.manual_seed(0)
    name, keys = choice
    layer = CONVOLUTIONS[name](3, 3, kernel_size=3, **keys, dtype=torch.float64)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    x, y = torch.randn(2, 16, 3, 4, 4).double()
    residual = CONVOLUTIONS.fact(name, "residual")
    for _ in range(8):
        optimiser.zero_grad()
        (layer(x) - 5 * y).square().mean().backward()
        optimiser.step()
        exact = None if residual else exact_norm(weight_matrix(layer, (3, 4, 4)))
        if residual:
            inner, outer = branch_matrices(layer, (3, 4, 4))
            slopes = (torch.rand(20, len(inner)) < 0.5).double()
            exact = float(norms(residual_jacobians(inner, outer, slopes)).max())
        assert exact <= layer.lipschitz_bound(tight=True) * (1 + ORACLE)
        assert name == "linear" or layer.lipschitz_bound() <= 1 + 1e-8
