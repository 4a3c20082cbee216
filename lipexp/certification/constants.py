"""Lipschitz constants of a chain: of all its scores together, and of every difference of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipexp.activations.two_slopes import Identity
from lipexp.certification.chain import Step, steps_of
from lipexp.certification.scores import margin_factor
from lipexp.layers.base import LipschitzAffine, LipschitzLinear
from lipexp.layers.plumbing import FirstFeatures
from lipexp.lipschitz import UNIT_ROUNDOFF, gamma, safe_norm

FLOOR = 2.0**-500  # products of constants are never less, so that none underflows to 0


def lipschitz_bound(module: nn.Module, tight: bool = False) -> float:
    """An upper bound on the l2 Lipschitz constant of a network in float64, evaluation mode.

    The product of its modules' bounds, each taken as at least 1 unless ``tight``.
    Raises UserError for a module of which no bound is known.
    """
    steps = steps_of(module)
    return product([step.tight if tight else step.bound for step in steps])


def product(bounds: Sequence[float]) -> float:
    """A float that the product never exceeds; 0 only where a factor is 0."""
    if 0.0 in bounds:
        return 0.0
    factors = [bound for bound in bounds if bound != 1.0]
    result = 1.0
    for factor in factors:
        result = max(result * factor, FLOOR)
    roundings = max(0, len(factors) - 1)  # the first product is with 1
    return result * (1 + 4 * roundings * UNIT_ROUNDOFF)


@dataclass(frozen=True)
class Head:
    """The affine map at the end of a chain: ``weight`` (classes, n), ``index`` in the chain."""

    weight: Tensor
    index: int


def find_head(steps: Sequence[Step]) -> Head | None:
    """The last dense layer, if nothing behind it does more than choose the first scores."""
    classes = None
    for k in reversed(range(len(steps))):
        module = steps[k].module
        if type(module) is FirstFeatures:
            classes = module.count if classes is None else min(classes, module.count)
        elif isinstance(module, LipschitzLinear):
            kind = type(module)
            plain = kind.forward is LipschitzAffine.forward
            if not plain or kind.apply_weight is not LipschitzLinear.apply_weight:
                return None
            return Head(module.in_use().detach()[:classes].cpu(), k)
        elif type(module) is not Identity:
            return None
    return None


def row_distances(weight: Tensor) -> Tensor:
    """Bounds on |w_y - w_j|, shape (classes, classes); 0 only where two rows are equal."""
    count, inputs = weight.shape
    distances = weight.new_zeros(count, count)
    for row in range(count):
        difference = weight - weight[row]
        bound = safe_norm(difference) * (1 + gamma(inputs + 8)) + 2.0**-900
        distances[row] = torch.where((weight == weight[row]).all(1), 0.0, bound)
    return distances


def margin_constants(module: nn.Module, classes: int) -> Tensor:
    """Constants c_yj of a network's differences of scores s_y - s_j, (classes, classes), float64.

    For a margin m_j each, all inputs nearer than min_j m_j / c_yj have label y, rounding aside.
    Raises UserError where the bound of a module is not known.
    """
    return constants_of(steps_of(module), classes)


def constants_of(steps: Sequence[Step], classes: int, *, tight: bool = False) -> Tensor:
    """Those constants by bounds of at least 1 each, or by the tight ones, which cost more."""
    head = find_head(steps)
    distances = None if head is None else row_distances(head.weight)
    bounds = [step.tight if tight else step.bound for step in steps]
    return pair_constants(bounds, head, distances, classes)


def pair_constants(
    bounds: Sequence[float], head: Head | None, distances: Tensor | None, classes: int
) -> Tensor:
    """Constants c_yj of the differences s_y - s_j, shape (classes, classes); zeros on the diagonal.

    The smaller of sqrt2 K, for |e_y - e_j| = sqrt2, and, of a chain that ends in s = W h + b,
    K_body |w_y - w_j|.  ``bounds``: those of the steps.
    """
    whole = torch.full((classes, classes), margin_factor() * product(bounds), dtype=torch.float64)
    whole.fill_diagonal_(0.0)
    if head is None:
        return whole
    pairs = distances * product(bounds[: head.index])
    # Where the body is not constant and the rows differ, the product is not 0 but may underflow.
    different = (distances > 0) & (0.0 not in bounds[: head.index])
    return torch.minimum(whole, torch.where(different, pairs.clamp(min=2.0**-1000), 0.0))
