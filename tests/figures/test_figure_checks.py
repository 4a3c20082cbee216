"""A check's verdict follows from its numbers."""

from __future__ import annotations

import math

import pytest

from lipexp.figures.figure import FORMULA, PRINTED, READ, Check, mean_and_error


def test_a_measurement_near_the_printed_value_reproduces_it():
    check = Check("x", law=1.0, ours=1.01, error=0.01, printed=1.05, source=READ)
    assert check.verdict.startswith("reproduced; agrees with the law (+1.0 standard errors)")
    assert check.ratio == pytest.approx(1.01 / 1.05)


def test_a_measurement_far_from_the_printed_value_calls_it_off():
    check = Check("x", law=0.38197, ours=0.381, error=0.001, printed=0.41, source=PRINTED)
    assert check.verdict.startswith("the value printed is off; agrees with the law")
    assert "the plotted formula is off" in Check("x", ours=1.0, printed=0.9, source=FORMULA).verdict


def test_what_is_not_measured_is_compared_by_its_law():
    check = Check("x", law=1.0, printed=1.1, source=READ)
    assert check.verdict == (
        "not run at this size; the value read off the plot agrees with the law there"
    )
    assert "is off the law there" in Check("x", law=1.0, printed=1.3, source=READ).verdict
    assert Check("x", printed=1.3, source=READ).verdict == "not run at this size"
    assert check.ratio is None
    assert check.deviation is None


def test_a_single_draw_in_print_may_be_off_by_its_spread():
    far = {"law": 1.0, "printed": 1.6, "source": READ}
    assert "is off" in Check("x", **far).verdict
    assert "agrees" in Check("x", draw=0.2, **far).verdict


@pytest.mark.parametrize(("apart", "agrees"), [(4.9, True), (-4.9, True), (5.1, False)])
def test_a_law_is_contradicted_beyond_five_standard_errors(apart, agrees):
    check = Check("x", law=1.0, ours=1.0 + 0.01 * apart, error=0.01)
    assert check.agrees is agrees
    assert ("CONTRADICTS THE LAW" in check.verdict) is not agrees
    assert check.deviation == pytest.approx(apart)


def test_an_approximate_law_leaves_its_own_error_open():
    check = Check("x", law=-2.0, ours=-2.05, error=0.001)
    assert check.agrees is False
    open_ = Check("x", law=-2.0, ours=-2.05, error=0.001, approximate=0.03)
    assert open_.agrees is True
    assert open_.deviation == 0


def test_without_an_error_a_law_is_met_exactly_or_not():
    assert Check("x", law=0.0, ours=0.0).agrees is True
    assert Check("x", law=1.0, ours=1.001).agrees is False
    assert Check("x", law=1.0).agrees is None


def test_mean_and_error_of_a_sample():
    assert mean_and_error([1.0, 3.0]) == (2.0, pytest.approx(1.0))
    mean, error = mean_and_error([2.0])
    assert mean == 2.0
    assert math.isnan(error)


def test_a_claimed_bound_holds_or_lies_below_the_truth():
    claim = {"printed": 0.1, "source": FORMULA, "bound": True}
    assert Check("x", ours=0.09, error=0.001, **claim).verdict == "the plotted formula holds"
    assert Check("x", ours=0.103, error=0.001, **claim).verdict == "the plotted formula holds"
    broken = Check("x", ours=0.11, error=0.001, **claim).verdict
    assert broken == "the plotted formula lies below the truth: no upper bound"


def test_there_is_no_ratio_to_a_printed_zero():
    assert Check("CRA", ours=0.5, printed=0.0, source=PRINTED).ratio is None
    assert Check("CRA", ours=0.5, printed=2.0, source=PRINTED).ratio == 0.25
