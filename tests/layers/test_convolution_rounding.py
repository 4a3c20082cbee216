"""Declared rounding errors of maps of images against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.layers import Centre, SumPool
from lipexp.lipschitz import safe_norm
from tests.exact import covers, exactly, rational
from tests.strategies import CONVOLUTION_CHOICES, describe, draw_q, make_convolution, seeds

every_convolution = pytest.mark.parametrize("choice", CONVOLUTION_CHOICES, ids=describe)


def norm_of(x: torch.Tensor) -> float:
    """A number that the norm of x does not exceed, among subnormal numbers too."""
    return math.nextafter(float(safe_norm(x.flatten())) * (1 + 1e-14), math.inf)


@every_convolution
@settings(max_examples=15, deadline=None)
@given(
    seed=seeds,
    side=st.sampled_from((1, 2, 3, 5)),
    mode=st.sampled_from(("zeros", "circular")),
    stride=st.sampled_from((1, 2)),
    exponent=st.integers(-40, 40),
    bias_exponent=st.integers(-20, 60),
    x_exponent=st.integers(-80, 20),
)
def test_local_error_of_a_convolution_covers_its_rounding(
    choice, seed, side, mode, stride, exponent, bias_exponent, x_exponent
):
    name, keys = choice
    generator = np.random.default_rng(seed)
    inputs, outputs, height, width = (int(n) for n in generator.integers(1, 4, 4))
    window = {"padding_mode": mode}
    if name != "sll":
        window["stride"] = stride
    kernel = generator.standard_normal((outputs, inputs, side, side)) * 2.0**exponent
    bias = generator.standard_normal(outputs) * 2.0**bias_exponent
    layer = make_convolution(name, keys, inputs, outputs, kernel, bias, **window)
    draw_q(layer, seed)
    x = generator.standard_normal((inputs, height, width)) * 2.0**x_exponent
    x = torch.from_numpy(x)
    norm = norm_of(x)
    computed = layer(x[None])[0].detach()
    truth = exactly(layer, rational(x))
    assert covers(layer.local_error(x.shape, norm), rational(computed) - truth)
    assert covers(layer.norm_after(x.shape, norm), truth)


@pytest.mark.parametrize(
    ("size", "signal"), [(1e-200, 1e-150), (1e-300, 1e-10), (1e-250, 1e-60), (1e-160, 1e-160)]
)
def test_local_error_of_a_residual_block_covers_small_kernels(size, signal):
    kernel = np.zeros((2, 2, 3, 3))
    kernel[[0, 1], [0, 1], 1, 1] = size
    layer = make_convolution("sll", {}, 2, 2, kernel, np.zeros(2))
    x = torch.full((2, 2, 2), signal, dtype=torch.float64)
    computed = layer(x[None])[0].detach()
    norm = signal * 8**0.5 * (1 + 1e-15)
    rounding = rational(computed) - exactly(layer, rational(x))
    assert covers(layer.local_error(x.shape, norm), rounding)
    assert float(computed[0, 0, 0]) == pytest.approx(-signal)  # W = I turns positive inputs


def test_local_error_of_a_convolution_covers_products_that_underflow():
    # 2^-540 x 2^-540 is below the smallest float64; nine exact products are not 0.
    kernel = np.full((1, 1, 3, 3), 2.0**-540)
    layer = make_convolution("linear", {}, 1, 1, kernel, np.zeros(1))
    x = torch.full((1, 3, 3), 2.0**-540, dtype=torch.float64)
    computed = layer(x[None])[0].detach()
    assert not bool(computed.any())
    truth = exactly(layer, rational(x))
    assert truth[0, 1, 1] == Fraction(9, 2**1080)
    assert covers(layer.local_error(x.shape, 3 * 2.0**-540), truth)


def test_the_bias_of_a_convolution_counts_once_for_every_output():
    # Bias alone, on zeros: the output's norm is |b| sqrt(outputs of one channel).
    for stride, padding, outputs in ((1, "same", 30), (2, "same", 9), (1, 0, 12), (2, 3, 25)):
        layer = make_convolution(
            "aol", {}, 1, 1, np.ones((1, 1, 3, 3)), np.ones(1), stride=stride, padding=padding
        )
        y = layer(torch.zeros(1, 1, 5, 6).double())
        assert y.numel() == outputs
        assert layer.norm_after((1, 5, 6), 0.0) == pytest.approx(outputs**0.5, rel=1e-13)
        assert layer.norm_after((1, 5, 6), 0.0) >= outputs**0.5


@settings(max_examples=30, deadline=None)
@given(seed=seeds, side=st.sampled_from((1, 2, 3, 4)), exponent=st.integers(-1070, 500))
def test_local_error_of_pooling_covers_its_rounding(seed, side, exponent):
    x = np.ldexp(np.random.default_rng(seed).standard_normal((2, 2 * side, side)), exponent)
    # Neighbours of very different size are where sums round.
    x *= 2.0 ** np.random.default_rng(seed).integers(-40, 1, x.shape)
    x = torch.from_numpy(x)
    pool = SumPool(side)
    blocks = rational(x).reshape(2, 2, side, 1, side)
    truth = blocks.sum((2, 4)) / side
    norm = norm_of(x)
    assert covers(pool.local_error(x.shape, norm), rational(pool(x[None])[0]) - truth)
    assert covers(pool.norm_after(x.shape, norm), truth)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, exponent=st.integers(-60, 60))
def test_local_error_of_centring_covers_its_rounding_and_its_offset(seed, exponent):
    generator = np.random.default_rng(seed)
    mean = tuple(generator.standard_normal(2) * 2.0**exponent)
    x = torch.from_numpy(generator.standard_normal((2, 3, 2)))
    centre = Centre(mean, (2, 3, 2))
    truth = rational(x) - rational(np.array(mean))[:, None, None]
    norm = norm_of(x)
    assert covers(centre.local_error(x.shape, norm), rational(centre(x[None])[0]) - truth)
    assert covers(centre.norm_after(x.shape, norm), truth)
