"""Attacks: points near given inputs, found by gradients, where a classifier's margin is least.

They cannot show that a certificate holds; a success inside a certified radius would show that it
does not.  The l2 attack by projected gradient steps (Madry et al., arXiv 1706.06083) with the step
control of APGD (Croce and Hein, arXiv 2003.01690), on the margin: the gradient of the cross-entropy
vanishes where margins are large.  Steps are along gradients of any size: those of many contracting
layers are 1e-100, and an epsilon beside their norm would stop the attack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from lipexp.certification.ball import Balls
from lipexp.certification.chain import Step
from lipexp.certification.gradients import Chain, directions, reciprocal_size
from lipexp.certification.radii import margins
from lipexp.lipschitz import safe_norm
from lipexp.streams import stream

PATIENCE = 5  # steps are halved after this share of the iterations without gain
DROP_FROM = 16  # broken inputs leave a batch once they are this share of it
NEAREST = 9  # classes of the largest scores, whose distances decide which is gone for first


@dataclass(frozen=True)
class Attacked:
    """What became of N inputs: all on the CPU, and all but ``points`` of shape (N,).

    ``points``: (N, ...), float64, of all that was tried the point with the smallest margin, inside
    ball and box; ``margin``: float64, the label's score less the largest other one, counted again
    at the point as it is stored; at most 0, a tie too, means broken; -inf where a score is NaN;
    ``distance``: |point - input|, float64, never above the radius; ``tries``: int64, restarts
    carried out, 0 for inputs that are wrong as they stand and for radii of 0.
    """

    points: Tensor
    margin: Tensor
    distance: Tensor
    tries: Tensor


def attack(
    steps: Sequence[Step],
    inputs: Tensor,
    labels: Tensor,
    radii: Tensor,
    *,
    iterations: int = 40,
    restarts: int = 2,
    seed: int = 0,
    first: int = 0,
    box: bool = True,
) -> Attacked:
    """Looks for points within ``radii`` (N,), l2, of ``inputs`` (N, ...) that lose their labels.

    steps: of `chain.steps_of`; inputs: float64, on their device, one batch; ``box``: pixels in
    [0, 1], and so are the points.  A restart takes ``iterations`` gradients of each input and ends
    where it is broken.  The first starts at the input and goes for the nearest class, whichever it
    is; the others start on the sphere, each for one class: the nearest to first order at the input
    among the nine of the largest scores, then the rest, and last the one that the first restart had
    in view at its end.  Those distances take nine gradients more, where there is a second restart.

    Random numbers depend on (seed, index, restart) alone, ``first`` being the index of the first
    input: in other batches the attack is the same up to rounding.
    """
    labels = labels.to(inputs.device)
    balls = Balls(inputs.detach().flatten(1), radii, box)
    chain = Chain(steps, inputs[:1])
    search = _Search(chain, balls, labels, iterations, (seed, first))
    tries = torch.zeros_like(labels, dtype=torch.int64)
    rivals = None
    for number in range(restarts):
        which = ((search.margin > 0) & (balls.reach[:, 0] > 0)).nonzero()[:, 0]
        if not len(which):
            break
        if number == 1:
            rivals = labels.new_zeros(len(labels), search.clean.shape[1] - 1)
            rivals[which] = search.rivals(which)
        tries[which] += 1
        target = None if rivals is None else rivals[which, (number - 1) % rivals.shape[1]]
        search.restart(which, number, target)
    points = balls.point(search.closest).reshape(inputs.shape).cpu()
    with torch.backends.cudnn.flags(enabled=False):  # as certificates are computed
        margin, _ = _margin(chain.scores(points.to(inputs.device).flatten(1)), labels)
    distance = safe_norm((points - inputs.cpu()).flatten(1))
    return Attacked(points, margin.cpu(), distance, tries.cpu())


def _margin(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(margin, class of the largest other score), shape (n,) each."""
    margin, rival = margins(scores, labels).min(1)
    return torch.where(margin.isnan(), -math.inf, margin), rival


