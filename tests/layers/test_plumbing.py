"""Parameter-free maps: the dense matrix of each, its norm, its transpose, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.errors import UserError
from lipexp.layers.plumbing import (
    Centre,
    FirstChannels,
    FirstFeatures,
    Flatten,
    PadChannels,
    PadSides,
    PixelUnshuffle,
    SumPool,
    ZeroPad,
)
from lipexp.probing.maps import pulled_through
from tests.exact import dense_matrix, exact_norm

# (map, shape of one input, shape of its output); odd sides, sides that are not equal, nothing to do
MAPS = [
    (Flatten(), (2, 3, 5), (30,)),
    (ZeroPad(5, 8), (5,), (8,)),
    (ZeroPad(5, 5), (5,), (5,)),
    (PadChannels(3, 4), (3, 2, 3), (4, 2, 3)),
    (PadChannels(3, 3), (3, 1, 2), (3, 1, 2)),
    (PadSides(5, 8), (2, 2, 3), (2, 5, 8)),
    (PadSides(3, 3), (1, 3, 3), (1, 3, 3)),
    (FirstChannels(1), (3, 2, 2), (1, 2, 2)),
    (FirstChannels(3), (3, 1, 2), (3, 1, 2)),
    (FirstFeatures(2), (5,), (2,)),
    (PixelUnshuffle(2), (3, 4, 2), (12, 2, 1)),
    (PixelUnshuffle(3), (1, 3, 6), (9, 1, 2)),
    (PixelUnshuffle(1), (2, 3, 1), (2, 3, 1)),
]
every_map = pytest.mark.parametrize(
    ("module", "shape", "result"), MAPS, ids=lambda value: str(value).replace(" ", "")
)


@every_map
def test_a_map_moves_or_drops_numbers_and_has_norm_one(module, shape, result):
    matrix = dense_matrix(module, shape)
    assert module(torch.zeros(2, *shape)).shape == (2, *result)
    assert set(matrix.unique().tolist()) <= {0.0, 1.0}
    assert int(matrix.sum(0).max()) == 1  # no input goes to two places
    assert int(matrix.sum(1).max()) == 1  # no output is a sum
    assert exact_norm(matrix) == 1 == module.lipschitz_bound()
    assert module.local_error(shape, 3.0) == 0
    assert module.norm_after(shape, 3.0) == 3
    if not isinstance(module, FirstChannels | FirstFeatures):
        assert bool((matrix.sum(0) == 1).all())  # and nothing is lost


@every_map
def test_transposed_is_the_transpose(module, shape, result):
    matrix = dense_matrix(module, shape)
    with torch.no_grad():  # a probe asks in here
        back = dense_matrix(lambda y: pulled_through([module], y[None], shape)[0], result)
    assert torch.equal(back, matrix.mT)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_pooling_by_sums_is_a_projection_of_norm_exactly_one(side):
    pool = SumPool(side)
    matrix = dense_matrix(pool, (2, 2 * side, side))
    assert matrix.shape == (4, 4 * side**2)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(4).double(), rtol=1e-15, atol=0)
    assert exact_norm(matrix) == pytest.approx(1, abs=1e-15)
    assert pool.lipschitz_bound() == 1


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), more=st.integers(0, 5))
def test_images_are_padded_in_the_middle_the_odd_row_and_column_behind(height, width, more):
    x = torch.ones(1, height, width)
    padded = PadSides(height + more, width + more)(x)[0].numpy()
    before = more // 2
    expected = np.zeros((height + more, width + more))
    expected[before : before + height, before : before + width] = 1
    np.testing.assert_array_equal(padded, expected)


def test_pixel_unshuffle_puts_the_pixels_of_a_square_behind_each_other():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[[0, 2], [8, 10]], [[1, 3], [9, 11]], [[4, 6], [12, 14]], [[5, 7], [13, 15]]]
    np.testing.assert_array_equal(PixelUnshuffle(2)(x)[0].numpy(), expected)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (PixelUnshuffle(2), (1, 4, 3), "pixel-unshuffle by 2 needs sides that it divides; got 4x3"),
        (PixelUnshuffle(2), (1, 3, 4), "pixel-unshuffle by 2 needs sides that it divides; got 3x4"),
        (SumPool(3), (1, 6, 4), "pooling by 3 needs sides that it divides; got 6x4"),
        (SumPool(3), (1, 4, 6), "pooling by 3 needs sides that it divides; got 4x6"),
        (PadSides(4, 4), (1, 5, 4), "images of 5x4 do not fit into 4x4"),
        (PadSides(4, 4), (1, 4, 5), "images of 4x5 do not fit into 4x4"),
        (FirstChannels(3), (2, 4, 4), "there are no first 3 of 2 channels"),
        (FirstFeatures(3), (2,), "there are no first 3 of 2 features"),
    ],
)
def test_a_size_that_does_not_fit_is_one_line(module, shape, message):
    with pytest.raises(UserError) as raised:
        module(torch.zeros(1, *shape))
    assert str(raised.value) == message


def test_channels_that_do_not_fit_are_refused_at_once():
    with pytest.raises(ValueError, match="5 channels do not fit into 4"):
        PadChannels(5, 4)


def test_centring_takes_one_constant_from_every_channel():
    centre = Centre((0.25, -2.0), (2, 3, 4))
    x = torch.randn(5, 2, 3, 4).double()
    expected = x - torch.tensor([0.25, -2.0]).double()[:, None, None]
    assert torch.equal(centre(x), expected)
    assert centre.lipschitz_bound() == 1
    # |0 - mean| over all pixels, exactly attained
    size = float(centre(torch.zeros(1, 2, 3, 4).double()).norm())
    assert size <= centre.norm_after((2, 3, 4), 0.0) <= size * (1 + 1e-13)
