"""Forest cover type in scikit-learn's layout: two joblib files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from lipexp.data import COVERTYPE_FILES
from lipexp.data.dataset import Dataset, Split, assemble, fingerprint, stratified_split
from lipexp.data.files import Malformed, Mismatch, read_bytes
from lipexp.data.pickles import read_joblib
from lipexp.streams import stream

FEATURES = 54
PUBLISHED_COUNTS = (211_840, 283_301, 35_754, 2_747, 9_493, 17_367, 20_510)  # rows of each class
LARGEST_FEATURE = 10**9  # published: 7,173
LARGEST_FILE = 2**30  # bytes of an unpacked file; the published features need 251 million


def load(folder: Path, verify: bool) -> Dataset:
    """Covertype: 581,012 rows of 54 features, seven classes (0..6, published as 1..7).

    A fixed 80/20 split, each class in proportion.  Features are standardised, float32: the
    training part's mean is subtracted and its standard deviation divided by (1 for a constant
    column).  The fingerprint is of the features before that, because sums round differently from
    machine to machine.  From ``folder/covertype``, by a reader that executes nothing.
    Raises Mismatch for other class counts than the published ones, Malformed for damaged files.
    Source: J. Blackard, Covertype (UCI, 1998), doi 10.24432/C50K5N.
    """
    features, labels = (_read(folder / file) for file in COVERTYPE_FILES)
    features, labels = _checked(features, labels)
    parts = stratified_split(labels, round(len(labels) / 5), stream(0, "covertype split"))
    train, test = ((features[part], labels[part]) for part in parts)
    digest = fingerprint(*train, *test)
    centre, spread = standardisation(train[0])
    splits = (Split((x - centre) / spread, y) for x, y in (train, test))
    dataset = assemble("covertype", *splits, verified=verify, digest=digest)
    if verify:
        check_counts(labels)
    return dataset


def standardisation(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, float32 (F,), summed in float64."""
    centre = features.mean(axis=0, dtype=np.float64)
    spread = features.std(axis=0, dtype=np.float64)
    constant = features.min(axis=0) == features.max(axis=0)
    return centre.astype(np.float32), np.where(constant, 1.0, spread).astype(np.float32)


def check_counts(labels: np.ndarray) -> None:
    """Raises Mismatch unless each class has its published number of rows."""
    counts = np.bincount(labels, minlength=len(PUBLISHED_COUNTS))
    if tuple(counts) != PUBLISHED_COUNTS:
        raise Mismatch(
            f"{len(labels):,} rows, published are {sum(PUBLISHED_COUNTS):,}"
            if len(labels) != sum(PUBLISHED_COUNTS)
            else "the classes do not have their published numbers of rows"
        )


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features as float32, labels as int64 from 0."""
    if features.ndim != 2 or features.shape[1] != FEATURES:
        raise Malformed(f"the features are {features.shape}, not (rows, {FEATURES})")
    if labels.dtype.kind not in "iu" or labels.shape != features.shape[:1]:
        raise Malformed(f"{len(features):,} rows do not have a whole number each as label")
    classes = len(PUBLISHED_COUNTS)
    if len(labels) == 0 or labels.min() < 1 or labels.max() > classes:
        raise Malformed(f"the labels are not within 1..{classes}")
    if not np.all(np.abs(features) < LARGEST_FEATURE):  # also true of nan
        raise Malformed(f"a feature is not a number below {LARGEST_FEATURE:,}")
    return features.astype(np.float32), labels.astype(np.int64) - 1


def _read(path: Path) -> np.ndarray:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(read_bytes(path), LARGEST_FILE)
    except zlib.error as error:
        raise Malformed(f"{path.name} is not a zlib stream, or damaged") from error
    if not unpacker.eof or unpacker.unused_data:
        raise Malformed(f"{path.name} is cut short, or has bytes behind its end")
    return read_joblib(content, path.name)
