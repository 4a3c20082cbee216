"""The points that are certified, checked once and handed out in batches of float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipexp.errors import UserError

Array = np.ndarray | Tensor
FLOATS = ("float64", "float32", "float16", "bfloat16")  # each number of which is a float64


class Points:
    """Inputs (N, ...) with their labels (N,), int64.

    uint8 inputs are divided by ``scale``; floats are the certified points as they stand.  ``box``:
    they are pixels in [0, 1].  Raises UserError for other types, no inputs, labels that are not
    one whole number per input, numbers that are not finite or, in the box, outside [0, 1].
    """

    def __init__(self, images: Array, labels: Any, *, scale: float, box: bool):
        self.images = np.asarray(images) if not isinstance(images, Tensor) else images.detach()
        if isinstance(self.images, Tensor):
            if self.images.layout != torch.strided or self.images.is_meta:
                raise UserError("inputs must be a dense tensor or array with numbers in it")
            self.images = self.images.as_subclass(Tensor)  # a subclass may compute anything
        self.labels = _whole_numbers(labels)
        self.kind = str(self.images.dtype).removeprefix("torch.")
        if not isinstance(self.images, Tensor):
            self.kind = self.images.dtype.name
        self.whole = self.kind == "uint8"
        self.scale = scale
        if len(self.images.shape) < 2 or 0 in self.images.shape:
            raise UserError(f"no inputs to certify: the shape is {tuple(self.images.shape)}")
        if self.labels.shape != (len(self),):
            raise UserError(f"{len(self):,} inputs have labels of shape {self.labels.shape}")
        if not (math.isfinite(scale) and scale > 0):
            raise UserError(f"scale={scale}: must be a positive number")
        self._check_values(box)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.images.shape[1:])

    def batch(self, start: int, stop: int, device: torch.device | str = "cpu") -> Tensor:
        """Inputs start..stop - 1 as float64."""
        some = self.images[start:stop]
        if not isinstance(some, Tensor):
            # A copy, in native byte order: the array may be read-only, or from a file.
            some = torch.from_numpy(np.array(some, dtype=self.kind))
        # A copy in any case: a module that works in place must not reach the caller's numbers.
        some = some.to(device=device, dtype=torch.float64, copy=True)
        return some / self.scale if self.whole else some

    def check_labels(self, classes: int) -> None:
        """Raises UserError for a label that is no class."""
        wrong = (self.labels < 0) | (self.labels >= classes)
        if wrong.any():
            index = int(wrong.argmax())
            raise UserError(
                f"label {self.labels[index]} of input {index}: the network's classes are "
                f"0..{classes - 1}"
            )

    def _check_values(self, box: bool) -> None:
        if not self.whole and self.kind not in FLOATS:
            raise UserError(f"inputs of type {self.kind}: must be uint8 or {', '.join(FLOATS)}")
        low, high = float(self.images.min()), float(self.images.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise UserError("an input is NaN or infinite")
        if self.whole:
            low, high = low / self.scale, high / self.scale
        if box and not (low >= 0 and high <= 1):
            raise UserError(
                f"inputs reach from {low:g} to {high:g}: pixels must be in [0, 1] "
                "(uint8 ones are divided by scale); box=False certifies inputs that are no pixels"
            )


def _whole_numbers(labels: Any) -> np.ndarray:
    labels = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise UserError(f"labels of type {labels.dtype}: must be whole numbers")
    return labels.astype(np.int64)
