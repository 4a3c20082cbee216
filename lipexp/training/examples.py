"""A split on the device: its batches, the order of an epoch, and what is held out of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from lipexp.data.dataset import Split, stratified_split
from lipexp.errors import UserError
from lipexp.streams import stream

# (stored inputs, their indices) -> stored inputs, augmented
Change = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and labels as tensors on one device.

    inputs: images as uint8 (N, C, H, W) until they are used, tables as float32 (N, F); labels:
    int64 (N,).  ``scale`` is what a stored pixel is divided by.
    """

    inputs: Tensor
    labels: Tensor
    scale: float = 1.0

    @classmethod
    def of(cls, split: Split, device: torch.device | str) -> Examples:
        inputs, labels = torch.from_numpy(split.inputs), torch.from_numpy(split.labels)
        return cls(inputs.to(device), labels.to(device), split.scale)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.inputs.shape[1:])

    def batch(
        self, indices: Tensor | slice, dtype: torch.dtype, change: Change | None = None
    ) -> tuple[Tensor, Tensor]:
        """(pixels in [0, 1] or table rows, labels) of the chosen examples.

        ``change`` augments the stored inputs; it needs ``indices`` as a tensor.
        """
        inputs, labels = _rows(self.inputs, indices), _rows(self.labels, indices)
        if change is not None:
            inputs = change(inputs, indices)
        return inputs.to(dtype) / self.scale, labels


def _rows(tensor: Tensor, indices: Tensor | slice) -> Tensor:
    """tensor[indices]; on a CPU index_select takes a tenth of that time."""
    return tensor[indices] if isinstance(indices, slice) else tensor.index_select(0, indices)


def parts(count: int, batch: int) -> list[tuple[int, int]]:
    """(start, stop) of the steps of an epoch: ceil(count / batch) parts as even as can be.

    Every example takes part, none is dropped, and no step is of a small remainder, whose gradient
    would count as much as the others': sizes differ by at most one.
    """
    steps = math.ceil(count / batch)
    edges = [count * k // steps for k in range(steps + 1)]
    return list(pairwise(edges))


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, a permutation of 0..count - 1; int64, of seed and epoch alone."""
    return torch.from_numpy(stream(seed, "order", epoch).permutation(count))


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """(training, validation) splits, every class in proportion; ``share`` is the validation's.

    Raises UserError where one of the two would be empty.
    """
    total = len(split)
    count = round(share * total)
    if not 0 < count < total:
        side = "validation" if count <= 0 else "training"
        raise UserError(f"task.validation={share}: of {total:,} inputs none is left for {side}")
    chosen = stratified_split(split.labels, count, stream(seed, "validation"))
    training, validation = (_subset(split, indices) for indices in chosen)
    return training, validation


def _subset(split: Split, indices: np.ndarray) -> Split:
    return Split(split.inputs[indices], split.labels[indices], split.scale)
