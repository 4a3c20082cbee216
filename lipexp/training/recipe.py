"""What decides a training beside network, data and seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    ``batch``: the most images of a step; ``lr``: the largest learning rate of the schedule;
    ``weight_decay`` as in torch (adam, sgd: decay times the weight is added to the gradient; adamw:
    apart from it); ``offset`` (a margin of scores) and ``temperature`` are the loss's;
    ``optimizer``, ``schedule`` and ``augment`` name entries of the registries.
    """

    epochs: int
    batch: int
    optimizer: str = "adam"
    lr: float = 3e-3
    weight_decay: float = 0.0
    schedule: str = "onecycle"
    offset: float = 0.0
    temperature: float = 1.0
    augment: str = "none"
