"""What a difference of two scores can lose when all scores move, in three norms of the movement."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipexp.errors import UserError
from lipexp.lipschitz import UNIT_ROUNDOFF

SQRT2 = math.sqrt(2.0)  # rounded, it is above the root
FACTORS = {1.0: 1.0, 2.0: SQRT2, math.inf: 2.0}


def margin_factor(norm: float = 2.0) -> float:
    """The smallest c with |(e_y - e_j) . v| <= c |v| for every movement v of the scores.

    Hölder: |(e_y - e_j) . v| <= |e_y - e_j|_q |v|_p with 1/p + 1/q = 1, and e_y - e_j has one entry
    1 and one -1: its norm is 1 (p = 1, q = inf), sqrt2 (p = 2) or 2 (p = inf, q = 1).  Each is
    attained, by v = e_y, e_y - e_j and any v with v_y = 1, v_j = -1 and the rest between.
    Raises UserError for another norm than 1, 2 and infinity.
    """
    if norm not in FACTORS:
        raise UserError(f"score norm {norm}: must be 1, 2 or inf")
    return FACTORS[norm]


def withstands(scores: Tensor, labels: Tensor, rho: Tensor | float, norm: float = 2.0) -> Tensor:
    """Which scores keep their label whatever moves them by at most rho in that norm, (N,), bool.

    Those whose margin exceeds c rho, c being ``margin_factor(norm)``: strictly, as at c rho a tie
    is possible.  scores: (N, classes), exact numbers; labels: (N,), int64; rho: one, or (N,), at
    least 0.  The difference and the product are rounded against the claim; NaN withstands nothing.
    """
    scores, rho = scores.double(), torch.as_tensor(rho, dtype=torch.float64)
    column = labels[:, None]
    others = scores.scatter(1, column, -torch.inf).amax(1)
    margin = scores.gather(1, column)[:, 0] - others
    reach = margin_factor(norm) * rho * (1 + 8 * UNIT_ROUNDOFF)
    reach = torch.where(rho == 0, 0.0, reach.nextafter(torch.tensor(torch.inf).double()))
    finite = torch.isfinite(scores).all(1) & (rho >= 0)  # False for NaN
    return finite & (margin * (1 - 2 * UNIT_ROUNDOFF) > reach)
