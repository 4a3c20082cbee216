"""Data folders with small hand-made sets, whose checksums count as the published ones."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest

from lipexp.data import CIFAR10_FILES, MNIST_FILES, cifar10, covertype, mnist
from tests.data.data_fakes import idx, md5, put, write_covertype


@pytest.fixture
def fake_mnist(tmp_path, monkeypatch) -> Path:
    """A data folder with 20 + 10 images of 28x28, whose checksums count as the published ones."""
    generator = np.random.default_rng(1)
    published = {}
    for file in MNIST_FILES:
        count = 20 if "train" in file else 10
        shape = (count, 28, 28) if "images" in file else (count,)
        largest = 256 if "images" in file else 10
        content = idx(generator.integers(0, largest, shape, dtype=np.uint8))
        put(tmp_path / file, content)
        name = Path(file).name
        published |= {name: md5(content), f"{name}.gz": md5(gzip.compress(content, mtime=0))}
    monkeypatch.setattr(mnist, "PUBLISHED", published)
    return tmp_path


@pytest.fixture
def fake_cifar10(tmp_path, monkeypatch) -> Path:
    """A data folder with five batches of 4 images and a test batch of 3, as pickles."""
    generator = np.random.default_rng(2)
    published = {}
    for file in CIFAR10_FILES:
        count = 3 if "test" in file else 4
        images = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [int(label) for label in generator.integers(0, 10, count)]
        batch = {"batch_label": "made by hand", "data": images, "labels": labels, "filenames": []}
        content = pickle.dumps(batch, protocol=2)
        put(tmp_path / file, content)
        published[Path(file).name] = md5(content)
    monkeypatch.setattr(cifar10, "PUBLISHED", published)
    return tmp_path


@pytest.fixture
def fake_covertype(tmp_path, monkeypatch) -> Path:
    """A data folder with 100 rows in scikit-learn's layout; feature 7 is constant."""
    generator = np.random.default_rng(3)
    features = generator.integers(0, 3000, (100, 54)).astype(np.float64)
    features[:, 7] = 5.0
    labels = np.repeat(np.arange(1, 8, dtype=np.int32), (30, 30, 10, 10, 10, 5, 5))
    write_covertype(tmp_path, features, labels)
    monkeypatch.setattr(covertype, "PUBLISHED_COUNTS", (30, 30, 10, 10, 10, 5, 5))
    return tmp_path
