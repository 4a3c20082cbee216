"""Certified means strictly: ties, NaN, equal rows, and radii that equal eps to the last bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lipexp.certification import certify
from lipexp.errors import UserError
from lipexp.lipschitz import ExactMap
from lipexp.rationals import next_above, parse_eps
from tests.certification.drawn_networks import linear


class Constant(ExactMap):
    """Given scores, whatever the input: what a network that overflows may put out."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x):
        return torch.tensor(self.scores, dtype=torch.float64).expand(len(x), -1)

    def local_error(self, shape, norm):
        return 0.0 * norm


def certified_points(scores, labels) -> pd.DataFrame:
    """Certificates of given scores: the network is the identity, not confined to pixels."""
    scores = torch.tensor(scores, dtype=torch.float64)
    return certify(linear(np.eye(scores.shape[1])), scores, labels, ["1/8"], box=False)


def test_ties_have_radius_zero_whatever_the_label():
    ties = [[1.0, 1, 0]] * 3 + [[0.5] * 3] * 3 + [[0.0] * 3] * 3
    table = certified_points(ties, [0, 1, 2] * 3)
    assert (table["radius"] == 0).all()
    assert not table["certified_1/8"].any()
    assert (table["margin"][[0, 1, 3, 4, 5]] == 0).all()


def test_a_margin_within_its_rounding_has_radius_zero():
    near = [[1.0, 1 - 2**-53], [1.0, 1 - 2**-50], [1e-292, 0]]
    table = certified_points(near, [0, 0, 0])
    assert (table["margin"] > 0).all()
    assert (table["radius"] == 0).all()
    assert table.attrs["points_inside_slack"] >= 2


def test_a_wrong_label_has_a_negative_margin_and_radius_zero():
    table = certified_points([[1.0, 0.25, 0]] * 3, [0, 1, 2])
    assert table["margin"].tolist() == [0.75, -0.75, -1]
    assert (table["radius"] > 0).tolist() == [True, False, False]
    assert table["prediction"].tolist() == [0, 0, 0]
    assert table["label"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_scores_that_are_not_finite_or_huge_certify_nothing(bad):
    for scores in ([bad, 0.0, 0.0], [1.0, bad, 0.0], [1.0, 0.0, bad], [bad] * 3):
        table = certify(nn.Sequential(Constant(scores)), torch.zeros(3, 2), [0, 1, 2], ["1/8"])
        assert (table["radius"] == 0).all()
        assert (table["radius_tight"] == 0).all()
        assert not table["certified_1/8"].any()
        assert (table["prediction"] == -1).all() == math.isnan(bad)


def test_a_radius_equal_to_eps_is_not_certified_and_the_next_smaller_eps_is():
    table = certified_points([[1.0, 0.5, 0]], [0])
    radius = float(table["radius"][0])
    below = math.nextafter(radius, 0)
    exact = {str(Fraction(r)): r for r in (radius, below, math.nextafter(radius, 1))}
    again = certify(linear(np.eye(3)), torch.tensor([[1.0, 0.5, 0]]), [0], exact, box=False)
    found = [bool(again[f"certified_{name}"][0]) for name in exact]
    assert found == [False, True, False]


def test_a_margin_of_exactly_sqrt2_eps_is_not_certified():
    # margin / sqrt2 = 1/8 would need the irrational; the nearest floats from below and above.
    for margin in (2**0.5 / 8, math.nextafter(2**0.5 / 8, 0)):
        table = certified_points([[margin, 0.0]], [0])
        assert not table["certified_1/8"][0]
        assert table["radius"][0] == pytest.approx(0.125, rel=1e-11)
    assert certified_points([[2**0.5 / 8 * (1 + 1e-9), 0.0]], [0])["certified_1/8"][0]


def test_equal_rows_of_a_head_never_stand_in_the_way_unless_they_tie():
    # Scores 0 and 1 differ by a constant: no input can change their order.
    rows = [[1.0, 2], [1.0, 2], [0, 1]]
    x = torch.tensor([[0.5, 0.5]])
    apart = certify(linear(rows, [1.0, 0, -9]), x, [0], [])
    assert apart["radius"][0] == pytest.approx(11 / 2**0.5)
    tied = certify(linear(rows, [1.0, 1, -9]), x, [0], [])
    assert tied["radius"][0] == 0
    only = certify(linear(rows[:2], [1.0, 0]), x, [0], ["1/8"])
    assert only["radius"][0] == math.inf
    assert only["certified_1/8"][0]
    assert certify(linear(rows[:2], [0.0, 0]), x, [0], [])["radius"][0] == 0


def test_a_constant_network_is_certified_everywhere_in_the_box_or_nowhere():
    net = nn.Sequential(linear(np.zeros((2, 2))), linear(np.eye(2), [1.0, 0]))
    x = torch.tensor([[0.5, 0.5]])
    # The layers' own bounds are raised to 1: only the tight radius knows that nothing moves.
    table = certify(net, x, [0], [])
    assert table["radius_tight"][0] == math.inf
    assert table["radius"][0] == pytest.approx(2**-0.5)
    assert certify(net, x, [1], [])["radius_tight"][0] == 0
    assert 0 < certify(net, x, [0], [], box=False)["radius_tight"][0] < math.inf


def test_two_classes_are_certified_and_one_score_is_refused():
    x = torch.zeros(1, 2)
    assert certify(linear(np.eye(2), [1.0, 0]), x, [0], [])["radius"][0] == pytest.approx(2**-0.5)
    with pytest.raises(UserError, match="two or more scores"):
        certify(linear(np.ones((1, 2))), x, [0], [])


@pytest.mark.parametrize("labels", [[3], [-1], [10**12]])
def test_a_label_that_is_no_class_is_refused(labels):
    with pytest.raises(UserError, match=r"of input 0: the network's classes are 0\.\.2"):
        certify(linear(np.eye(3)), torch.zeros(1, 3), labels, [])


@pytest.mark.parametrize(
    ("images", "labels", "line"),
    [
        (torch.zeros(0, 3), np.zeros(0, int), "no inputs to certify"),
        (torch.zeros(3), [0], "no inputs to certify"),
        (torch.zeros(2, 3), [0], r"2 inputs have labels of shape \(1,\)"),
        (torch.zeros(2, 3), [[0], [0]], "2 inputs have labels of shape"),
        (torch.zeros(1, 3), [0.0], "labels of type float64: must be whole numbers"),
        (torch.zeros(1, 3), [True], "labels of type bool"),
        (torch.full((1, 3), 1.5), [0], r"pixels must be in \[0, 1\]"),
        (torch.full((1, 3), -1e-9), [0], r"pixels must be in \[0, 1\]"),
        (torch.full((1, 3), math.nan), [0], "NaN or infinite"),
        (torch.full((1, 3), math.inf), [0], "NaN or infinite"),
        (torch.zeros(1, 3, dtype=torch.int64), [0], "inputs of type int64"),
        (np.zeros((1, 3), dtype=np.longdouble), [0], "inputs of type"),
        (np.zeros((1, 4)), [0], r"inputs of shape \(4,\) do not fit"),
    ],
)
def test_inputs_that_make_no_sense_are_refused_in_one_line(images, labels, line):
    with pytest.raises(UserError, match=line) as error:
        certify(linear(np.eye(3)), images, labels, [])
    assert "\n" not in str(error.value)


def test_a_scale_that_leaves_pixels_above_one_is_refused():
    images = np.full((1, 3), 200, dtype=np.uint8)
    with pytest.raises(UserError, match=r"reach from 12\.5 to"):
        certify(linear(np.eye(3)), images, [0], [], scale=16)
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="must be a positive number"):
            certify(linear(np.eye(3)), images, [0], [], scale=scale)


