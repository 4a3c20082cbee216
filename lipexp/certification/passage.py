"""Sending all inputs through a chain, and keeping what the error analysis needs to know."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipexp.activations.base import Activation
from lipexp.certification.chain import Step
from lipexp.certification.inputs import Points
from lipexp.certification.slack import LARGEST_SIGNAL, norm_bound, rounds_nothing
from lipexp.errors import UserError
from lipexp.layers.base import LipschitzResidual

# Numbers of the widest signal in a batch: what stays in a cache, and what keeps a GPU busy.
BATCH_NUMBERS = {"cpu": 2**18, "cuda": 2**25}


@dataclass
class Passage:
    """scores: (N, classes), float64, on the CPU.

    ``shapes``: of one input of each step; ``sizes``: bounds on the norms of the inputs, (N,);
    ``norms``: the same before each step, None where it rounds nothing; ``in_range``: (N,), whether
    every signal stayed where nothing overflows; ``alone``: (classes,), scores of the first input
    when it was sent by itself; seconds spent on loading and on steps.
    """

    scores: Tensor
    alone: Tensor
    shapes: list[tuple[int, ...]]
    sizes: Tensor
    norms: list[Tensor | None]
    in_range: Tensor
    seconds_loading: float = 0.0
    seconds_forward: float = 0.0


def shapes_through(
    steps: Sequence[Step], points: Points, device: torch.device
) -> list[tuple[int, ...]]:
    """The shape of one input of each step, then of the scores, found by sending the first input.

    Raises UserError, naming the step, where they do not fit, and where the result is no vector of
    at least two scores.
    """
    x = points.batch(0, 1, device)
    shapes = [points.shape]
    for step in steps:
        try:
            x = step.module(x)
        except (RuntimeError, ValueError, IndexError, UserError) as error:
            line = str(error).partition("\n")[0]
            raise UserError(
                f"{step.path}: inputs of shape {shapes[-1]} do not fit: {line}"
            ) from error
        _check_batch(step, x, 1)
        if isinstance(step.module, Activation | LipschitzResidual) and x.shape[1:] != shapes[-1]:
            raise UserError(
                f"{step.path}: makes outputs of shape {tuple(x.shape[1:])} of inputs of shape "
                f"{shapes[-1]}: it would copy numbers"
            )
        shapes.append(tuple(x.shape[1:]))
    if len(shapes[-1]) != 1 or shapes[-1][0] < 2:
        raise UserError(
            f"the network's outputs have shape {shapes[-1]}: a certificate is of two or more scores"
        )
    return shapes


def _check_batch(step: Step, x: Tensor, count: int) -> None:
    """Raises UserError where a step mixed the inputs of a batch, or lost some."""
    if len(x) != count:
        raise UserError(
            f"{step.path}: makes {len(x)} outputs of {count} inputs: inputs have an axis too few"
        )


def send(
    steps: Sequence[Step], points: Points, device: torch.device, batch: int | None = None
) -> Passage:
    """All inputs, in batches.  Raises UserError for what does not fit or is out of range."""
    if not steps:
        raise UserError("the network has no modules: there is nothing to certify")
    *shapes, (classes,) = shapes_through(steps, points, device)
    points.check_labels(classes)
    for step, shape in zip(steps, shapes, strict=True):
        step.check_range(shape)
    if batch is None:
        widest = max(math.prod(shape) for shape in shapes)
        batch = max(1, BATCH_NUMBERS.get(device.type, 2**18) // widest)
    count = len(points)

    def column() -> Tensor:
        return torch.empty(count, dtype=torch.float64, device=device)  # no wait at every step

    passage = Passage(
        scores=torch.empty(count, classes, dtype=torch.float64),
        alone=_first_scores(steps, points, device),
        shapes=shapes,
        sizes=column(),
        norms=[
            None if rounds_nothing(step, shape) else column()
            for step, shape in zip(steps, shapes, strict=True)
        ],
        in_range=torch.ones(count, dtype=torch.bool),
    )
    for start in range(0, count, batch):
        _send_batch(passage, steps, points, slice(start, min(start + batch, count)), device)
    passage.sizes = passage.sizes.cpu()
    passage.norms = [None if norms is None else norms.cpu() for norms in passage.norms]
    for norms in (passage.sizes, *passage.norms, norm_bound(passage.scores)):
        if norms is not None:
            passage.in_range &= norms <= LARGEST_SIGNAL  # False for NaN
    return passage


def _first_scores(steps: Sequence[Step], points: Points, device: torch.device) -> Tensor:
    x = points.batch(0, 1, device)
    for step in steps:
        x = step.module(x)
    return x[0].cpu()


def _send_batch(passage, steps, points: Points, rows: slice, device: torch.device) -> None:
    begun = time.perf_counter()
    x = points.batch(rows.start, rows.stop, device)
    passage.seconds_loading += time.perf_counter() - begun
    passage.sizes[rows] = norm_bound(x)
    for step, norms in zip(steps, passage.norms, strict=True):
        if norms is not None:
            norms[rows] = norm_bound(x)
        begun = time.perf_counter()
        x = step.module(x)
        passage.seconds_forward += time.perf_counter() - begun
        _check_batch(step, x, rows.stop - rows.start)
    begun = time.perf_counter()
    passage.scores[rows] = x.cpu()
    passage.seconds_forward += time.perf_counter() - begun
