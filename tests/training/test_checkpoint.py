"""Checkpoints: a resumed training is the same to the bit, a bad file is one line."""

from __future__ import annotations

import errno
import json
import math
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lipexp.errors import UserError
from lipexp.layers import LAYERS
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.lipconvnet import lipconvnet
from lipexp.training import AUGMENTATIONS, OPTIMIZERS, checkpoint
from lipexp.training.checkpoint import KIND, load, load_network, save
from tests.training.small_training import (
    image_examples,
    same,
    small_network,
    small_training,
    state_of,
)

IDENTITY = {"lr": 0.01, "model.rows": "auto", "task.eps": ["0.3"], "init.beta": math.inf}


def resumed_and_straight(path, **recipe_and_plan):
    """States after 2 epochs: in one go, and by way of a file and another network's training."""
    plan = {k: recipe_and_plan.pop(k) for k in ("model", "dtype") if k in recipe_and_plan}
    examples = image_examples(shape=(1, 8, 8))

    def fresh(seed):
        network = small_network(seed, input_shape=(1, 8, 8), **plan)
        return small_training(network, examples, weight_decay=0.01, **recipe_and_plan)

    straight, first, second = fresh(0), fresh(0), fresh(1)
    for _ in range(2):
        straight.run_epoch()
    first.run_epoch()
    save(path, first, IDENTITY)
    load(path, second, IDENTITY)
    assert same(state_of(first), state_of(second))
    second.run_epoch()
    return state_of(straight), state_of(second)


@pytest.mark.parametrize("augment", sorted(AUGMENTATIONS))
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_resumed_training_is_the_same_to_the_bit(tmp_path, optimizer, augment):
    keys = {"optimizer": optimizer, "augment": augment}
    straight, resumed = resumed_and_straight(tmp_path / "c.safetensors", **keys)
    assert same(straight, resumed)
    assert straight["epoch"] == 2
    assert any(name.startswith("optimizer") for name in straight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("model", sorted(LAYERS))
def test_every_kind_of_layer_is_resumed_to_the_bit(tmp_path, model, dtype):
    straight, resumed = resumed_and_straight(tmp_path / "c.safetensors", model=model, dtype=dtype)
    assert same(straight, resumed)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_images_with_channels_last_are_resumed_to_the_bit(tmp_path, optimizer):
    """Fused optimisers walk flat memory: state must come back in the parameter's layout."""
    plan = Blueprint("aol", 5, 4, (1, 8, 8), classes=3, init="orthogonal", activation="maxmin")

    def fresh(seed):
        network = lipconvnet(plan, seed=seed, dtype=torch.float32)
        network = network.to(memory_format=torch.channels_last)
        examples = image_examples(shape=(1, 8, 8))
        return small_training(network, examples, optimizer=optimizer, batch=19)

    straight, first, second = fresh(0), fresh(0), fresh(1)
    for _ in range(3):
        straight.run_epoch()
    first.run_epoch()
    save(tmp_path / "c.safetensors", first, IDENTITY)
    assert load(tmp_path / "c.safetensors", second, IDENTITY) == []
    for _ in range(2):
        second.run_epoch()
    assert same(state_of(straight), state_of(second))


def test_other_threads_are_named_when_a_training_goes_on(tmp_path):
    path, threads = tmp_path / "c.safetensors", torch.get_num_threads()
    save(path, small_training(), IDENTITY)
    torch.set_num_threads(threads + 1)
    try:
        told = load(path, small_training(), IDENTITY)
    finally:
        torch.set_num_threads(threads)
    assert told == [f"threads was {threads}, is {threads + 1}"]


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_training_that_has_not_begun_can_be_saved(tmp_path, optimizer):
    path, other = tmp_path / "c.safetensors", small_training(small_network(1), optimizer=optimizer)
    begun = small_training(optimizer=optimizer)
    save(path, begun, IDENTITY)
    load(path, other, IDENTITY)
    assert same(state_of(begun), state_of(other))


def test_within_an_epoch_nothing_is_saved(tmp_path):
    training = small_training()

    def interrupt(done, total, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run_epoch(interrupt)
    with pytest.raises(ValueError, match="step 5 is not at the end of an epoch"):
        save(tmp_path / "c.safetensors", training, IDENTITY)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def saved(tmp_path):
    """A checkpoint after one epoch."""
    path, training = tmp_path / "c.safetensors", small_training()
    training.run_epoch()
    save(path, training, IDENTITY)
    return path


def refused(path, match, identity=IDENTITY, training=None):
    """That a file is refused by one line that names it, and the training stays as it was."""
    training = small_training(small_network(1)) if training is None else training
    before = state_of(training)
    with pytest.raises(UserError, match=match) as caught:
        load(path, training, identity)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    assert not line.endswith(".")
    assert same(before, state_of(training))
    return line


REMEDY = "; delete it, or start again with force=true$"


@pytest.mark.parametrize(
    "kept", ["0", "1", "8", "9", "header - 1", "header", "header + 1", "all - 1"]
)
def test_a_truncated_file_is_refused(saved, kept):
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    saved.write_bytes(content[: eval(kept, {"header": header, "all": len(content)})])
    refused(saved, f"is damaged or is not a checkpoint of lipexp{REMEDY}")
    with pytest.raises(UserError, match=REMEDY):
        load_network(saved, small_network())


def test_a_file_of_another_kind_is_refused(saved):
    saved.write_text("epoch 3 of 16\n" * 100)
    refused(saved, f"is damaged or is not a checkpoint of lipexp{REMEDY}")
    save_file({"weight": torch.zeros(3)}, saved)
    refused(saved, f"is not a checkpoint of lipexp{REMEDY}")
    save_file({"weight": torch.zeros(3)}, saved, {KIND: "{}"})
    refused(saved, f"is damaged or is not a checkpoint of lipexp{REMEDY}")


def test_a_file_that_is_not_there_or_not_a_file_is_refused(tmp_path):
    refused(tmp_path / "none", "cannot be read: No such file or directory$")
    refused(tmp_path, "cannot be read: Is a directory$")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"lr": 0.02}, "lr was 0.01 and is 0.02"),
        ({"init.beta": 2.0}, "init.beta was Infinity and is 2.0"),
        ({"width": 3}, "width was not there and is 3"),
        ({"task.eps": ["1"]}, r'task.eps was \["0.3"\] and is \["1"\]'),
    ],
)
def test_another_identity_is_refused_with_what_differs(saved, change, line):
    refused(saved, f"is of another run: {line}{REMEDY}", IDENTITY | change)
    shorter = {k: v for k, v in IDENTITY.items() if k != "lr"}
    refused(saved, f"lr was 0.01 and is not there{REMEDY}", shorter)


