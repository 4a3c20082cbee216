"""From margins, constants and rounding to radii: one rule, for all inputs and classes at once."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipexp.certification import constants
from lipexp.certification.chain import Step
from lipexp.certification.passage import Passage
from lipexp.certification.scores import margin_factor
from lipexp.certification.slack import error_at, error_within, input_error
from lipexp.errors import UserError
from lipexp.lipschitz import UNIT_ROUNDOFF, gamma, safe_norm

SMALLEST_MARGIN = 1e-290  # below, a margin is too near to underflow
LARGEST_BALL = 2.0**400


@dataclass(frozen=True)
class Radii:
    """All (N,), float64: see `certify` for what they mean."""

    margin: Tensor
    slack: Tensor
    radius: Tensor
    radius_tight: Tensor


def margins(scores: Tensor, labels: Tensor) -> Tensor:
    """s_y - s_j, shape (N, classes), and infinity at j = y."""
    column = labels[:, None]
    return (scores.gather(1, column) - scores).scatter(1, column, torch.inf)


def rounding(error: Tensor) -> Tensor:
    """How far a difference of two scores may be off: sqrt2 times the norm of the error vector."""
    return margin_factor() * error * (1 + 1e-12)


def smallest_radius(margin: Tensor, off: Tensor, constant: Tensor) -> Tensor:
    """min_j (m_j - off - 4 u m_j) / c_j, shape (N,); margin and constant: (N, classes), off: (N,).

    0 where a margin does not exceed its rounding; infinite where no difference of scores can
    change at all.  u m_j is the rounding of the difference, the rest that of this formula.
    """
    room = margin * (1 - 4 * UNIT_ROUNDOFF) - off[:, None]
    quotients = (room / constant * (1 - 8 * UNIT_ROUNDOFF)).clamp(max=sys.float_info.max)
    quotients = torch.where(constant == 0, torch.inf, quotients)
    decided = (room > 0) & (margin > SMALLEST_MARGIN)  # False for NaN
    return torch.where(decided, quotients, 0.0).amin(1)


def radii_of(steps: Sequence[Step], passage: Passage, labels: Tensor, box: bool) -> Radii:
    """The radii of all inputs.

    ``box``: inputs and what they are compared with are pixels in [0, 1].  If not, rounding is
    bounded on the largest ball that could be certified around each input.  Raises UserError for
    a network that does not repeat itself.
    """
    inputs = math.prod(passage.shapes[0])
    classes = passage.scores.shape[1]
    raised, tight = (
        constants.constants_of(steps, classes, tight=tight)[labels] for tight in (False, True)
    )
    margin = margins(passage.scores, labels)
    error = error_at(steps, passage.shapes, passage.norms, input_error(passage.sizes, inputs))
    _check_repeats(passage, error)
    if box:
        limit = torch.tensor([math.inf], dtype=torch.float64)
        size = torch.tensor([math.sqrt(inputs) * (1 + gamma(2))], dtype=torch.float64)
    else:
        limit = smallest_radius(margin, torch.zeros_like(error), tight).clamp(max=LARGEST_BALL)
        size = (passage.sizes + limit) * (1 + gamma(4))
    elsewhere = error_within(steps, passage.shapes, size, input_error(size, inputs))
    off = rounding(error + elsewhere)

    def radius(constant: Tensor) -> Tensor:
        found = torch.minimum(smallest_radius(margin, off, constant), limit)
        return torch.where(passage.in_range, found, 0.0)

    smallest = margin.amin(1)
    return Radii(
        margin=smallest,
        slack=off + 4 * UNIT_ROUNDOFF * smallest.abs(),
        radius=radius(raised),
        radius_tight=radius(tight),
    )


def _check_repeats(passage: Passage, error: Tensor) -> None:
    """Raises UserError where the first input had other scores by itself than among the others."""
    apart = safe_norm(passage.alone - passage.scores[0])
    if bool(apart > 2 * error[0] * (1 + 1e-12)):
        raise UserError(
            "the same input has other scores when it is sent again: the network computes with "
            "random numbers, with what it computed before or with the other inputs of a batch"
        )
