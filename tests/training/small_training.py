"""Small trainings that take milliseconds, and what two of them must share to be the same."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lipexp.networks.blueprint import Blueprint
from lipexp.networks.mlp import mlp
from lipexp.training.examples import Examples
from lipexp.training.loop import Training
from lipexp.training.recipe import Recipe

SHAPE = (1, 6, 6)
CLASSES = 3


def image_examples(count=37, shape=SHAPE, seed=0) -> Examples:
    """Random images with random labels; 37 is no multiple of a batch."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, count)
    return Examples(torch.from_numpy(images), torch.from_numpy(labels), 255.0)


def small_network(seed=0, dtype=torch.float32, **plan):
    plan = {"model": "aol", "depth": 2, "width": 8, "input_shape": SHAPE, **plan}
    plan = {"classes": CLASSES, "mean": (0.5,), "init": "orthogonal", **plan}
    return mlp(Blueprint(**plan), seed=seed, dtype=dtype)


def small_training(network=None, examples=None, *, seed=0, **recipe) -> Training:
    recipe = {"epochs": 3, "batch": 8, "lr": 1e-2, "offset": 0.5, "temperature": 0.25, **recipe}
    network = small_network() if network is None else network
    examples = image_examples() if examples is None else examples
    return Training(network, Recipe(**recipe), examples, seed)


def state_of(training: Training) -> dict[str, torch.Tensor]:
    """Copies of all tensors of a training, with its counters."""
    tensors = {f"network {n}": t for n, t in training.network.state_dict().items()}
    for index, entries in training.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer {index} {key}": t for key, t in entries.items()}
    counters = {"epoch": torch.tensor(training.epoch), "step": torch.tensor(training.step)}
    return {name: t.clone() for name, t in (tensors | counters).items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Equal to the bit, names and types included."""
    return left.keys() == right.keys() and all(
        t.dtype == right[name].dtype and torch.equal(t, right[name]) for name, t in left.items()
    )


class Recorded(nn.Module):
    """A network that keeps every batch it is given; ``spoil(call, scores)`` changes its answer."""

    def __init__(self, network: nn.Module, spoil=lambda call, scores: scores):
        super().__init__()
        self.network, self.batches, self._spoil = network, [], spoil

    def forward(self, x):
        self.batches.append(x)
        return self._spoil(len(self.batches), self.network(x))