@pytest.mark.parametrize(
    "eps", ["0", "-1", 0.0, -0.3, math.nan, math.inf, "inf", "", "a", "1/0", True, None, "1e999999"]
)
def test_an_eps_that_is_no_positive_number_is_refused(eps):
    with pytest.raises(UserError):
        certify(linear(np.eye(3)), torch.zeros(1, 3), [0], [eps])


def test_eps_is_the_exact_rational_of_its_text():
    assert parse_eps("36/255") == ("36/255", Fraction(36, 255))
    assert parse_eps(0.3) == ("0.3", Fraction(3, 10))
    assert parse_eps("1") == ("1", 1)
    assert Fraction(0.3) < Fraction(3, 10) <= Fraction(next_above(Fraction(3, 10)))
    assert next_above(Fraction(1, 2)) == 0.5
    for text in ("0.1", "0.2", "0.3", "0.7", "1.58", "36/255", "72/255", "108/255"):
        above = next_above(Fraction(text))
        assert Fraction(math.nextafter(above, 0)) < Fraction(text) <= Fraction(above)


def test_columns_are_named_after_the_texts_of_eps():
    for eps in (["36/255", 0.3, "1"], ("36/255", "0.3", 1)):
        table = certify(linear(np.eye(3)), torch.zeros(1, 3), [0], eps)
        assert list(table.columns) == [
            *("index", "label", "prediction", "margin", "slack", "radius", "radius_tight"),
            *("certified_36/255", "certified_0.3", "certified_1"),
        ]
        assert str(table["certified_1"].dtype) == "bool"
    assert "certified_0.3" in certify(linear(np.eye(3)), torch.zeros(1, 3), [0], 0.3)
