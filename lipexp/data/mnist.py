"""MNIST in torchvision's layout, and the idx format that it is stored in."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from lipexp.data import MNIST_FILES
from lipexp.data.dataset import Dataset, Split, assemble
from lipexp.data.files import Malformed, check_published, md5, read_bytes, stored, unpack

# md5: of the .gz as published (torchvision.datasets.MNIST.resources), and of what is inside
PUBLISHED = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
UNSIGNED_BYTE = 0x08


def load(folder: Path, verify: bool) -> Dataset:
    """MNIST: 60,000 training and 10,000 test images (1, 28, 28), pixels 0..255, ten classes.

    From ``folder/MNIST/raw``, each file as it is or, where only that is there, as ``.gz``.
    Raises Mismatch for other files than the published ones, Malformed for damaged ones.
    Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits (1998).
    """
    arrays, found = [], {}
    for path in (stored(folder / file) for file in MNIST_FILES):
        content = read_bytes(path)
        rank = 3 if "images" in path.name else 1
        arrays.append(read_idx(unpack(content, path.name), rank, path.name))
        if verify:
            found[path.name] = md5(content)
    train, test = (
        Split(images[:, None], labels.astype(np.int64), 255.0)
        for images, labels in (arrays[:2], arrays[2:])
    )
    dataset = assemble("mnist", train, test, verified=verify)
    check_published(found, PUBLISHED)
    return dataset


def read_idx(content: bytes, rank: int, name: str) -> np.ndarray:
    """The uint8 array of an idx file: 0, 0, type, rank; rank sizes as uint32; then the bytes.

    All big-endian.  Raises Malformed for another type or rank, for no data, for a byte too few or
    too many.
    """
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, rank)):
        raise Malformed(f"{name} is not an idx file of unsigned bytes, rank {rank}")
    start = 4 + 4 * rank
    if len(content) < start:
        raise Malformed(f"{name} is cut short in its header")
    shape = struct.unpack(f">{rank}I", content[4:start])
    size, stated = len(content) - start, math.prod(shape)
    if size != stated:
        raise Malformed(f"{name} has {size:,} bytes of data where its header states {stated:,}")
    if size == 0:
        raise Malformed(f"{name} is empty")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
