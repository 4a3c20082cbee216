"""The shape every network has: a stem, a body of hidden layers, a head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from lipexp.activations.base import Activation
from lipexp.layers.base import FreeWeightModule
from lipexp.lipschitz import ExactMap


@dataclass(frozen=True)
class HiddenLayer:
    """One hidden layer: its number (1, 2, ...), path, module, and what stands behind it.

    ``activation`` first, then ``maps``: parameter-free linear maps, in order.
    """

    number: int
    path: str
    layer: FreeWeightModule
    activation: Activation
    maps: tuple[nn.Module, ...] = ()


class Network(nn.Sequential):
    """stem -> body -> head, an ``nn.Sequential`` of modules that answer ``lipschitz_bound``.

    ``stem`` brings the input to the first hidden layer and is not counted; in ``body`` every hidden
    layer is followed by its activation and parameter-free linear maps; ``head`` maps to class
    scores, a layer and such maps behind it, and is None without classes.
    """

    def __init__(self, stem: nn.Sequential, body: nn.Sequential, head: nn.Module | None):
        super().__init__()
        self.add_module("stem", stem)
        self.add_module("body", body)
        self.has_head = head is not None
        if head is not None:
            self.add_module("head", head)

    def hidden_layers(self) -> Iterator[HiddenLayer]:
        """The hidden layers in order."""
        children = list(self.body.named_children())
        starts = [k for k, (_, c) in enumerate(children) if isinstance(c, FreeWeightModule)]
        for number, (start, stop) in enumerate(
            zip(starts, [*starts[1:], len(children)], strict=True), 1
        ):
            name, layer = children[start]
            activation, *maps = (child for _, child in children[start + 1 : stop])
            yield HiddenLayer(number, f"body.{name}", layer, activation, tuple(maps))

    @property
    def head_layer(self) -> FreeWeightModule:
        """The head's layer with weights."""
        return self.head if isinstance(self.head, FreeWeightModule) else self.head[0]

    @property
    def head_maps(self) -> tuple[ExactMap, ...]:
        """The parameter-free maps behind it."""
        return () if isinstance(self.head, FreeWeightModule) else tuple(self.head[1:])
