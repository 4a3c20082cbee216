"""CIFAR-10 in torchvision's layout: six pickles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lipexp.data import CIFAR10_FILES
from lipexp.data.dataset import Dataset, Split, assemble
from lipexp.data.files import Malformed, check_published, md5, read_bytes
from lipexp.data.pickles import read_pickle, to_array

# torchvision.datasets.CIFAR10.train_list and test_list
PUBLISHED = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def load(folder: Path, verify: bool) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images (3, 32, 32), pixels 0..255, ten classes.

    From ``folder/cifar-10-batches-py``, by a reader that executes nothing.
    Raises Mismatch for other files than the published ones, Malformed for damaged ones.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
    """
    batches, found = [], {}
    for path in (folder / file for file in CIFAR10_FILES):
        content = read_bytes(path)
        batches.append(read_batch(content, path.name))
        if verify:
            found[path.name] = md5(content)
    *training, test = batches
    train = (np.concatenate(parts) for parts in zip(*training, strict=True))
    splits = (Split(*part, 255.0) for part in (train, test))
    dataset = assemble("cifar10", *splits, verified=verify)
    check_published(found, PUBLISHED)
    return dataset


def read_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (N, 3, 32, 32), and labels, int64 (N,), of one pickled batch.

    A row is the red, the green and the blue plane, each row by row.
    Raises Malformed for anything else.
    """
    batch = read_pickle(content, name)
    if not isinstance(batch, dict):
        raise Malformed(f"{name}: a {type(batch).__name__} where a dictionary is expected")
    images, labels = (to_array(_entry(batch, key, name), name) for key in ("data", "labels"))
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        raise Malformed(f"{name}: images are {images.dtype} {images.shape}, not bytes (N, 3072)")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise Malformed(f"{name}: {len(images):,} images do not have a whole number each as label")
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _entry(batch: dict, key: str, name: str) -> object:
    """Keys are bytes where Python 2 wrote the file, as it did the published one."""
    for spelling in (key, key.encode()):
        if spelling in batch:
            return batch[spelling]
    raise Malformed(f"{name} has no {key!r}")
