"""The certified norm of a convolution, and Gram iteration, against exact norms and oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.inits import INITS
from lipexp.layers.bounds import convolution_norm, gram_iteration_norm
from lipexp.layers.windows import Window
from tests.exact import ORACLE, dense_matrix, exact_norm
from tests.strategies import exponents, kernels, seeds, windows

SEVEN = np.array([[1.0, 2.0, 0.0], [-1.0, 3.0, 1.0], [0.0, 1.0, -2.0]])
HAT = np.outer([-1.0, 2.0, -1.0], [-1.0, 2.0, -1.0]) / 16


def kernel_of(taps) -> torch.Tensor:
    return torch.from_numpy(np.asarray(taps, dtype=float))[None, None]


def norm_on(kernel, shape, **window) -> float:
    mode = window.pop("padding_mode", "zeros")
    slide = Window.of(kernel.shape[-1], mode=mode, **window)
    return exact_norm(dense_matrix(lambda x: slide(x, kernel), (kernel.shape[1], *shape)))


def norm_on_a_torus(kernel, points) -> float:
    """The largest norm of the symbol on points x points frequencies: the circular norm there."""
    symbol = np.fft.fft2(kernel.numpy(), s=(points, points)).transpose(2, 3, 0, 1)
    return float(np.linalg.norm(symbol, 2, axis=(2, 3)).max())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), window=windows(), inputs=st.integers(1, 4), outputs=st.integers(1, 4))
def test_the_norm_on_every_image_stays_below(data, window, inputs, outputs):
    side, keys, height, width = window
    kernel = torch.from_numpy(data.draw(kernels(outputs, inputs, side)))
    assert norm_on(kernel, (height, width), **keys) <= convolution_norm(kernel) * (1 + ORACLE)


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    side=st.sampled_from((2, 3, 4, 5, 7)),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    exponent=exponents,
)
def test_the_norm_on_large_images_is_below_and_close(seed, side, inputs, outputs, exponent):
    generator = np.random.default_rng(seed)
    # Peaks half-way between the frequencies that the bound looks at are its worst case.
    turns = math.pi * (2 * generator.integers(0, 64, 2) + 1) / 64
    waves = np.cos(np.arange(side)[:, None] * turns[0] + np.arange(side) * turns[1])
    shape = (outputs, inputs, side, side)
    noise = generator.standard_normal(shape)
    for drawn in (noise, noise[:, :, :1, :1] * waves + 0.1 * noise):
        kernel = torch.from_numpy(drawn)
        exact = norm_on_a_torus(kernel, 192)
        bound = convolution_norm(kernel * 10.0**exponent) / 10.0**exponent
        assert exact <= bound * (1 + ORACLE)
        # Seven squarings of matrices of size 2 x 4 leave 8^(1 / 256); 64 divides 192.
        left = 8 ** (1 / 256) / math.cos(math.pi * (side - 1) / 64)
        assert bound <= exact * left * (1 + 1e-9)


def test_kernels_whose_symbol_vanishes_somewhere_are_not_overestimated():
    for taps, exact in (([[1.0, -1.0], [0.0, 0.0]], 2.0), ([[1.0, -1.0], [1.0, -1.0]], 4.0)):
        for scale in (1e-150, 1.0, 1e150):
            # A grid of 64 points has the peak; 1 / cos(pi / 64) is the price of not knowing it.
            assert exact <= convolution_norm(kernel_of(taps) * scale) / scale <= exact * 1.002


ORTHOGONAL = [("orthogonal", shape) for shape in ((4, 4), (6, 3), (3, 6), (1, 1), (9, 9))]
DIRAC = [("identity", shape) for shape in ((4, 4), (6, 3), (1, 1))]


@pytest.mark.parametrize(("init", "shape"), ORTHOGONAL + DIRAC)
@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_one_orthogonal_matrix_at_the_centre_has_its_own_norm(init, side, shape):
    kernel = INITS[init]((*shape, side, side), np.random.default_rng(0))
    for scale in (1e-140, 1.0, 1e140):
        bound = convolution_norm(torch.from_numpy(kernel * scale)) / scale
        assert 1 - 1e-14 <= bound <= 1 + 1e-9


def test_norms_of_a_kernel_worked_out_to_ten_digits():
    kernel = kernel_of(SEVEN)
    zeros = {3: 5.701397216653004, 4: 6.157480270356235, 5: 6.412802916173102}
    circular = {3: 6.557438524302001, 4: 7.0, 5: 6.834340050985126}
    strided = {3: 4.310390542616403, 4: 4.792556734387759, 5: 4.958544362592709}
    for n in (3, 4, 5):
        assert norm_on(kernel, (n, n)) == pytest.approx(zeros[n], rel=1e-13)
        assert norm_on(kernel, (n, n), padding_mode="circular") == pytest.approx(
            circular[n], rel=1e-13
        )
        assert norm_on(kernel, (n, n), stride=2) == pytest.approx(strided[n], rel=1e-13)
    assert 7 <= convolution_norm(kernel) <= 7 / math.cos(math.pi * 2 / 64) * (1 + 1e-4)


def test_norms_of_a_second_difference_on_images_of_every_size():
    kernel = kernel_of(HAT)
    for n in range(1, 9):
        expected = ((1 + math.cos(math.pi / (n + 1))) / 2) ** 2
        assert norm_on(kernel, (n, n)) == pytest.approx(expected, rel=1e-13)
        around = 1 if n % 2 == 0 else ((1 + math.cos(math.pi / n)) / 2) ** 2
        assert norm_on(kernel, (n, n), padding_mode="circular") == pytest.approx(around, rel=1e-13)
    assert 1 <= convolution_norm(kernel) <= 1 + 1e-9  # signs (-1)^(a + b): the overlaps are exact


def test_the_norm_of_no_kernel_and_of_zero_is_zero():
    for shape in ((2, 3, 3, 3), (2, 3, 1, 1), (0, 3, 3, 3)):
        assert convolution_norm(torch.zeros(shape)) == 0
    assert gram_iteration_norm(torch.zeros(3, 2).double()) == 0


def rectangles(generator, m, n):
    """Gaussian, orthogonal, rank one, planted gap, sparse; all m x n."""
    tall = INITS["orthogonal"]((m, n), generator)
    values = np.where(np.arange(min(m, n)) == 0, 1.0, 1 - 1e-6)
    square = INITS["orthogonal"]((min(m, n), min(m, n)), generator)
    yield generator.standard_normal((m, n))
    yield tall
    yield np.outer(generator.standard_normal(m), generator.standard_normal(n))
    yield tall @ (square * values) if m >= n else (square * values) @ tall
    yield generator.standard_normal((m, n)) * (generator.random((m, n)) < 0.2)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, m=st.integers(1, 30), n=st.integers(1, 30), exponent=st.integers(-300, 300))
def test_gram_iteration_never_falls_below_the_norm_at_any_scale(seed, m, n, exponent):
    for matrix in rectangles(np.random.default_rng(seed), m, n):
        exact = exact_norm(torch.from_numpy(matrix))
        for steps in (1, 3, 7, 16):
            bound = gram_iteration_norm(torch.from_numpy(matrix * 10.0**exponent), steps)
            worst = min(m, n) ** (1 / 2 ** (steps + 1))
            assert exact * (1 - ORACLE) <= bound / 10.0**exponent <= exact * worst * (1 + 1e-6)


def test_gram_iteration_is_exact_for_orthogonal_matrices():
    # Where the Frobenius norm is off by a factor n^(1 / 2^(steps + 1)), row sums are not.
    for n in (2, 9, 30):
        matrix = torch.from_numpy(INITS["orthogonal"]((n + 1, n), np.random.default_rng(n)))
        for steps in (2, 7):
            assert 1 - 1e-14 <= gram_iteration_norm(matrix, steps) <= 1 + 1e-12


def test_gram_iteration_of_a_batch_is_the_largest_of_its_members():
    generator = np.random.default_rng(0)
    batch = torch.from_numpy(generator.standard_normal((5, 4, 3)))
    batch[1], batch[2] = 0, batch[2] * 1e-200  # neither may raise the others' bound
    batch[4] *= 1e-90
    each = [gram_iteration_norm(matrix) for matrix in batch]
    assert gram_iteration_norm(batch) == max(each)
    for matrix, bound in zip(batch, each, strict=True):
        assert bound == pytest.approx(exact_norm(matrix), rel=0.01)


def test_gram_iteration_of_tall_columns_pays_for_their_long_sums():
    # Eight large entries among ten thousand small ones, whose squares are rounded away.
    column = torch.full((10_000, 2), 1e-8, dtype=torch.float64)
    column[:8] = 1.0
    exact = math.sqrt(2 * (8 + 9_992e-16))
    for matrix in (column, column.mT):
        assert exact <= gram_iteration_norm(matrix, 16) * (1 + 1e-16)
