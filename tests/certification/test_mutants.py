"""The test of the tests: each way of being a little wrong is caught by one of the other tests."""

from __future__ import annotations

import pytest
import torch

from lipexp.certification import certificate, constants, known, radii
from lipexp.certification.constants import product
from lipexp.certification.passage import send
from lipexp.certification.scores import SQRT2
from lipexp.layers.base import LipschitzAffine
from tests.certification import test_crafted_networks as crafted
from tests.certification import test_isometric_networks as isometric
from tests.certification import test_network_constants as network_constants
from tests.certification import test_strictness as strictness


def smaller_product(bounds):
    return 0.999 * product(bounds)


def sqrt2_for_every_pair(bounds, head, distances, classes):
    """As if the head of unit rows were itself 1-Lipschitz."""
    body = bounds[: head.index] if head else bounds
    return torch.full((classes, classes), SQRT2 * product(body)).double().fill_diagonal_(0)


def norm_on_the_ring(kernel):
    """The exact norm of a one-channel convolution on the ring of three pixels."""
    return float(torch.fft.fft2(kernel[0, 0], s=(3, 3)).abs().max())


def scores_in_float32(steps, points, device, batch=None):
    passage = send(steps, points, device, batch)
    passage.scores, passage.alone = (s.float().double() for s in (passage.scores, passage.alone))
    return passage


MUTANTS = {
    "K is a thousandth too small": (
        (constants, "product", smaller_product),
        lambda: isometric.check_isometric("identity", 1.0),
    ),
    "K is a thousandth too small, of maxmin": (
        (constants, "product", smaller_product),
        lambda: isometric.check_isometric("maxmin", 0.3),
    ),
    "certified where the radius is not less than eps": (
        (certificate, "exceeds", lambda found, eps: found >= float(eps)),
        strictness.test_a_radius_equal_to_eps_is_not_certified_and_the_next_smaller_eps_is,
    ),
    "no slack, in float64": (
        (radii, "rounding", torch.zeros_like),
        lambda: crafted.check_cancelling(53),
    ),
    "no slack, where rounding breaks a tie elsewhere": (
        (radii, "rounding", torch.zeros_like),
        lambda: crafted.check_rounding_elsewhere(54, box=True),
    ),
    "no slack elsewhere in the box": (
        (radii, "error_within", lambda steps, shapes, size, error: torch.zeros_like(size)),
        lambda: crafted.check_rounding_elsewhere(54, box=True),
    ),
    "no slack elsewhere in the ball": (
        (radii, "error_within", lambda steps, shapes, size, error: torch.zeros_like(size)),
        lambda: crafted.check_rounding_elsewhere(54, box=False),
    ),
    "products of constants may underflow": (
        (constants, "FLOOR", 0.0),
        network_constants.test_the_product_never_underflows_and_is_zero_only_for_a_zero_factor,
    ),
    "sqrt2 for the 2 of a head of unit rows": (
        (constants, "pair_constants", sqrt2_for_every_pair),
        isometric.test_a_head_of_antipodal_unit_rows_is_tight_with_the_factor_two,
    ),
    "distances of rows one part in 10^6 too small": (
        (constants, "row_distances", lambda w: torch.cdist(w, w) * (1 - 1e-6)),
        isometric.test_a_head_of_antipodal_unit_rows_is_tight_with_the_factor_two,
    ),
    "the ring's norm for zero padding": (
        (known, "convolution_norm", norm_on_the_ring),
        crafted.test_zero_padding_of_three_pixels_is_not_bounded_by_their_ring,
    ),
    "scores in float32": (
        (certificate, "send", scores_in_float32),
        crafted.check_ordinary_numbers,
    ),
    "scores in float32, of a large bias": (
        (certificate, "send", scores_in_float32),
        crafted.test_first_ordinary_network_has_the_radius_worked_out_by_hand,
    ),
    "a norm from below": (
        (LipschitzAffine, "lipschitz_bound", lambda self, tight=False: 0.999999),
        lambda: isometric.check_isometric("identity", 1.0),
    ),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_mutant_is_caught(name, monkeypatch):
    change, claim = MUTANTS[name]
    claim()
    monkeypatch.setattr(*change)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        claim()
