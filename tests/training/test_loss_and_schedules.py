"""The loss against its formula, the schedules against what is promised of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lipexp.training import SCHEDULES
from lipexp.training.losses import offset_cross_entropy
from tests.strategies import seeds

offsets = st.floats(0, 3)
temperatures = st.floats(0.05, 4)


def drawn_scores(seed, batch=5, classes=4):
    generator = np.random.default_rng(seed)
    scores = torch.from_numpy(generator.standard_normal((batch, classes)))
    return scores, torch.from_numpy(generator.integers(0, classes, batch))


@settings(max_examples=50, deadline=None)
@given(seed=seeds, offset=offsets, temperature=temperatures)
def test_loss_is_its_formula_image_by_image(seed, offset, temperature):
    scores, labels = drawn_scores(seed)
    total = 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        shifted = [s - offset * (j == label) for j, s in enumerate(row)]
        weights = [math.exp((s - shifted[label]) / temperature) for s in shifted]
        total += temperature * math.log(sum(weights))
    loss = offset_cross_entropy(scores, labels, offset, temperature)
    assert float(loss) == pytest.approx(total / len(labels), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(seed=seeds, offset=offsets, temperature=temperatures)
def test_gradient_is_of_the_same_scale_at_every_temperature(seed, offset, temperature):
    scores, labels = drawn_scores(seed)
    offset_cross_entropy(scores.requires_grad_(), labels, offset, temperature).backward()
    onehot = torch.eye(4, dtype=torch.float64)[labels]
    shares = torch.softmax((scores.detach() - offset * onehot) / temperature, dim=1)
    torch.testing.assert_close(scores.grad, (shares - onehot) / 5, rtol=1e-12, atol=1e-15)


def test_no_offset_and_temperature_one_is_cross_entropy():
    scores, labels = drawn_scores(0)
    assert torch.equal(offset_cross_entropy(scores, labels), F.cross_entropy(scores, labels))


def test_small_temperature_is_the_hinge_of_the_margin():
    scores, labels = drawn_scores(1)
    onehot = torch.eye(4, dtype=torch.float64)[labels]
    own = scores.gather(1, labels[:, None])
    hinge = (scores - own + 0.7 * (1 - onehot)).amax(1).mean()
    loss = offset_cross_entropy(scores, labels, 0.7, 1e-4)
    # t log(sum of 4 exponentials) lies at most t log 4 above the largest term.
    assert 0 <= float(loss - hinge) <= 1e-4 * math.log(4)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_is_continuous_and_its_maximum_is_one(name):
    factor, grid = SCHEDULES[name], np.linspace(0, 1, 3001)
    values = np.array([factor(p) for p in grid])
    assert values.max() == pytest.approx(1, abs=1e-5)
    assert values.max() <= 1
    assert values.min() >= 0
    # The steepest is a cosine down within 0.3 of the progress: slope pi / 2 / 0.3.
    assert np.abs(np.diff(values)).max() <= math.pi / 2 / 0.3 / 3000 * 1.0001


@pytest.mark.parametrize(
    ("name", "progress", "value"),
    [
        ("onecycle", 0, 1 / 25),
        ("onecycle", 0.15, (1 + 1 / 25) / 2),
        ("onecycle", 0.3, 1),
        ("onecycle", 0.65, 1 / 2),
        ("onecycle", 1, 0),
        ("cosine", 0, 1),
        ("cosine", 0.5, 1 / 2),
        ("cosine", 1, 0),
        ("constant", 0, 1),
        ("constant", 1, 1),
    ],
)
def test_schedule_goes_through_its_points(name, progress, value):
    assert SCHEDULES[name](progress) == pytest.approx(value, abs=1e-15)


def test_onecycle_rises_until_three_tenths_and_falls_from_there():
    values = [SCHEDULES["onecycle"](p) for p in np.linspace(0, 1, 1001)]
    assert np.all(np.diff(values[:301]) > 0)
    assert np.all(np.diff(values[300:]) < 0)
