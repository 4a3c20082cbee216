"""Inits that carry signal: orthogonal and identity.

Each is ``init(shape, generator) -> float64 array`` with shape (out, in)
or, for kernels, (out, in, side, side): the matrix at the centre tap, zeros elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np


def _at_the_centre_tap(init: Callable) -> Callable:
    """Fills a kernel with the matrix at the tap that "same" padding puts on the pixel itself."""

    @wraps(init)
    def fill(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        matrix = init(shape[:2], generator)
        if len(shape) == 2:
            return matrix
        kernel = np.zeros(shape)
        kernel[:, :, (shape[2] - 1) // 2, (shape[3] - 1) // 2] = matrix
        return kernel

    return fill


@_at_the_centre_tap
def orthogonal(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Haar distributed: orthonormal columns, or rows where the matrix is wide.

    The Q of a Gaussian matrix is Haar only with the signs of R's diagonal put right; without that
    a relu network loses 0.34 instead of 0.31 decades per layer at width 64.
    """
    rows, columns = shape
    draw = generator.standard_normal((max(shape), min(shape)))
    q, r = np.linalg.qr(draw)
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return q if rows >= columns else q.T


@_at_the_centre_tap
def identity(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """The identity; more rows than columns: zero rows below; more columns: the unit columns again.

    Repeated columns keep AOL exact where it narrows: every two are equal or orthogonal.  The
    generator is not used.
    """
    rows, columns = shape
    matrix = np.zeros(shape)
    matrix[np.arange(columns) % rows, np.arange(columns)] = 1.0
    return matrix
