"""A frozen chain seen from its inputs: scores, gradients, directions of gradients of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lipexp.certification.chain import Step

# (scores of some of the inputs, which ones) -> cotangents of those scores
Cotangent = Callable[[Tensor, slice], Tensor]

# Numbers in all signals of the inputs that are sent together: a cache's, and what a GPU can hold.
SIGNAL_NUMBERS = {"cpu": 2**22, "cuda": 2**28}


class Chain:
    """Steps for inputs of one shape, which are given and pulled back as rows, (n, d).

    They go through in portions of what the device holds, of an even number: pairs stay together.
    """

    def __init__(self, steps: Sequence[Step], example: Tensor):
        """``example``: (1, ...), an input, float64, on the device of the steps."""
        self.steps, self.shape = steps, example.shape[1:]
        self.shapes = [tuple(self.shape)]  # of what enters each step, and of the scores
        with torch.no_grad():
            for step in steps:
                example = step.module(example)
                self.shapes.append(tuple(example.shape[1:]))
        numbers = sum(math.prod(shape) for shape in self.shapes)
        fitting = SIGNAL_NUMBERS.get(example.device.type, 2**22) // numbers
        self.portion = max(2, fitting - fitting % 2)

    @torch.no_grad()
    def scores(self, points: Tensor) -> Tensor:
        """(n, classes)."""
        return torch.cat([self._forward(part) for part in points.split(self.portion)])

    def pull_back(self, points: Tensor, cotangent: Cotangent) -> tuple[Tensor, Tensor]:
        """(scores, J^T cotangent), shapes (n, classes) and (n, d); 0 of scores that have no graph.

        The weights ask for no gradient, so the graph holds signals alone, and is gone with the
        portion.
        """
        scores, gradients = [], []
        for start in range(0, len(points), self.portion):
            rows = slice(start, start + self.portion)
            with torch.enable_grad():
                leaf = points[rows].detach().requires_grad_()
                found = self._forward(leaf)
            scores.append(found.detach())
            gradients.append(torch.zeros_like(leaf))
            if found.requires_grad:
                (gradients[-1],) = torch.autograd.grad(found, leaf, cotangent(scores[-1], rows))
        if len(scores) == 1:
            return scores[0], gradients[0]
        return torch.cat(scores), torch.cat(gradients)

    def _forward(self, points: Tensor) -> Tensor:
        x = points.reshape(-1, *self.shape)
        for step in self.steps:
            x = step.module(x)
        return x


def reciprocal_size(scores: Tensor) -> Tensor:
    """Powers of two near 1 / max |scores|, shape (n, 1): of cotangents for scores of any size."""
    exponent = torch.frexp(scores.abs().amax(1, keepdim=True)).exponent
    return torch.exp2(-exponent.clamp(-1000, 1000).double())


def norms(rows: Tensor) -> Tensor:
    """Plain ones, shape (n, 1)."""
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def positive(sizes: Tensor) -> Tensor:
    """1 in place of 0, to divide by."""
    return torch.where(sizes > 0, sizes, 1.0)


def directions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(h, c) with c h = rows / |rows|, shapes (n, d) and (n, 1), of rows of any size.

    c = 0 for a row of zeros, and for one whose numbers are not all finite.
    """
    sizes = norms(rows)
    if bool(((sizes > 2.0**-400) & (sizes < 2.0**400)).all()):  # no square under- or overflowed
        return rows, 1 / sizes
    top = rows.abs().amax(1, keepdim=True)
    usable = (top > 0) & (top < torch.inf)  # False for NaN
    scaled = torch.where(usable, rows / positive(top), 0.0)
    return scaled, torch.where(usable, 1 / positive(norms(scaled)), 0.0)
