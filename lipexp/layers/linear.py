"""The layer without a constraint."""

from __future__ import annotations

from torch import Tensor

from lipexp.layers.base import LipschitzLinear


class PlainLinear(LipschitzLinear):
    """x -> W x + b with W free; its bound is W's certified norm.  x: (..., in) -> (..., out)."""

    def effective_weight(self) -> Tensor:
        return self.weight
