"""The shape every network has: a stem, a body of hidden layers, a head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from lipexp.activations.base import Activation
from lipexp.layers.base import FreeWeightModule


@dataclass(frozen=True)
class HiddenLayer:
    """One hidden layer: its number (1, 2, ...), path, module, and the activation behind it."""

    number: int
    path: str
    layer: FreeWeightModule
    activation: Activation


class Network(nn.Sequential):
    """stem -> body -> head, an ``nn.Sequential`` of modules that answer ``lipschitz_bound``.

    ``stem`` brings the input to the first hidden layer and is not counted; ``body`` alternates
    hidden layers and activations; ``head`` maps to class scores and is None without classes.
    """

    def __init__(self, stem: nn.Sequential, body: nn.Sequential, head: nn.Module | None):
        super().__init__()
        self.add_module("stem", stem)
        self.add_module("body", body)
        self.has_head = head is not None
        if head is not None:
            self.add_module("head", head)

    def hidden_layers(self) -> Iterator[HiddenLayer]:
        """The hidden layers in order; the network must alternate layers and activations."""
        children = list(self.body.named_children())
        for index in range(0, len(children), 2):
            (name, layer), (_, activation) = children[index : index + 2]
            yield HiddenLayer(index // 2 + 1, f"body.{name}", layer, activation)