def _loss(
    chain: Chain, points: Tensor, labels: Tensor, target: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """(scores, loss, gradient) at points (n, d): s_y - s_target, or the margin without a target.

    Each row of the gradient is of the loss times `reciprocal_size` of its scores.
    """
    column = labels[:, None]

    def rival(scores: Tensor, some: slice) -> Tensor:
        if target is not None:
            return target[some, None]
        return _margin(scores, labels[some])[1][:, None]

    def cotangent(scores: Tensor, some: slice) -> Tensor:
        size = reciprocal_size(scores)
        zero = torch.zeros_like(scores)
        return zero.scatter_(1, column[some], size).scatter_(1, rival(scores, some), -size)

    scores, gradient = chain.pull_back(points, cotangent)
    loss = scores.gather(1, column) - scores.gather(1, rival(scores, slice(None)))
    return scores, loss[:, 0], gradient


@dataclass
class _Open:
    """The inputs that a restart works on; the first axis of all is theirs.

    which: (n,) places in the batch; q: (n, d) displacements where they stand; best, downhill: where
    the loss was least, and its gradient there; least: that loss; shrink: (n, 1) factors of their
    steps; waited: iterations without gain.
    """

    which: Tensor
    labels: Tensor
    target: Tensor | None
    balls: Balls
    q: Tensor
    gradient: Tensor
    best: Tensor
    downhill: Tensor
    least: Tensor
    shrink: Tensor
    waited: Tensor
    broken: Tensor

    @staticmethod
    def start(which: Tensor, labels: Tensor, target: Tensor | None, balls: Balls, q: Tensor):
        n = len(which)
        return _Open(
            which, labels, target, balls, q,
            gradient=q, best=q.clone(), downhill=torch.empty_like(q),
            least=q.new_full((n,), math.inf), shrink=q.new_ones(n, 1),
            waited=torch.zeros_like(which), broken=torch.zeros_like(which, dtype=torch.bool),
        )  # fmt: skip

    def drop_broken(self) -> None:
        if int(self.broken.sum()) * DROP_FROM < len(self.broken) or not len(self.broken):
            return
        kept = ~self.broken
        for field in fields(self):
            part = getattr(self, field.name)
            if part is not None:
                setattr(self, field.name, part[kept])

    def control(self, loss: Tensor, patience: int) -> None:
        """Remembers gains; halves the steps of who had none for long, and sends them back."""
        gained = loss < self.least
        self.waited = torch.where(gained, 0, self.waited + 1)
        rows = gained.nonzero()[:, 0]
        self.least[rows] = loss[rows]
        self.best[rows] = self.q[rows]
        self.downhill[rows] = self.gradient[rows]
        rows = (self.waited >= patience).nonzero()[:, 0]
        self.waited[rows] = 0
        self.shrink[rows] /= 2
        self.q[rows] = self.best[rows]
        self.gradient[rows] = self.downhill[rows]


class _Search:
    """``closest``: displacements (N, d) with the smallest ``margin`` (N,) found so far.

    ``clean``: the scores of the inputs, (N, classes).
    """

    def __init__(self, chain: Chain, balls: Balls, labels: Tensor, iterations: int, key):
        self.chain, self.balls, self.labels = chain, balls, labels
        self.iterations, self.key = iterations, key
        self.closest = torch.zeros_like(balls.centre)
        self.clean = chain.scores(balls.centre)
        self.margin, _ = _margin(self.clean, labels)

    def restart(self, which: Tensor, number: int, target: Tensor | None) -> None:
        """One restart of the inputs ``which``; target: classes, or None for the nearest."""
        balls = self.balls[which]
        q = torch.zeros_like(balls.centre)
        if number:
            q = balls.nearest(self._random(which, number))
        rows = _Open.start(which, self.labels[which], target, balls, q)
        patience = max(1, self.iterations // PATIENCE)
        for step in range(self.iterations):
            rows.control(self._look(rows), patience)
            rows.drop_broken()
            if not len(rows.which):
                return
            length = rows.shrink * (1 + math.cos(math.pi * step / self.iterations))
            h, c = self._uphill(rows, number, step)
            rows.q = rows.balls.nearest(torch.addcmul(rows.q, h, c * length, value=-1.0))
        margin, _ = _margin(self.chain.scores(rows.balls.point(rows.q)), rows.labels)
        self._keep(rows, margin)

    def rivals(self, which: Tensor) -> Tensor:
        """The classes that restarts go for in turn, (n, classes - 1); see `attack`."""
        labels, balls = self.labels[which], self.balls[which]
        scores = self.clean[which]
        order = scores.argsort(dim=1, descending=True, stable=True)[:, 1:]  # the label leads
        distance = torch.full_like(order, math.inf, dtype=torch.float64)
        for k in range(min(NEAREST, order.shape[1])):
            _, loss, gradient = _loss(self.chain, balls.centre, labels, order[:, k])
            loss = loss * reciprocal_size(scores)[:, 0]
            distance[:, k] = (loss / safe_norm(gradient)).nan_to_num(nan=math.inf)
        ended = self.chain.scores(balls.point(self.closest[which]))
        order = order.gather(1, distance.argsort(dim=1, stable=True))
        seen = (order == _margin(ended, labels)[1][:, None]).byte()
        return order.gather(1, seen.argsort(dim=1, stable=True))

    def _look(self, rows: _Open) -> Tensor:
        """The loss where the rows stand, (n,); sets its gradient, up to a factor of each row."""
        point = rows.balls.point(rows.q)
        scores, loss, rows.gradient = _loss(self.chain, point, rows.labels, rows.target)
        self._keep(rows, _margin(scores, rows.labels)[0])
        return loss

    def _keep(self, rows: _Open, margin: Tensor) -> None:
        """Where the rows stand, if that is the closest yet; broken rows have done their part."""
        better = ((margin < self.margin[rows.which]) & ~rows.broken).nonzero()[:, 0]
        self.margin[rows.which[better]] = margin[better]
        self.closest[rows.which[better]] = rows.q[better]
        rows.broken |= margin <= 0

    def _uphill(self, rows: _Open, number: int, step: int) -> tuple[Tensor, Tensor]:
        """(h, c): unit directions c h of the gradients; at random where there is none."""
        h, c = directions(rows.gradient)
        lost = (c == 0).nonzero()[:, 0]
        if len(lost):
            h[lost], c[lost] = self._random(rows.which[lost], number, step), 1.0
        return h, c

    def _random(self, which: Tensor, *key: int) -> Tensor:
        """Unit vectors (n, d), each of the stream of its input."""
        seed, first = self.key
        size = self.closest.shape[1]
        drawn = np.empty((len(which), size))
        for row, place in enumerate(which.tolist()):
            drawn[row] = stream(seed, "attack", first + place, *key).standard_normal(size)
            drawn[row] /= np.linalg.norm(drawn[row])
        return torch.from_numpy(drawn).to(self.closest)
