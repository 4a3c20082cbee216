"""Inputs without a data set: independent N(0, 1) features."""

from __future__ import annotations

import numpy as np

from lipexp.data.dataset import Dataset, Split
from lipexp.errors import UserError
from lipexp.streams import stream


def load(features: int | None) -> Dataset:
    """A set without rows and classes, whose `draw_inputs` are N(0, 1), shape (features,).

    Raises UserError without a number of features.
    """
    if features is None or features < 1:
        raise UserError(f"dataset.features={features}: gaussian needs at least 1")
    empty = Split(np.empty((0, features), np.float32), np.empty(0, np.int64))
    return Dataset(
        name="gaussian",
        train=empty,
        test=empty,
        shape=(features,),
        classes=0,
        mean=(),
        fingerprint="",
        verified=True,
        draw=lambda count, seed: gaussian_inputs(count, features, seed),
    )


def gaussian_inputs(count: int, features: int, seed: int) -> np.ndarray:
    """Independent N(0, 1) numbers, float64 (count, features), from the stream of inputs."""
    return stream(seed, "inputs").standard_normal((count, features))
