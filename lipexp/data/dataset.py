"""What a data set is once it is in memory, and how the inputs of a probe are drawn from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lipexp.data import DATASETS, input_word
from lipexp.data.files import Malformed
from lipexp.errors import UserError
from lipexp.streams import stream


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs with their labels.

    inputs: images as uint8 (N, C, H, W), tables as float32 (N, F); labels: int64 (N,).
    ``scale`` is what a stored pixel is divided by.
    """

    inputs: np.ndarray
    labels: np.ndarray
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, indices: np.ndarray | slice) -> np.ndarray:
        """The chosen inputs as float64: images in [0, 1], tables as they are."""
        return self.inputs[indices].astype(np.float64) / self.scale


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory; ``shape``, ``classes``, ``mean``, ``scale`` as in the registry.

    ``fingerprint``: first 16 hex digits of a sha256 over what was read (see `fingerprint`).
    ``verified``: the files were compared with what was published.
    ``draw``: (count, seed) -> inputs, of a set that is a distribution and has no rows.
    """

    name: str
    train: Split
    test: Split
    shape: tuple[int, ...]
    classes: int
    mean: tuple[float, ...]
    fingerprint: str
    verified: bool
    draw: Callable[[int, int], np.ndarray] | None = None

    @property
    def scale(self) -> float:
        return self.train.scale

    @property
    def count(self) -> tuple[int, int]:
        """How many inputs there are: (train, test)."""
        return len(self.train), len(self.test)


def assemble(
    name: str, train: Split, test: Split, *, verified: bool, digest: str | None = None
) -> Dataset:
    """The Dataset of two splits, with the registry's facts.

    ``digest`` is given where the fingerprint is of what was read and not of what was made of it.
    Raises Malformed for an input of another shape, an empty split, labels that are not one per
    input or not in 0..classes - 1.
    """
    facts = DATASETS.entry(name).facts
    shape, classes = facts["shape"], facts["classes"]
    for part, split in (("training", train), ("test", test)):
        if split.inputs.shape[1:] != shape:
            found = "x".join(map(str, split.inputs.shape[1:]))
            raise Malformed(f"the {part} inputs are {found}, not {'x'.join(map(str, shape))}")
        if split.labels.shape != split.inputs.shape[:1]:
            raise Malformed(
                f"{len(split.inputs):,} {part} inputs have {split.labels.size:,} labels"
            )
        if len(split) == 0:
            raise Malformed(f"there are no {part} inputs")
        if split.labels.min() < 0 or split.labels.max() >= classes:
            raise Malformed(f"a {part} label is outside 0..{classes - 1}")
    return Dataset(
        name=name,
        train=train,
        test=test,
        shape=shape,
        classes=classes,
        mean=facts["mean"],
        fingerprint=digest or fingerprint(train.inputs, train.labels, test.inputs, test.labels),
        verified=verified,
    )


def fingerprint(*arrays: np.ndarray) -> str:
    """First 16 hex digits of the sha256 of the arrays' bytes, one behind another."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def stratified_split(
    labels: np.ndarray, test: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, test), both ascending; ``test`` of them in the second.

    Every stride of the shuffled rows sorted by class gives one test row, so a class has its
    proportional share of them, rounded up or down.
    """
    count = len(labels)
    order = generator.permutation(count)
    order = order[np.argsort(labels[order], kind="stable")]
    strides = np.arange(count + 1) * test // count
    chosen = np.diff(strides) > 0
    return np.sort(order[~chosen]), np.sort(order[chosen])


def draw_inputs(dataset: Dataset, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of a probe, float64 (count, *shape), and their labels, int64 (count,).

    Images in [0, 1], not centred.  Drawn from the training set without replacement, the first rows
    of one permutation: a smaller draw is the beginning of a larger one.  A set that is a
    distribution is drawn from it, and its labels are -1: no class.
    Raises UserError where there are fewer training inputs than asked for, or none is asked for.
    """
    if count < 1:
        raise UserError(f"batch={count}: must be at least 1")
    if dataset.draw is not None:
        return dataset.draw(count, seed), np.full(count, -1, dtype=np.int64)
    available = len(dataset.train)
    if count > available:
        what = f"training {input_word(dataset.name)}s"
        raise UserError(f"batch={count}: {dataset.name} has {available:,} {what}")
    chosen = stream(seed, "inputs").permutation(available)[:count]
    return dataset.train.pixels(chosen), dataset.train.labels[chosen]
