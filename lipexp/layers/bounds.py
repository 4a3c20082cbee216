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
from lipexp.layers.gram import overlaps
from lipexp.lipschitz import UNIT_ROUNDOFF, gamma, magnitude


def power_of_two(matrix: Tensor) -> Tensor:
    """The power of two c, a scalar tensor, for which max |matrix| / c lies in [1/2, 2).

    Dividing by it is exact, so it takes a matrix's scale out without changing a digit.
    """
    low, high = matrix.detach().aminmax()  # one pass, and ten times as fast as a norm with p = inf
    return leading_power(torch.maximum(-low, high))


def leading_power(top: Tensor) -> Tensor:
    """The power of two 2^e with 2^(e - 1) <= top < 2^e, entry by entry and within range."""
    limits = torch.finfo(top.dtype)
    top = top.clamp(min=limits.tiny, max=limits.max / 2)
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
def rescaled_bound(rows: int, columns: int, q_range: float = 0.0, *, side: int = 1) -> float:
    """The norm that a float64 column rescaling W = V diag(r) never exceeds, whatever V.

    sqrt(1 + gamma(n + 16) + n gamma(m + 1) + 2 u (range + 4)) + 1.01 u sqrt(n), V being m x n.
    In exact arithmetic the norm is at most 1; here S, the computed Gram matrix made symmetric by
    the smaller of each pair, obeys |S| <= |G^| and |S - G|_ij <= gamma(m) |v_i| |v_j|, the computed
    sum, root and quotient cost gamma(n + 16), and rounding V r entrywise adds u sqrt(n).  With free
    weights exp(q) the quotients q_i / q_j cost 2 u (range of q + 4) more.

    Of kernels with ``side`` k > 1 a sum runs over (2k - 1)^2 displacements of every channel, each
    an inner product of at most m k^2 terms, and rounding the taps adds u k sqrt(channels).
    """
    rows, columns = rows * side**2, columns * (2 * side - 1) ** 2
    if rows * (rows + columns + 16) * UNIT_ROUNDOFF > 1:
        raise UserError(f"no rounding bound for a weight of shape {rows} x {columns}")
    quotients = 2 * UNIT_ROUNDOFF * (q_range + 4) if q_range else 0.0
    inside = 1 + gamma(columns + 16) + columns * gamma(rows + 1) + quotients
    return math.nextafter(
        math.sqrt(inside * (1 + 4 * UNIT_ROUNDOFF)) + 1.01 * UNIT_ROUNDOFF * math.sqrt(columns),
        math.inf,
    )


@lru_cache
def residual_kappa(features: int, hidden: int, q_range: float = 0.0, *, side: int = 1) -> float:
    """A bound kappa on |W diag(t)^(1/2)|^2 for the t computed by residual SLL.

    1 + gamma(h + 16) + h gamma(d + 1) + 2 u (range of q + 4): the proof of ``rescaled_bound``.
    The layer is then (2 kappa - 1)-Lipschitz: kappa (x - g(x)) - (kappa - 1) x with x - g(x)
    1-Lipschitz.
    """
    features, hidden = features * side**2, hidden * (2 * side - 1) ** 2
    return (
        1
        + gamma(hidden + 16)
        + hidden * gamma(features + 1)
        + 2 * UNIT_ROUNDOFF * (q_range + 4)
        + 4 * UNIT_ROUNDOFF
    )


def gram_iteration_norms(matrices: Tensor, steps: int = 7) -> Tensor:
    """Bounds on the largest singular values of matrices (..., m, n), shape (...,).

    |W|^2 = |W^T W|: squaring ``steps`` times, then the smaller of the Frobenius norm and the
    largest sum of a row or column.  Each step divides by a power of two r >= |G|_F, exactly, so
    that the rounding of the product is at most gamma(n + 3); on the way back it is added and the
    root taken.
    Above the truth by a factor of at most n^(1 / 2^(steps + 1)).  Float64, finite entries.
    """
    unit = leading_power(matrices.abs().amax((-2, -1), keepdim=True))
    gram = matrices / unit  # of each matrix on its own: squares neither under- nor overflow
    gram = gram if gram.shape[-2] >= gram.shape[-1] else gram.mT
    zero = ~gram.any(-1).any(-1)
    inner, n = gram.shape[-2:]
    scales, errors = [], []
    for _ in range(steps):
        size = torch.linalg.matrix_norm(gram, keepdim=True) * (1 + gamma(inner * n + 8))
        size = torch.where(size > 0, size, 1.0)
        scale = torch.exp2(torch.frexp(size).exponent.to(size))  # > size
        gram = gram / scale
        gram = gram.mT @ gram
        scales.append(scale[..., 0, 0])
        errors.append(gamma(inner + 3))
        inner = n
    # A computed product need not be symmetric to the last bit.
    sums = torch.maximum(gram.abs().sum(-1).amax(-1), gram.abs().sum(-2).amax(-1))
    bound = torch.minimum(torch.linalg.matrix_norm(gram), sums) * (1 + gamma(n * n + 8))
    for scale, error in zip(reversed(scales), reversed(errors), strict=True):
        bound = scale * (1 + 4 * UNIT_ROUNDOFF) * (bound + error).sqrt()
    bound = bound * unit[..., 0, 0] * (1 + 2 * UNIT_ROUNDOFF)
    return torch.where(zero, 0.0, bound)  # seven roots of 1e-15 are not 0


