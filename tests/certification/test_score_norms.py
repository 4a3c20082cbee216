"""Scores that move by at most rho in a norm: the margin that is needed, and no less."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from lipexp.certification import withstands
from lipexp.certification.scores import margin_factor
from lipexp.errors import UserError
from tests.exact import rational

# Movements that lose most for label 0 against class 1, of norm 1 each; squared lengths are exact.
WORST = {1: (-1, 0, 0), 2: (-1, 1, 0), math.inf: (-1, 1, -1)}
SQUARES = {1: 1, 2: 2, math.inf: 4}  # of the factors


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_no_movement_of_that_norm_moves_a_difference_further_and_one_moves_it_as_far(norm):
    generator = np.random.default_rng(0)
    factor = margin_factor(norm)
    for v in generator.standard_normal((2000, 4)):
        size = np.linalg.norm(v, norm)
        for y, j in itertools.permutations(range(4), 2):
            assert abs(v[y] - v[j]) <= factor * size * (1 + 1e-14)
    worst = np.array(WORST[norm])
    assert Fraction(int(worst[1] - worst[0])) ** 2 == SQUARES[norm] * Fraction(
        round(np.linalg.norm(worst, norm) ** 2)
    )
    assert Fraction(factor) ** 2 >= SQUARES[norm]
    assert Fraction(math.nextafter(factor, 0)) ** 2 < SQUARES[norm]


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_what_withstands_cannot_be_moved_to_a_tie_in_exact_arithmetic(norm):
    generator = np.random.default_rng(1)
    scores = torch.from_numpy(generator.standard_normal((500, 3)))
    labels = scores.argmax(1)
    runner_up = scores.scatter(1, labels[:, None], -torch.inf).amax(1)
    margin = scores.amax(1) - runner_up
    square = SQUARES[norm]
    for share, least in ((1 - 1e-12, 500), (1 + 1e-15, 0), (1.0, 0), (0.5, 500), (2.0, 0)):
        rho = margin / margin_factor(norm) * share
        found = withstands(scores, labels, rho, norm)
        assert int(found.sum()) == least
        for row, label, r, kept in zip(scores, labels, rho.tolist(), found.tolist(), strict=True):
            exact = rational(row)
            gap = exact[label] - max(np.delete(exact, int(label)))
            assert not kept or gap**2 > square * Fraction(r) ** 2


@pytest.mark.parametrize("norm", [1, 2, math.inf])
def test_a_margin_of_exactly_the_factor_is_no_certificate(norm):
    scores = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).double()
    labels = torch.tensor([0, 0, 0])
    assert not withstands(scores, labels, 2 / margin_factor(norm), norm).any()
    assert withstands(scores, labels, 1.9 / margin_factor(norm), norm).tolist() == [
        True,
        False,
        False,
    ]
    assert withstands(scores, labels, 0.0, norm).tolist() == [True, False, False]


def test_a_factor_for_a_weaker_norm_would_be_broken():
    """l-infinity movements are the largest set: the l2 factor certifies what they turn."""
    scores, label = torch.tensor([[1.9, 0.0, 0.0]]).double(), torch.tensor([0])
    moved = scores + torch.tensor(WORST[math.inf])
    assert moved.argmax() == 1
    assert withstands(scores, label, 1.0, 2)
    assert not withstands(scores, label, 1.0, math.inf)


def test_what_is_not_finite_or_negative_withstands_nothing():
    labels = torch.tensor([0])
    for bad in (math.nan, math.inf, -math.inf):
        for row in ([bad, 0.0], [1.0, bad]):
            assert not withstands(torch.tensor([row]), labels, 1e-3).any()
    for rho in (math.nan, -1.0, math.inf):
        assert not withstands(torch.tensor([[1.0, 0.0]]), labels, rho).any()
    assert not withstands(torch.tensor([[5e-324, 0.0]]).double(), labels, 5e-324).any()


def test_another_norm_is_refused():
    with pytest.raises(UserError, match="score norm 3: must be 1, 2 or inf"):
        margin_factor(3)
