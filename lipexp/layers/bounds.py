"""Upper bounds on l2 operator norms that hold for the computed numbers, rounding included.

Nothing here rests on power iteration, which approaches a norm from below at every step.
Notation: u = 2^-53 and gamma(k) = k u / (1 - k u).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from lipexp.errors import UserError
from lipexp.lipschitz import UNIT_ROUNDOFF, gamma


def power_of_two(matrix: Tensor) -> Tensor:
    """The power of two c, a scalar tensor, for which max |matrix| / c lies in [1/2, 2).

    Dividing by it is exact, so it takes a matrix's scale out without changing a digit.
    """
    low, high = matrix.detach().aminmax()  # one pass, and ten times as fast as a norm with p = inf
    limits = torch.finfo(matrix.dtype)
    top = torch.maximum(-low, high).clamp(min=limits.tiny, max=limits.max / 2)
    return top / torch.frexp(top).mantissa


def _float64(weight: Tensor) -> Tensor:
    weight = weight.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(weight).all()):
        raise UserError("a weight that is NaN or infinite has no Lipschitz bound")
    return weight


def certified_norm(weight: Tensor) -> float:
    """A number that the largest singular value of ``weight`` (m x n) never exceeds.

    The singular value decomposition is an estimate; one Cholesky factorisation makes it a proof.
    If floating-point Cholesky of H = c^2 I - W^T W completes with factor R, then R^T R = H + D with
    |D| <= gamma(n+1) |R|^T |R|, so |D|_2 <= gamma(n+1) / (1 - gamma(n+1)) tr H; forming H costs at
    most gamma(m+1) |W|_F^2 + 2 u c^2.  Hence W^T W <= (c^2 + d) I with d the sum of the three
    (Demmel; Rump).  Measured excess over the norm: 1e-12 (n = 64) to 6e-11 (n = 1024).

    Always on the CPU: a GPU's triangular solves do not have the error bound used here.
    Raises UserError for entries that are not finite.
    """
    matrix = _float64(weight)
    if matrix.numel() == 0 or not bool(matrix.any()):
        return 0.0
    scale = power_of_two(matrix)
    matrix = matrix / scale
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.mT
    m, n = matrix.shape
    gram = matrix.mT @ matrix
    squared_frobenius = float(matrix.square().sum()) * (1 + gamma(m * n + 2))
    squared = (float(torch.linalg.svdvals(matrix)[0]) * (1 + 1e-12)) ** 2
    for _ in range(50):
        shifted = squared * torch.eye(n, dtype=torch.float64) - gram
        _, failed = torch.linalg.cholesky_ex(shifted)
        if not failed:
            trace = float(shifted.diagonal().abs().sum()) * (1 + gamma(n + 2))
            excess = (
                gamma(n + 1) / (1 - gamma(n + 1)) * trace
                + gamma(m + 1) * squared_frobenius
                + 2 * UNIT_ROUNDOFF * squared
                + 2.0**-900  # entries lost to underflow when the scale was taken out
            )
            norm = math.sqrt((squared + excess) * (1 + 8 * UNIT_ROUNDOFF)) * float(scale)
            return math.nextafter(norm, math.inf)
        squared *= 1 + 1e-11
    raise UserError("no certified norm: 50 Cholesky factorisations failed")


def near_orthogonal_norm(weight: Tensor) -> float:
    """A bound for matrices that are orthogonal up to rounding or an iteration: one product.

    |W|^2 <= 1 + |W^T W - I|_F, on the smaller side, with the rounding of the product added.
    """
    matrix = _float64(weight)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.mT
    m, n = matrix.shape
    defect = matrix.mT @ matrix - torch.eye(n, dtype=torch.float64)
    frobenius = float(torch.linalg.vector_norm(defect)) * (1 + gamma(n * n + 8))
    own = float(matrix.square().sum()) * (1 + gamma(m * n + 2))
    return math.nextafter(
        math.sqrt((1 + frobenius + gamma(m + 1) * own + 2.0**-900) * (1 + 8 * UNIT_ROUNDOFF)),
        math.inf,
    )


@lru_cache
def rescaled_bound(rows: int, columns: int, q_range: float = 0.0) -> float:
    """The norm that a float64 column rescaling W = V diag(r) never exceeds, whatever V.

    sqrt(1 + gamma(n + 16) + n gamma(m + 1) + 2 u (range + 4)) + 1.01 u sqrt(n), V being m x n.
    In exact arithmetic the norm is at most 1; here S, the computed Gram matrix made symmetric by
    the smaller of each pair, obeys |S| <= |G^| and |S - G|_ij <= gamma(m) |v_i| |v_j|, the computed
    sum, root and quotient cost gamma(n + 16), and rounding V r entrywise adds u sqrt(n).  With free
    weights exp(q) the quotients q_i / q_j cost 2 u (range of q + 4) more.
    """
    if rows * (rows + columns + 16) * UNIT_ROUNDOFF > 1:
        raise UserError(f"no rounding bound for a weight of shape {rows} x {columns}")
    quotients = 2 * UNIT_ROUNDOFF * (q_range + 4) if q_range else 0.0
    inside = 1 + gamma(columns + 16) + columns * gamma(rows + 1) + quotients
    return math.nextafter(
        math.sqrt(inside * (1 + 4 * UNIT_ROUNDOFF)) + 1.01 * UNIT_ROUNDOFF * math.sqrt(columns),
        math.inf,
    )


@lru_cache
def residual_kappa(features: int, hidden: int, q_range: float = 0.0) -> float:
    """A bound kappa on |W diag(t)^(1/2)|^2 for the t computed by residual SLL.

    1 + gamma(h + 16) + h gamma(d + 1) + 2 u (range of q + 4): the proof of ``rescaled_bound``.
    The layer is then (2 kappa - 1)-Lipschitz: kappa (x - g(x)) - (kappa - 1) x with x - g(x)
    1-Lipschitz.
    """
    return (
        1
        + gamma(hidden + 16)
        + hidden * gamma(features + 1)
        + 2 * UNIT_ROUNDOFF * (q_range + 4)
        + 4 * UNIT_ROUNDOFF
    )
