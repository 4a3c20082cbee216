"""Lower bounds of a network's Lipschitz constant: what distances between inputs really became."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lipexp.certification.chain import Step
from lipexp.certification.gradients import Chain, directions, norms, positive, reciprocal_size
from lipexp.certification.slack import error_within, input_error, norm_bound
from lipexp.lipschitz import gamma, safe_norm
from lipexp.streams import stream

SHORT, END = 1e-3, 0.1  # lengths of pairs, as shares of the input's norm
AT_DATA, APART = 0.2, 0.8  # shares of the iterations after which pairs are long, and shrink again
PACE = 0.5  # how far a pair's middle moves in a step, in its lengths


def lipschitz_lower_bound(
    steps: Sequence[Step], inputs: Tensor, *, iterations: int = 30, seed: int = 0, first: int = 0
) -> Tensor:
    """Lower bounds of Lip(f), (N,), float64, on the CPU: one found from each input.

    Each is |f(a) - f(b)| / |a - b| of a pair of inputs a, b.  With D = f(a) - f(b), each iteration
    turns the pair to the direction of J(a)^T D + J(b)^T D and moves its middle along J(a)^T D -
    J(b)^T D.  First the pair is short, around the input: this is the power iteration for the norm
    of the Jacobian there.  Then it is as long as the input, and climbs, which a Jacobian's norm
    could not: a piecewise linear network has no second derivative.  At the end it shrinks.

    Pairs and not Jacobians count, since at a kink automatic differentiation may return what is no
    derivative.  What rounding may have added to f(a) - f(b) is subtracted, so that the bound holds
    for the exact function of the float64 weights; 0 where that leaves nothing, or signals leave the
    range of the analysis.  steps, inputs, seed, first: see `attack.attack`.
    """
    centre = inputs.detach().flatten(1).clone()
    chain = Chain(steps, inputs[:1])
    size = positive(norms(centre))
    v = _drawn(centre, seed, first)
    best = torch.zeros(len(centre), 4, dtype=torch.float64, device=centre.device)
    for t in range(iterations):
        length = size * _length(t / iterations)
        a, b = centre + length / 2 * v, centre - length / 2 * v
        difference, up_a, up_b = _pulled(chain, a, b)
        found = torch.stack((difference, safe_norm(a - b), norm_bound(a), norm_bound(b)), dim=1)
        better = difference / positive(found[:, 1]) > best[:, 0] / positive(best[:, 1])
        best = torch.where((better & (difference < torch.inf))[:, None], found, best)
        h, c = directions(up_a + up_b)
        v = torch.where(c > 0, h * c, v)
        h, c = directions(up_a - up_b)
        centre = centre + h * (c * PACE * length)
    return _proven(chain, best.cpu())


def _length(share: float) -> float:
    """Of the pairs after a share of the iterations, relative to the input."""
    if share < AT_DATA:
        return SHORT
    return END ** max(0.0, (share - APART) / (1 - APART))


def _pulled(chain: Chain, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """|D|, and J(a)^T D, J(b)^T D up to a factor, with D = f(a) - f(b)."""

    def cotangent(scores: Tensor, _: slice) -> Tensor:
        difference = scores[0::2] - scores[1::2]
        difference = difference * reciprocal_size(difference)
        return torch.stack((difference, -difference), dim=1).flatten(0, 1)

    pairs = torch.stack((a, b), dim=1).flatten(0, 1)
    scores, gradients = chain.pull_back(pairs, cotangent)
    return safe_norm(scores[0::2] - scores[1::2]), gradients[0::2], -gradients[1::2]


def _proven(chain: Chain, pairs: Tensor) -> Tensor:
    """Of rows |f(a) - f(b)|, |a - b|, |a|, |b| as computed: quotients less what is rounding."""
    moved, apart, *ends = pairs.unbind(1)
    size = torch.maximum(*ends)
    inputs, classes = (math.prod(chain.shapes[k]) for k in (0, -1))
    error = error_within(
        chain.steps, chain.shapes[:-1], size, input_error(torch.zeros_like(size), inputs)
    )
    rounding = 1 - gamma(2 * inputs + 2 * classes + 64)
    bound = (moved * rounding - 2 * error) / positive(apart) * rounding
    return torch.where((bound > 0) & (apart > 0), bound, 0.0)  # False for NaN


def _drawn(centre: Tensor, seed: int, first: int) -> Tensor:
    """A random unit vector for each input, of its own stream."""
    drawn = np.empty(centre.shape)
    for row in range(len(centre)):
        drawn[row] = stream(seed, "pairs", first + row).standard_normal(centre.shape[1])
        drawn[row] /= np.linalg.norm(drawn[row])
    return torch.from_numpy(drawn).to(centre)
