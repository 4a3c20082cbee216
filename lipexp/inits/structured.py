"""Inits that carry signal: orthogonal and identity.

Each is ``init(shape, generator) -> float64 array`` with shape (fan_out, fan_in).
"""

from __future__ import annotations

import numpy as np


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


def identity(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """The identity; more rows than columns: zero rows below; more columns: the unit columns again.

    Repeated columns keep AOL exact where it narrows: every two are equal or orthogonal.  The
    generator is not used.
    """
    rows, columns = shape
    matrix = np.zeros(shape)
    matrix[np.arange(columns) % rows, np.arange(columns)] = 1.0
    return matrix
