"""The 8x8 digits that ship inside scikit-learn."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lipexp.data.dataset import Dataset, Split, assemble, fingerprint, stratified_split
from lipexp.data.files import Malformed, Mismatch, read_bytes, unpack
from lipexp.errors import UserError
from lipexp.streams import stream

TEST_COUNT = 360  # of 1,797
PUBLISHED = "68aea062d35a1277"  # fingerprint of the table: pixels and label, 1,797 x 65 bytes


def load(folder: Path, verify: bool) -> Dataset:
    """The digits: 1,437 training and 360 test images (1, 8, 8), pixels 0..16, ten classes.

    A fixed split, each class in proportion.  The file is scikit-learn's own
    (``sklearn/datasets/data/digits.csv.gz``), found without importing scikit-learn, which costs
    over a second; ``folder`` plays no part.
    Raises UserError without scikit-learn, Mismatch for other pixels, Malformed for a damaged file.
    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998).
    """
    table = read_table(digits_file())
    images, labels = table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64)
    train, test = stratified_split(labels, TEST_COUNT, stream(0, "digits split"))
    splits = (Split(images[part], labels[part], 16.0) for part in (train, test))
    dataset = assemble("digits", *splits, verified=verify)
    if verify and fingerprint(table) != PUBLISHED:
        raise Mismatch("other pixels or labels than the 1,797 published digits")
    return dataset


def digits_file() -> Path:
    """Where scikit-learn keeps its digits."""
    sklearn = find_spec("sklearn")
    if sklearn is None or sklearn.origin is None:
        raise UserError("data set 'digits' is embedded in scikit-learn, which is not installed")
    return Path(sklearn.origin).parent / "datasets" / "data" / "digits.csv.gz"


def read_table(path: Path) -> np.ndarray:
    """uint8 (rows, 65): 64 pixels and the label.  Raises Malformed for anything else."""
    lines = io.BytesIO(unpack(read_bytes(path), path.name))
    try:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8, ndmin=2)
    except ValueError as error:
        raise Malformed(f"{path.name} is not a table of small whole numbers") from error
    if table.shape[1:] != (65,):
        raise Malformed(f"{path.name} has {table.shape[1]} columns, not 65")
    return table
