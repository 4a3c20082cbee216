"""Displacements that an attack may try: in a ball around each input and, for pixels, in the box.

All in units of the radius, so that nothing under- or overflows with it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipexp.certification.gradients import norms, positive
from lipexp.certification.radii import LARGEST_BALL
from lipexp.certification.slack import norm_bound
from lipexp.lipschitz import UNIT_ROUNDOFF, gamma

SMALLEST_BALL = 2.0**-900  # below, a displacement may be denormal, with no relative precision


class Balls:
    """The balls of ``radius`` (n,) around ``centre`` (n, d), met with [0, 1]^d if ``box``.

    A displacement q (n, d) stands for the point centre + radius q.  ``reach`` (n, 1) <= 1 is how
    long q may be so that the distance of that point, rounded as it is stored, is at most the
    radius, exactly and as it is computed again.  It is 0 where no rounded step is that short, and
    where the radius is 0 or NaN.  Radii beyond the box, or 2^400, are taken as that.
    """

    def __init__(self, centre: Tensor, radius: Tensor, box: bool):
        size = centre.shape[1]
        most = math.sqrt(size) if box else LARGEST_BALL
        given = radius.to(centre).nan_to_num(nan=0.0, posinf=math.inf).clamp(0.0, most)[:, None]
        stored = UNIT_ROUNDOFF * (norm_bound(centre)[:, None] + given)  # rounding of the point
        usable = given >= SMALLEST_BALL
        room = 1 - gamma(2 * size + 32) - 2 * stored / torch.where(usable, given, 1.0)
        self.reach = torch.where(usable, room, 0.0).clamp(min=0.0)
        self.centre, self.radius, self.box = centre, torch.where(self.reach > 0, given, 0.0), box
        self.low = -centre / positive(self.radius) if box else None
        self.high = (1 - centre) / positive(self.radius) if box else None

    def __getitem__(self, which: Tensor) -> Balls:
        """The balls of some of the inputs."""
        some = object.__new__(Balls)
        some.box = self.box
        for name in ("centre", "radius", "reach", "low", "high"):
            part = getattr(self, name)
            setattr(some, name, None if part is None else part[which])
        return some

    def point(self, q: Tensor) -> Tensor:
        """centre + radius q, shape (n, d); rounding does not lead out of the box."""
        at = torch.addcmul(self.centre, self.radius, q)
        return at.clamp_(0.0, 1.0) if self.box else at

    def nearest(self, q: Tensor, rounds: int = 2) -> Tensor:
        """The displacement in ball and box that is nearest to a finite ``q``, or next to it.

        That is clamp(s q), with s <= 1 such that its norm is the reach.  The norm of clamp(s q)
        grows more slowly than s, so that s reach / norm does not lead out of the ball; what is
        missing shrinks by the clamped entries' share of the square, each round.
        """
        s = self._shortening(q)
        inside = q * s
        if not self.box:
            return inside
        torch.clamp(inside, self.low, self.high, out=inside)
        for _ in range(rounds):
            s = (s * (self.reach / positive(norms(inside)))).clamp(max=1.0)
            torch.mul(q, s, out=inside)
            torch.clamp(inside, self.low, self.high, out=inside)
        return inside.mul_(self._shortening(inside))

    def _shortening(self, q: Tensor) -> Tensor:
        return (self.reach / positive(norms(q))).clamp(max=1.0)