def gram_iteration_norm(matrices: Tensor, steps: int = 7) -> float:
    """One bound for all of the matrices."""
    return float(gram_iteration_norms(matrices, steps).max())


def convolution_norm(kernel: Tensor, torus: tuple[int, int] | None = None) -> float:
    """A bound on the norm of a convolution, kernel (out, in, k, k): any image, zeros or circular.

    The norm on every image is at most S, the largest |K(theta)| of the symbol K(theta) = sum_ab
    K_ab exp(i (a theta_1 + b theta_2)).  Two bounds on S, the smaller counts:
    - Gershgorin: the largest row sum of overlaps, exact for orthogonal matrices at one tap;
    - the largest |K| on N x N frequencies over cos(pi (k - 1) / N): u* K* K u is a real
      trigonometric polynomial of degree k - 1, and one of degree m falls from its maximum at most
      to cos(m t) of it within |t| <= pi / m (M. Riesz), in each of the two variables.
    Measured excess on random kernels: 0.5 % (k = 3, N = 64) to 8 % (k = 5, N = 32).

    ``torus``: the sides of a torus on which the images lie (`Window.torus`): the frequencies of
    that torus are then all that there are, and the largest |K| on them is the norm there.  On
    8 x 8 images it is 1 to 3 % less than S, on 2 x 2 up to 14 %.
    """
    matrix = _float64(kernel)
    if matrix.numel() == 0 or not bool(matrix.any()):
        return 0.0
    if kernel.shape[2] == 1:
        return certified_norm(kernel[:, :, 0, 0])
    scale = power_of_two(matrix)
    matrix = matrix / scale
    norm = min(_gershgorin(matrix), _gershgorin(matrix.transpose(0, 1)))
    if torus is not None and math.prod(torus) <= _frequencies(matrix):
        norm = min(norm, _on_a_grid(matrix, torus))
    else:
        norm = min(norm, _between_a_grid(matrix))
    return math.nextafter(norm * float(scale) * (1 + 2.0**-500), math.inf)


def _gershgorin(kernel: Tensor) -> float:
    """sqrt of the largest row sum of the channels' overlaps, with the rounding of all of them."""
    m, n, side, _ = kernel.shape
    inner, lags = m * side**2, (2 * side - 1) ** 2
    sizes = kernel.square().sum((0, 2, 3)).sqrt() * (1 + gamma(inner + 4))
    rounding = lags * gamma(inner + 1) * sizes * float(sizes.sum()) * (1 + gamma(n + 4))
    sums = overlaps(kernel).sum(0) * (1 + gamma(n * lags + 8)) + rounding
    return math.sqrt(float(sums.max()) * (1 + 8 * UNIT_ROUNDOFF) + 2.0**-900)


GRID_WORK = 5e9  # multiplications that the symbol's norms may cost
RECHECKED = 256  # frequencies at most


def _frequencies(kernel: Tensor) -> int:
    """How many frequencies that is, half of which are looked at."""
    return int(2 * GRID_WORK / (8 * 8 * min(kernel.shape[:2]) ** 3))


def _between_a_grid(kernel: Tensor) -> float:
    side = kernel.shape[2]
    grid = max(8 * (side - 1), min(64, math.isqrt(_frequencies(kernel))))
    bound = _on_a_grid(kernel, (grid, grid))
    return bound / math.cos(math.pi * (side - 1) / grid) * (1 + 16 * UNIT_ROUNDOFF)


def _on_a_grid(kernel: Tensor, sides: tuple[int, int]) -> float:
    """A bound on |K| at all frequencies of a torus.

    Gram iteration of 7 squarings may leave n^(1 / 256) too much; the few frequencies that can then
    be the largest are looked at again with 14.
    """
    outputs, inputs, side, _ = kernel.shape
    height, width = sides
    # A real kernel's symbol at -theta is the conjugate: half of the frequencies have all norms.
    first, second = torch.meshgrid(
        torch.arange(height // 2 + 1), torch.arange(width), indexing="ij"
    )
    taps = torch.arange(side)
    turns = first.flatten()[:, None, None] * width * taps[:, None]
    turns = turns + second.flatten()[:, None, None] * height * taps
    angle = (turns % (height * width)).double() * (2 * math.pi / (height * width))
    waves = angle.reshape(len(angle), -1)
    flat = kernel.reshape(outputs * inputs, -1)

    def norms(some: Tensor, steps: int) -> Tensor:
        return torch.cat(
            [
                gram_iteration_norms(_symbols(flat, part, outputs, inputs), steps)
                for part in some.split(256)
            ]
        )

    bounds = norms(waves, 7)
    close = bounds >= bounds.max() / (2 * max(outputs, inputs)) ** (1 / 256)
    rest = bounds[~close].max().item() if not bool(close.all()) else 0.0
    if int(close.sum()) > RECHECKED:
        bound = bounds.max().item()
    else:
        bound = max(rest, norms(waves[close], 14).max().item())
    return bound + 1.5 * gamma(side**2 + 24) * magnitude(kernel)


def _symbols(flat: Tensor, waves: Tensor, outputs: int, inputs: int) -> Tensor:
    """The symbols at some frequencies, as real matrices of twice the size."""
    real = (waves.cos() @ flat.mT).reshape(-1, outputs, inputs)
    imaginary = (waves.sin() @ flat.mT).reshape(-1, outputs, inputs)
    upper = torch.cat((real, -imaginary), dim=2)
    return torch.cat((upper, torch.cat((imaginary, real), dim=2)), dim=1)
