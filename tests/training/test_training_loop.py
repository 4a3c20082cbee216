"""The loop: what an epoch reports, when it stops, and what counts as right."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lipexp import data
from lipexp.training import OPTIMIZERS, SCHEDULES
from lipexp.training import loop as loop_module
from lipexp.training.examples import Examples, epoch_order, parts
from lipexp.training.loop import Diverged, evaluate
from lipexp.training.losses import offset_cross_entropy
from tests.strategies import seeds
from tests.training.small_training import (
    Recorded,
    image_examples,
    same,
    small_network,
    small_training,
    state_of,
)


def test_an_epoch_is_the_plain_loop_over_torch_s_optimiser():
    training = small_training(epochs=2, weight_decay=0.01)
    plain = small_network()
    optimizer = torch.optim.Adam(plain.parameters(), weight_decay=0.01, foreach=False)
    examples, losses, right = training.examples, [], 0
    for step, (start, stop) in enumerate(parts(37, 8), 1):
        rows = epoch_order(37, 0, 1)[start:stop]
        optimizer.param_groups[0]["lr"] = 1e-2 * SCHEDULES["onecycle"]((step - 0.5) / 10)
        scores = plain(examples.inputs[rows].float() / 255)
        loss = offset_cross_entropy(scores, examples.labels[rows], 0.5, 0.25)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [float(loss.detach())] * len(rows)
        right += int((scores.argmax(1) == examples.labels[rows]).sum())
    metrics = training.run_epoch()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(
            training.network.state_dict()[name], tensor, rtol=1e-5, atol=1e-6
        )
    assert metrics.train_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics.train_accuracy == right / 37
    assert (metrics.epoch, metrics.step) == (training.epoch, training.step) == (1, 5)
    assert metrics.lr == 1e-2 * SCHEDULES["onecycle"](0.45)
    assert metrics.images_per_second == 37 / metrics.seconds


def test_an_epoch_is_trained_in_training_mode_whatever_was_before():
    modes = []
    network = Recorded(
        small_network(), lambda call, scores: modes.append(network.training) or scores
    )
    network.eval()
    small_training(network).run_epoch()
    assert modes == [True] * 5


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_fused_optimisers_are_torch_s_own_of_that_name(name):
    training = small_training(optimizer=name, weight_decay=0.1)
    kind, keys = {
        "adam": (torch.optim.Adam, {"betas": (0.9, 0.999)}),
        "adamw": (torch.optim.AdamW, {"betas": (0.9, 0.999)}),
        "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    }[name]
    assert type(training.optimizer) is kind
    plain = small_network()
    other = kind(plain.parameters(), lr=1e-2, weight_decay=0.1, foreach=False, **keys)
    for number in range(4):
        for one, two in zip(training.network.parameters(), plain.parameters(), strict=True):
            one.grad = torch.from_numpy(
                np.random.default_rng(number).standard_normal(one.shape)
            ).float()
            two.grad = one.grad.clone()
        training.optimizer.step()
        other.step()
    for one, two in zip(training.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_no_step_is_wasted_on_a_learning_rate_of_zero(schedule):
    training = small_training(schedule=schedule)
    rates = [training.lr_of(step) for step in range(1, training.total_steps + 1)]
    assert min(rates) > 0
    assert max(rates) <= 1e-2


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    ends = []
    for seed in (0, 0, 1):
        training = small_training(seed=seed)
        for _ in range(3):
            training.run_epoch()
        ends.append(state_of(training))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])
    with pytest.raises(ValueError, match="all 3 epochs are done"):
        training.run_epoch()


def test_digits_are_learnt_in_five_epochs():
    digits = data.load("digits")
    network = small_network(input_shape=digits.shape, classes=10, mean=digits.mean, width=64)
    examples = Examples.of(digits.train, "cpu")
    training = small_training(network, examples, epochs=5, batch=64, lr=3e-3)
    losses = [training.run_epoch().train_loss for _ in range(5)]
    score = evaluate(network, Examples.of(digits.test, "cpu"), common(1.0, 10), [], 100)
    # Chance is 0.1 with a standard deviation of 0.016 over 360 images.
    assert score.accuracy > 0.8
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("call", [1, 49, 50, 51, 140, 149, 150])
def test_a_loss_that_is_not_finite_is_named_with_its_step_soon_after(bad, call):
    def spoil(number, scores):
        return scores * bad if number == call else scores

    network = Recorded(small_network(), spoil)
    training = small_training(network, image_examples(75), epochs=2, batch=1)
    if call > 75:
        training.run_epoch()
    with pytest.raises(Diverged) as caught:
        training.run_epoch()
    error = caught.value
    assert (error.step, error.epoch) == (call, 1 + (call > 75))
    assert error.lr == training.lr_of(call)
    assert str(error).startswith(f"the loss is nan at step {call} (epoch {error.epoch}), ")
    assert f"learning rate {error.lr:.3g}" in str(error)
    assert error.status == 1
    assert len(network.batches) < call + 50
    assert training.epoch == error.epoch - 1


def test_a_weight_spoilt_by_the_last_step_is_found_though_no_loss_shows_it():
    training = small_training()
    calls = []

    def spoil(gradient):
        calls.append(gradient)
        return gradient * math.nan if len(calls) == training.steps_per_epoch else gradient

    training.network.head.weight.register_hook(spoil)
    with pytest.raises(
        Diverged, match=r"^head.weight is not finite any more at step 5 \(epoch 1\)"
    ):
        training.run_epoch()
    assert training.epoch == 0


def test_progress_is_reported_five_times_a_second_and_at_the_end(monkeypatch):
    now = iter(np.arange(0, 100, 1 / 16))
    monkeypatch.setattr(loop_module.time, "perf_counter", lambda: float(next(now)))
    reports = []
    training = small_training(examples=image_examples(40), batch=2)
    training.run_epoch(lambda *report: reports.append(report))
    # One look at the clock a step, 1/16 s apart: every fourth step, and the last.
    assert [done for done, _, _ in reports] == [4, 8, 12, 16, 20]
    assert all(total == 60 and math.isfinite(loss) for _, total, loss in reports)


def table(scores) -> Examples:
    """Examples whose inputs are their scores under the identity; every label is 0."""
    inputs = torch.tensor(scores, dtype=torch.float32)
    return Examples(inputs, torch.zeros(len(inputs), dtype=torch.int64))


def common(bound: float, classes: int) -> torch.Tensor:
    """The constants of scores that move together by at most ``bound``."""
    return math.sqrt(2) * bound * (1 - torch.eye(classes, dtype=torch.float64))


RADII = [("0", Fraction(0)), ("36/255", Fraction(36, 255)), ("1", Fraction(1))]


@pytest.mark.parametrize(
    "row",
    [
        [1, 1, 0],
        [0, 0, 0],
        [1, 2, 0],
        [math.nan, 0, 0],
        [1, math.nan, 0],
        [math.nan, math.nan, math.nan],
        [math.inf, 0, 0],
        [1, -math.inf, -math.inf],
        [-math.inf, -math.inf, -math.inf],
    ],
)
def test_ties_and_scores_that_are_not_finite_are_never_right(row):
    result = evaluate(nn.Identity(), table([row, [9, 0, 0]]), common(1.0, 3), RADII, 10)
    assert result.accuracy == 0.5
    assert result.estimated_cra == {"0": 0.5, "36/255": 0.5, "1": 0.5}


def test_a_margin_of_just_the_radius_does_not_count():
    edge = np.float32(math.sqrt(2) * 2)
    above = np.nextafter(edge, np.float32(9))
    scores = [[edge, 0], [above, 0], [0.1, 0]]
    result = evaluate(nn.Identity(), table(scores), common(2.0, 2), RADII, 10)
    assert result.accuracy == 1
    assert result.estimated_cra["1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_nothing_is_certified_without_a_finite_bound(bound):
    result = evaluate(nn.Identity(), table([[9, 0]]), common(bound, 2), RADII[1:], 10)
    assert result.accuracy == 1
    assert result.estimated_cra == {"36/255": 0, "1": 0}


@settings(max_examples=30, deadline=None)
@given(seed=seeds, batch=st.integers(1, 40), bound=st.floats(1, 3))
def test_evaluation_counts_image_by_image_whatever_the_batch(seed, batch, bound):
    generator = np.random.default_rng(seed)
    scores = generator.integers(-4, 5, (23, 3)) / 2  # ties are frequent
    labels = generator.integers(0, 3, 23)
    examples = Examples(torch.from_numpy(scores), torch.from_numpy(labels))
    counts = dict.fromkeys(["right", *(name for name, _ in RADII)], 0)
    for row, label in zip(scores, labels, strict=True):
        margin = row[label] - max(np.delete(row, label))
        counts["right"] += margin > 0
        for name, radius in RADII:
            counts[name] += margin > math.sqrt(2) * bound * float(radius)
    result = evaluate(nn.Identity(), examples, common(bound, 3), RADII, batch)
    assert {"right": result.accuracy, **result.estimated_cra} == {
        name: count / 23 for name, count in counts.items()
    }


def test_each_pair_of_classes_has_a_constant_of_its_own():
    constants = torch.tensor([[0, 1, 4], [1, 0, 4], [4, 4, 0]], dtype=torch.float64)
    scores = [[3, 1.9, -1.01], [3, 1.9, -0.99], [3, 2.1, -9]]
    result = evaluate(nn.Identity(), table(scores), constants, RADII, 10)
    assert result.estimated_cra["1"] == pytest.approx(1 / 3)
