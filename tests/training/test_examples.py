"""Batches, orders, crops and held-out examples, against exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipexp.data.dataset import Split
from lipexp.errors import UserError
from lipexp.training import AUGMENTATIONS
from lipexp.training.augmentation import Augmentation, crop, padding_of
from lipexp.training.examples import Examples, epoch_order, hold_out, parts
from tests.training.small_training import Recorded, image_examples, small_network, small_training


def windows(image: np.ndarray, padding: int, mirrors: bool):
    """Every crop of the padded image, by (top, left, mirrored): slices, one at a time."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    corners = range(2 * padding + 1)
    for top, left, mirrored in itertools.product(corners, corners, (False, True)[: 1 + mirrors]):
        window = padded[:, top : top + height, left : left + width]
        yield (top, left, mirrored), window[:, :, ::-1] if mirrored else window


@given(count=st.integers(1, 500), batch=st.integers(1, 600))
def test_steps_are_as_few_as_the_batch_allows_and_of_even_size(count, batch):
    split = parts(count, batch)
    sizes = [stop - start for start, stop in split]
    assert len(split) == -(-count // batch)
    assert [*itertools.chain(*(range(*part) for part in split))] == list(range(count))
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("batch", [1, 8, 36, 37, 1000])
def test_every_image_is_used_exactly_once_in_an_epoch(batch):
    examples = image_examples()
    numbered = examples.inputs.clone()
    numbered[:, 0, 0, 0] = torch.arange(37, dtype=torch.uint8)
    network = Recorded(small_network())
    training = small_training(network, Examples(numbered, examples.labels, 255.0), batch=batch)
    seen = []
    for _ in range(2):
        network.batches.clear()
        training.run_epoch()
        seen.append([round(255 * float(x[0, 0, 0])) for b in network.batches for x in b])
        assert sorted(seen[-1]) == list(range(37))
    assert seen[0] != seen[1]


def test_order_is_a_function_of_seed_and_epoch():
    order = epoch_order(50, 3, 7)
    assert torch.equal(order, epoch_order(50, 3, 7))
    assert not torch.equal(order, epoch_order(50, 3, 8))
    assert not torch.equal(order, epoch_order(50, 4, 7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_has_the_split_s_pixels_and_leaves_the_store_alone(dtype):
    for scale, kind in ((255.0, np.uint8), (2.0, np.float32)):
        inputs = np.random.default_rng(0).integers(0, 255, (5, 1, 2, 2)).astype(kind)
        split = Split(inputs, np.arange(5), scale)
        examples = Examples.of(split, "cpu")
        for indices in (torch.tensor([3, 1]), slice(1, 3)):
            pixels, labels = examples.batch(indices, dtype)
            assert pixels.dtype == dtype
            np.testing.assert_array_equal(
                pixels, split.pixels(indices).astype(pixels.numpy().dtype)
            )
            assert torch.equal(labels, torch.from_numpy(split.labels)[indices])
            pixels.zero_()
        assert np.array_equal(examples.inputs, inputs)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 12)])
@pytest.mark.parametrize("mirrors", [False, True])
def test_every_augmented_image_is_the_crop_that_was_drawn(shape, mirrors):
    images = image_examples(600, shape).inputs
    padding = padding_of(shape)
    assert padding == 1
    draws = Augmentation(padding, mirrors).draw(600, seed=5, epoch=2, device="cpu")
    indices = epoch_order(600, 0, 1)
    changed = draws(images[indices], indices)
    assert changed.dtype == torch.uint8
    met = set()
    for index, result in zip(indices.tolist(), changed.numpy(), strict=True):
        found = [
            k for k, w in windows(images[index].numpy(), padding, mirrors) if (w == result).all()
        ]
        drawn = (int(draws.top[index]), int(draws.left[index]), bool(draws.mirrored[index]))
        assert found == [drawn]
        met.add(drawn)
    # Each of at most 18 crops is missed by 600 images with probability (17/18)^600 < 1e-14.
    assert len(met) == 9 * (1 + mirrors)


@pytest.mark.parametrize(("shape", "padding"), [((1, 28, 28), 2), ((3, 32, 32), 4)])
def test_the_corner_of_the_middle_gives_the_image_itself(shape, padding):
    assert padding_of(shape) == padding
    images = image_examples(4, shape).inputs
    middle, never = torch.full((4,), padding), torch.zeros(4, dtype=torch.bool)
    assert torch.equal(crop(images, middle, middle, never, padding), images)
    assert torch.equal(crop(images, middle, middle, ~never, padding), images.flip(3))


def test_what_is_drawn_is_a_function_of_seed_epoch_and_image():
    augmentation = Augmentation(2, mirrors=True)

    def drawn(seed, epoch):
        draws = augmentation.draw(100, seed, epoch, "cpu")
        return torch.stack([draws.top, draws.left, draws.mirrored])

    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(1, 3))
    assert not torch.equal(drawn(1, 2), drawn(2, 2))
    draws, images = augmentation.draw(100, 1, 2, "cpu"), image_examples(100, (1, 5, 5)).inputs
    forth, back = torch.arange(100), torch.arange(99, -1, -1)
    assert torch.equal(draws(images, forth), draws(images[back], back)[back])


def test_training_sees_augmented_images():
    network = Recorded(small_network(input_shape=(1, 8, 8)))
    examples = image_examples(5, (1, 8, 8))
    training = small_training(network, examples, augment="shift", epochs=8)
    for _ in range(8):
        training.run_epoch()
    seen = {bytes(x.numpy()) for batch in network.batches for x in batch}
    allowed = {
        bytes((w / np.float32(255)).astype(np.float32))
        for image in examples.inputs.numpy()
        for _, w in windows(image, 1, mirrors=False)
    }
    assert seen <= allowed
    assert len(seen) > 5


def test_a_table_has_no_augmentation_but_none():
    assert AUGMENTATIONS["none"]((54,)) is None
    table = Examples(torch.zeros(4, 54), torch.zeros(4, dtype=torch.int64))
    for name in sorted(set(AUGMENTATIONS) - {"none"}):
        with pytest.raises(UserError, match=f"task.augment={name}: needs images"):
            small_training(small_network(input_shape=(54,), mean=None), table, augment=name)


def test_held_out_examples_are_the_rest_and_in_proportion():
    labels = np.repeat([0, 1, 2], [100, 50, 30])
    split = Split(np.arange(180, dtype=np.float32)[:, None], labels, 2.0)
    training, validation = hold_out(split, 0.1, seed=3)
    together = np.concatenate([training.inputs, validation.inputs])
    assert sorted(together.ravel().tolist()) == list(range(180))
    assert np.bincount(validation.labels).tolist() == [10, 5, 3]
    assert all(
        np.array_equal(labels[p.inputs.ravel().astype(int)], p.labels)
        for p in (training, validation)
    )
    assert training.scale == validation.scale == 2.0
    assert np.array_equal(validation.inputs, hold_out(split, 0.1, seed=3)[1].inputs)
    assert not np.array_equal(validation.inputs, hold_out(split, 0.1, seed=4)[1].inputs)


@pytest.mark.parametrize(
    ("share", "side"), [(0.0, "validation"), (0.01, "validation"), (0.99, "training")]
)
def test_a_share_that_leaves_a_side_empty_is_refused(share, side):
    split = Split(np.zeros((20, 1), np.float32), np.zeros(20, np.int64))
    with pytest.raises(UserError, match=f"task.validation={share}: of 20 inputs none .* {side}"):
        hold_out(split, share, seed=0)
