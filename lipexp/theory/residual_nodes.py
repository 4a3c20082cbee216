"""Gauss rules for two columns of a Gaussian matrix: their norms and the cosine between them."""

from __future__ import annotations

import math

import numpy as np

from lipexp.theory.gaussian import chi_nodes

_CHI_POINTS = 5
_ANGLES = 40


def few_chi_nodes(d: int) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss rule of `chi_nodes`, for a smooth function of two chi variables."""
    r, weights = chi_nodes(d)
    jacobi = np.zeros((_CHI_POINTS, _CHI_POINTS))
    before, now = np.zeros_like(r), np.ones_like(r)  # orthonormal polynomials at r
    off = 0.0
    for k in range(_CHI_POINTS):
        jacobi[k, k] = weights @ (r * now**2)
        after = (r - jacobi[k, k]) * now - off * before
        off = math.sqrt(weights @ after**2)
        if k + 1 < _CHI_POINTS:
            jacobi[k, k + 1] = jacobi[k + 1, k] = off
        before, now = now, after / off
    nodes, vectors = np.linalg.eigh(jacobi)
    return nodes, vectors[0] ** 2


def squared_overlap_nodes(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes c and weights (sum 1) of the size-biased overlap: sum w f(c) = d E rho^2 f(|rho|).

    rho is the cosine between two independent directions in d dimensions; Gauss-Legendre in the
    angle, over nine standard deviations 1/sqrt d.
    """
    if d == 1:
        return np.ones(1), np.ones(1)
    x, weights = np.polynomial.legendre.leggauss(_ANGLES)
    angle = (x + 1) / 2 * math.asin(min(1.0, 9 / math.sqrt(d)))
    weights = weights * np.sin(angle) ** 2 * np.cos(angle) ** (d - 2)
    return np.sin(angle), weights / weights.sum()
