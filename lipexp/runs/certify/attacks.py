"""Attacks on certified points, batch by batch, and what follows from them for each point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lipexp.certification.chain import Step
from lipexp.certification.radii import margins
from lipexp.errors import RunError
from lipexp.lipschitz import safe_norm
from lipexp.rationals import next_above, value

INSIDE = "inside"  # the proven radius; the other balls are named after their eps
SHRINK = 1 - 1e-9  # of the proven radius: strictly inside it, whatever the attack rounds
LARGEST_TRIED = 1e6  # of inputs that are no pixels, where any distance would do
CLOSEST = 5  # points of a batch whose places are kept, for the picture
HALVINGS = 20  # of the way from an input to where it broke


def within(eps: Fraction) -> float:
    """The largest float64 that is not above the rational."""
    above = next_above(eps)
    return above if Fraction(above) == eps else math.nextafter(above, 0.0)


def proven(certificates: pd.DataFrame) -> Tensor:
    """(N,): the larger of a row's radii, both of which are proven."""
    return _column(certificates[["radius", "radius_tight"]].max(axis=1))


def is_right(certificates: pd.DataFrame) -> Tensor:
    """(N,), bool: the label's score is the only largest one."""
    return _column(certificates["margin"]) > 0


def balls(
    certificates: pd.DataFrame, eps: Sequence[str], shape: tuple[int, ...], box: bool
) -> Iterator[tuple[str, Tensor]]:
    """(name, radii (N,)) of what is attacked: the proven ball first, then eps ascending."""
    most = math.sqrt(math.prod(shape)) if box else LARGEST_TRIED
    yield INSIDE, (proven(certificates) * SHRINK).clamp(max=most)
    for name in sorted(eps, key=value):
        yield name, torch.full((len(certificates),), within(value(name)), dtype=torch.float64)


def attack_batch(
    steps: Sequence[Step],
    inputs: Tensor,
    certificates: pd.DataFrame,
    eps: Sequence[str],
    *,
    box: bool,
    **how: int,
) -> dict[str, Tensor]:
    """What attacks found of consecutive points; ``certificates``: their rows.

    inputs: (N, ...), float64, on the steps' device.  ``how``: iterations, restarts, seed.  Returns

    "nearest": (N,), the distance of the nearest input found that has another class or a tie, 0 for
    inputs that are misclassified as they are, infinite where none was found; "<ball> tries": (N,),
    restarts in each of `balls`; a point that is broken within an eps is not attacked there again;
    "inside margin", "inside distance": (N,), of the best try in the proven ball;
    "which", "points": the CLOSEST of these tries and their rows in the set;
    "wrong which", "wrong points": inputs of another class where that was proven to be impossible.

    Raises RunError for a try outside its ball, which would prove nothing.
    """
    from lipexp.certification.attack import attack

    labels = _column(certificates["label"]).to(inputs.device)
    first = int(certificates["index"].iloc[0])
    radius, right = proven(certificates), is_right(certificates)
    nearest = torch.where(right, torch.inf, 0.0).double()
    places = inputs.cpu().clone()
    found: dict[str, Tensor] = {}
    for name, radii in balls(certificates, eps, tuple(inputs.shape[1:]), box):
        radii = radii.masked_fill(~right | (nearest <= radii), 0.0)
        tried = attack(steps, inputs, labels, radii.to(inputs.device), first=first, box=box, **how)
        _check_inside(tried.distance, radii, first, name)
        found[f"{name} tries"] = tried.tries
        if name == INSIDE:
            found |= {f"{INSIDE} margin": tried.margin, f"{INSIDE} distance": tried.distance}
            which = closest(tried.margin, certificates, radii)
            found |= {"which": which + first, "points": tried.points[which]}
        fell = (right & (radii > 0) & ~(tried.margin > 0)).nonzero().flatten()  # NaN too
        if len(fell):
            there = fell.to(inputs.device)
            nearer = toward(
                steps, inputs[there], tried.points[fell].to(inputs.device), labels[there]
            )
            distance = safe_norm((nearer - inputs[there]).flatten(1)).cpu()
            better = distance < nearest[fell]
            nearest[fell[better]] = distance[better]
            places[fell[better]] = nearer.cpu()[better]
    wrong = (right & (nearest < radius)).nonzero().flatten()
    found |= {"wrong which": wrong + first, "wrong points": places[wrong]}
    return {**found, "nearest": nearest}


def toward(steps: Sequence[Step], inputs: Tensor, broken: Tensor, labels: Tensor) -> Tensor:
    """Inputs of another class nearer to the original ones, on the line to those ``broken``.

    All (n, ...), labels (n,), on the steps' device.  HALVINGS bisections of each line, on which
    both ends are in the box or ball and so all of it is.
    """
    low, high = (torch.full((len(inputs),), end, device=inputs.device).double() for end in (0, 1))
    best = broken.clone()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        share = middle.view(-1, *[1] * (inputs.dim() - 1))
        x = inputs + share * (broken - inputs)
        # Rounding must not leave the line's box.
        x = torch.minimum(torch.maximum(x, torch.minimum(inputs, broken)), inputs.maximum(broken))
        fell = ~(smallest_margin(steps, x, labels) > 0)
        best[fell] = x[fell]
        low, high = torch.where(fell, low, middle), torch.where(fell, middle, high)
    return best


@torch.no_grad()
def smallest_margin(steps: Sequence[Step], x: Tensor, labels: Tensor) -> Tensor:
    """The label's score less the largest other one, (n,)."""
    for step in steps:
        x = step.module(x)
    return margins(x, labels).amin(1)


def closest(margin: Tensor, certificates: pd.DataFrame, radii: Tensor) -> Tensor:
    """Rows of at most CLOSEST attacked points, those first that kept the least of their margin."""
    left = share_left(margin, certificates).masked_fill(radii <= 0, torch.inf)
    order = left.argsort(stable=True)[:CLOSEST]
    return order[radii[order] > 0]


def share_left(margin: Tensor, certificates: pd.DataFrame) -> Tensor:
    """The attacked margin over the clean one, of points that are classified rightly."""
    return margin / _column(certificates["margin"])


def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The parts of consecutive points as one."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _column(values: pd.Series) -> Tensor:
    return torch.from_numpy(np.array(values))  # a copy: pandas' own may not be written to


def _check_inside(distance: Tensor, radii: Tensor, first: int, name: str) -> None:
    outside = ~(distance <= radii)
    if outside.any():
        row = int(outside.nonzero()[0])
        raise RunError(
            f"the attack ({name}) on input {first + row} went {float(distance[row])!r} away, out "
            f"of its ball of {float(radii[row])!r}: it proves nothing"
        )