@pytest.mark.parametrize(
    ("plan", "line"),
    [
        ({"width": 12}, "body.layer1.bias was 8 float32 and is 12 float32"),
        ({"depth": 3}, "body.layer3.bias is not in it"),
        ({"depth": 1}, "body.layer2.bias is not in the network"),
        ({"dtype": torch.float64}, "body.layer1.bias was 8 float32 and is 8 float64"),
    ],
)
def test_another_network_is_refused_with_what_differs(saved, plan, line):
    other = small_training(small_network(**plan))
    refused(saved, f"is of another network: {line}{REMEDY}", training=other)


def test_other_steps_in_an_epoch_are_refused(saved):
    refused(saved, f"has 5 steps in 1 epochs{REMEDY}", training=small_training(batch=4))


def rewrite(path, change, kind=KIND):
    """The file with other tensors, which ``change`` edits, and another kind."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()[KIND])
    tensors = load_file(path)
    change(tensors)
    about["sha256"] = checkpoint.digest(tensors)
    save_file(tensors, path, {kind: json.dumps(about)})


def test_a_later_form_of_checkpoint_is_refused(saved):
    rewrite(saved, dict, kind="lipexp checkpoint 2")
    refused(saved, f"safetensors is not a checkpoint of lipexp{REMEDY}")


def test_another_optimiser_s_state_is_refused(saved):
    other = small_training(optimizer="sgd")
    refused(saved, f"is of another optimiser: 0.exp_avg has no place in it{REMEDY}", training=other)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda t: t["optimizer.0.exp_avg"].resize_(288), "0.exp_avg is 288 float32"),
        (lambda t: t.update(rename(t, "0.step", "99.step")), "99.step has no place in it"),
        (lambda t: t.update(rename(t, "0.step", "x.step")), "x.step has no place in it"),
        (lambda t: t.update(rename(t, "1.exp_avg", "1.momentum")), "1.momentum has no place in it"),
        (lambda t: t.update({"elsewhere": t.pop("optimizer.1.exp_avg")}), "1.exp_avg is not in it"),
    ],
)
def test_optimiser_state_in_other_places_is_refused(saved, change, line):
    rewrite(saved, change)
    refused(saved, f"is of another optimiser: {line}{REMEDY}")


def rename(tensors, old, new):
    return {f"optimizer.{new}": tensors.pop(f"optimizer.{old}")}


def test_a_single_changed_bit_is_seen(saved):
    content = bytearray(saved.read_bytes())
    content[-20] ^= 4
    saved.write_bytes(bytes(content))
    refused(saved, "its numbers are not those that were written")


def test_a_tensor_that_is_gone_is_missed(saved):
    rewrite(saved, lambda t: [t.pop(n) for n in [*t] if n.startswith("optimizer.0.")])
    refused(saved, f"is damaged: it lacks tensors or has others{REMEDY}")


def test_a_write_that_fails_leaves_the_old_file_whole(saved, monkeypatch):
    before, training = saved.read_bytes(), small_training()
    training.run_epoch()
    training.run_epoch()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(saved, training, IDENTITY)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_metadata_say_how_far_it_is_and_what_made_it(saved):
    from lipexp import __version__

    with safe_open(saved, framework="pt") as file:
        metadata = json.loads(file.metadata()[KIND])
    assert (metadata["epoch"], metadata["step"]) == (1, 5)
    assert metadata["version"] == __version__


def test_weights_alone_go_into_a_network_of_any_precision(saved):
    training = small_training()
    load(saved, training, IDENTITY)
    for dtype in (torch.float32, torch.float64):
        network = small_network(7, dtype)
        load_network(saved, network)
        for name, tensor in network.state_dict().items():
            stored = training.network.state_dict()[name]
            assert torch.equal(tensor, stored.to(tensor.dtype)), name
        assert next(network.parameters()).dtype == dtype
    with pytest.raises(UserError, match=f"is of another network.*{REMEDY}"):
        load_network(saved, small_network(depth=3))
