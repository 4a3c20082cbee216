"""Norms to fifty digits: no bound of a matrix or a layer is below, and few are far above."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from lipexp.certification import lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import LAYERS
from lipexp.layers.bounds import (
    certified_norm,
    convolution_norm,
    gram_iteration_norm,
    near_orthogonal_norm,
)
from tests.certification.drawn_networks import linear
from tests.exact import exact_norm
from tests.strategies import CHOICES, describe, make_layer

AFFINE = [choice for choice in CHOICES if not LAYERS.fact(choice[0], "residual")]


def haar(generator, rows: int, columns: int) -> np.ndarray:
    q, r = np.linalg.qr(generator.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T


def true_norm(matrix: torch.Tensor) -> mpmath.mpf:
    """The largest singular value of the numbers as they stand, to 50 digits."""
    with mpmath.workdps(60):
        return mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)[0]


@pytest.mark.parametrize("scale", [2.0**-480, 1e-30, 1.0, 1e30, 2.0**480])
def test_no_bound_of_a_matrix_is_below_its_norm_to_fifty_digits(scale):
    generator = np.random.default_rng(0)
    for m, n in ((1, 1), (2, 2), (5, 3), (3, 6), (8, 8)):
        for matrix in (
            generator.standard_normal((m, n)),
            haar(generator, m, n),
            np.outer(generator.standard_normal(m), generator.standard_normal(n)),
            np.ones((m, n)),
        ):
            weight = torch.from_numpy(matrix * scale)
            exact = true_norm(weight)
            assert exact <= certified_norm(weight)
            assert exact <= gram_iteration_norm(weight, 16)
            assert certified_norm(weight) <= exact * (1 + mpmath.mpf(10) ** -10)
            if scale == 1.0:
                assert exact <= near_orthogonal_norm(weight)
                assert exact <= convolution_norm(weight[:, :, None, None])


def test_near_orthogonal_matrices_are_bounded_closely_and_rotten_ones_rightly():
    generator = np.random.default_rng(1)
    for noise in (0.0, 1e-16, 1e-12, 1e-3, 10.0):
        weight = torch.from_numpy(haar(generator, 6, 6) + noise * generator.standard_normal((6, 6)))
        assert (
            true_norm(weight)
            <= near_orthogonal_norm(weight)
            <= 1 + 40 * max(noise, 1e-15) * (1 + 9 * noise)
        )


@pytest.mark.parametrize("gap", [0.03, 1e-3, 1e-8])
def test_one_singular_value_above_a_flat_spectrum_is_not_overlooked(gap):
    """What power iteration takes for the norm is 1 - gap, after any usual number of steps."""
    generator = np.random.default_rng(2)
    values = np.full(60, 1 - gap)
    values[0] = 1.0
    matrix = torch.from_numpy(haar(generator, 60, 60) * values @ haar(generator, 60, 60))
    assert 1 - 1e-14 <= certified_norm(matrix) <= 1 + 1e-10
    assert lipschitz_bound(linear(matrix), tight=True) >= 1 - 1e-14
    u = torch.from_numpy(generator.standard_normal(60))
    for _ in range(10):
        u = matrix @ (matrix.mT @ u)
        u = u / u.norm()
    if gap < 0.01:
        assert float((matrix.mT @ u).norm()) < 1 - gap / 2


def test_a_factorisation_that_never_completes_is_an_error_and_no_bound(monkeypatch):
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda matrix: (matrix, torch.tensor(1)))
    with pytest.raises(UserError, match="50 Cholesky factorisations failed"):
        certified_norm(torch.eye(2))


def test_an_estimate_of_the_norm_that_is_too_small_is_corrected(monkeypatch):
    """The decomposition is only where the search starts: the factorisation decides."""
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 5)))
    exact = exact_norm(matrix)
    short = torch.linalg.svdvals(matrix) * (1 - 2e-11)
    monkeypatch.setattr(torch.linalg, "svdvals", lambda matrix: short / _scale(matrix, exact))
    assert exact <= certified_norm(matrix) <= exact * (1 + 1e-9)


def _scale(matrix: torch.Tensor, exact: float) -> float:
    """The power of two that was taken out of a matrix of that norm."""
    return exact / float(torch.linalg.matrix_norm(matrix, 2))


@pytest.mark.parametrize("choice", AFFINE, ids=describe)
def test_bounds_are_tight_where_they_should_be(choice):
    """Orthogonal, of rank one, without signs: the free weights of which every layer makes norm 1.

    A layer without a constraint has the weight's own norm.
    """
    name, keys = choice
    if name == "orthogonal":
        keys = {}
    generator = np.random.default_rng(3)
    outer = np.outer(generator.random(4) - 0.5, generator.random(4) - 0.5)
    for scale in (1e-150, 1e-4, 1.0, 1e150):
        for weight in (haar(generator, 4, 4), outer, generator.random((4, 4))):
            layer = make_layer(name, keys, 4, 4, weight * scale)
            exact = exact_norm(layer.effective_weight())
            bound = layer.lipschitz_bound(tight=True)
            assert exact <= bound * (1 + 1e-15)
            if name != "normalised":
                assert bound <= exact * (1 + 1e-9)
            if name in ("aol", "sll_feedforward", "spectral", "orthogonal"):
                assert exact == pytest.approx(1, abs=1e-13)


def test_the_declared_excess_over_one_is_needed_and_enough():
    """Rescaled in float64 a norm of 1 comes out above 1, so a bound of exactly 1 would be wrong."""
    generator = np.random.default_rng(7)
    above = 0
    for name in ("aol", "sll_feedforward", "spectral", "orthogonal"):
        for k in range(12):
            weight = haar(generator, 4, 4) if k % 2 else generator.random((4, 4))
            layer = make_layer(name, {}, 4, 4, weight)
            exact = true_norm(layer.effective_weight().detach())
            above += exact > 1
            assert exact <= layer.lipschitz_bound()
            assert exact <= layer.lipschitz_bound(tight=True)
    assert above > 4
