"""`certify`: the table of a network's certificates."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lipexp.certification.arithmetic import check_arithmetic
from lipexp.certification.chain import Step, steps_of
from lipexp.certification.constants import product
from lipexp.certification.inputs import Array, Points
from lipexp.certification.passage import Passage, send
from lipexp.certification.radii import Radii, radii_of
from lipexp.errors import UserError
from lipexp.rationals import next_above, parse_eps

Eps = str | numbers.Number | np.generic


def certify(
    module: nn.Module,
    images: Array,
    labels: Array | Sequence[int],
    eps: Eps | Iterable[Eps],
    *,
    scale: float = 255.0,
    box: bool = True,
    batch: int | None = None,
) -> pd.DataFrame:
    """Certificates of a classifier around inputs, l2 over all of an input's numbers: a row each.

    images: (N, ...), uint8, divided by ``scale``, or floats, the certified points as they stand;
    ``box``: pixels in [0, 1], as is all that they are compared with; False for inputs that are no
    pixels.  labels: (N,), in 0..C-1.  eps: radii such as "36/255" or 0.3, as exact rationals.

    Columns: index, label, prediction (-1 where a score is NaN); margin, the label's score less the
    largest other one; slack, what rounding may have added to it; radius: every input nearer than
    that has the label as its only class, in exact arithmetic and in any float64 execution of the
    effective weights that are computed here, once, of the parameters;
    radius_tight: the same by bounds that are not raised to 1; certified_<eps>: radius > eps.

    ``attrs``: lipschitz_upper_bound (K), lipschitz_upper_bound_tight, lipschitz_excess (K - 1),
    largest_slack, points_inside_slack (|margin| <= slack), images, classes, dtype, seconds, and of
    these seconds_loading, seconds_rescaling, seconds_forward, seconds_outside_forward (the rest).

    The network is a float64 copy in evaluation mode; ``module`` stays as it is.  Raises UserError
    for a module of which no bound is known, inputs, labels or eps that make no sense.
    """
    begun = time.perf_counter()
    one = isinstance(eps, Eps)
    sizes = dict(parse_eps(item) for item in ([eps] if one else eps))
    points = Points(images, labels, scale=scale, box=box)
    if batch is not None and (not isinstance(batch, int) or batch < 1):
        raise UserError(f"batch={batch}: must be a whole number of at least 1")
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        started = time.perf_counter()
        steps = steps_of(module)
        rescaling = time.perf_counter() - started
        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        table = certificates_of(steps, points, device, box=box, batch=batch)
    for name, radius in sizes.items():
        table[f"certified_{name}"] = exceeds(table["radius"], radius)
    seconds = time.perf_counter() - begun
    spent = rescaling + table.attrs["seconds_loading"] + table.attrs["seconds_forward"]
    table.attrs.update(
        seconds=seconds,
        seconds_rescaling=rescaling,
        seconds_outside_forward=seconds - spent,
    )
    return table


def certificates_of(
    steps: Sequence[Step],
    points: Points,
    device: torch.device,
    *,
    box: bool,
    batch: int | None = None,
) -> pd.DataFrame:
    """The table of `certify` without eps, of steps that are on the device already.

    Who goes on with the same steps has the very weights in use that were certified.  Call it under
    no_grad and without cuDNN.  Raises UserError as `certify` does.
    """
    check_arithmetic(device)
    passage = send(steps, points, device, batch)
    radii = radii_of(steps, passage, torch.from_numpy(points.labels), box)
    table = _table(points, passage, radii)
    table.attrs.update(
        _totals(steps, passage, radii),
        seconds_loading=passage.seconds_loading,
        seconds_forward=passage.seconds_forward,
    )
    return table


def exceeds(radii: pd.Series, eps: Fraction) -> pd.Series:
    """Which radii are greater than a rational: at exactly eps a tie is possible."""
    return radii > next_above(eps)


def _table(points: Points, passage: Passage, radii: Radii) -> pd.DataFrame:
    prediction = passage.scores.argmax(1)
    prediction[passage.scores.isnan().any(1)] = -1
    return pd.DataFrame(
        {
            "index": range(len(points)),
            "label": points.labels,
            "prediction": prediction.numpy(),
            "margin": radii.margin.numpy(),
            "slack": radii.slack.numpy(),
            "radius": radii.radius.numpy(),
            "radius_tight": radii.radius_tight.numpy(),
        }
    )


def _totals(steps: Sequence[Step], passage: Passage, radii: Radii) -> dict[str, Any]:
    bound = product([step.bound for step in steps])
    count, classes = passage.scores.shape
    return {
        "lipschitz_upper_bound": bound,
        "lipschitz_upper_bound_tight": product([step.tight for step in steps]),
        "lipschitz_excess": bound - 1,
        "largest_slack": float(radii.slack.max()),
        "points_inside_slack": int((radii.margin.abs() <= radii.slack).sum()),
        "images": count,
        "classes": classes,
        "dtype": "float64",
    }
