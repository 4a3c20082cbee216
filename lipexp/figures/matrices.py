"""Many small random matrices at once: their entries and their AOL weights, numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

BLOCK_ENTRIES = 2**21  # numbers held at once


def aol_weights(v: np.ndarray) -> np.ndarray:
    """W = V diag(T)^(-1/2), T_j = sum_i |V^T V|_ij, of matrices V without zero columns.

    v: (..., d, n), n inputs.  The layer's definition, for a stack of matrices.
    """
    sums = np.abs(np.swapaxes(v, -1, -2) @ v).sum(axis=-1)
    return v / np.sqrt(sums)[..., None, :]


def draw(shape: str, size: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Unit-variance entries of a shape: laplace, normal or uniform."""
    if shape == "normal":
        return generator.standard_normal(size)
    if shape == "laplace":
        return generator.laplace(0.0, math.sqrt(0.5), size)
    return generator.uniform(-math.sqrt(3.0), math.sqrt(3.0), size)


def blocks(count: int, entries: int) -> Iterator[int]:
    """Sizes that add up to ``count``, each of at most BLOCK_ENTRIES numbers."""
    most = max(1, BLOCK_ENTRIES // entries)
    for start in range(0, count, most):
        yield min(most, count - start)


def mean_square_weights(
    shape: str, d: int, n: int, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Mean of W_ij^2 of each of so many AOL weights d x n, (count,)."""
    found = []
    for some in blocks(count, d * n + n * n):
        weights = aol_weights(draw(shape, (some, d, n), generator))
        found.append(np.square(weights).mean(axis=(1, 2)))
    return np.concatenate(found)
