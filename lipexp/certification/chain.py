"""A network as a chain of steps that answer; what cannot be certified is refused here, by path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn

from lipexp.activations import is_sound_inside_residual
from lipexp.activations.base import Activation
from lipexp.certification.intact import (
    check_context,
    check_copy,
    check_intact,
    check_numbers,
    is_ours,
    is_plain_sequential,
)
from lipexp.certification.known import KNOWN
from lipexp.errors import UserError
from lipexp.layers.base import LipschitzAffine, LipschitzResidual, frozen
from lipexp.lipschitz import ExactMap, LipschitzModule

SMALLEST, LARGEST = 2.0**-500, 2.0**500

# Who writes the first must write the others, or a proof would be inherited that was of another map.
_ALL = ("lipschitz_bound", "local_error", "norm_after")
PROOFS = {
    **dict.fromkeys(("forward", "apply_weight", "in_use", "_compute"), _ALL),
    **dict.fromkeys(("branch", "apply_inner", "apply_outer", "_scaled", "_bias"), _ALL),
    "effective_weight": ("proven_norm",),
}
# What a base class promises of every map that a subclass writes, or derives of what it writes.
PROMISED = {
    (Activation, "lipschitz_bound"),
    (Activation, "norm_after"),
    (ExactMap, "lipschitz_bound"),
    (ExactMap, "norm_after"),
    (LipschitzAffine, "proven_norm"),
}


class Step:
    """One module of the chain, with its path and its bounds, worked out once.

    ``bound`` is at least 1, ``tight`` need not be.  After ``check_range(shape)`` they are of
    inputs of that shape alone, which is less for convolutions.  Raises UserError, naming the
    path, where the module knows none.
    """

    def __init__(self, path: str, module: LipschitzModule):
        self.path, self.module = path, module
        self._here = math.inf
        # Nothing changes in a frozen copy, and norm_after asks for the bound again.
        module.lipschitz_bound = cache(module.lipschitz_bound)

    @property
    def bound(self) -> float:
        unproven = self._here < math.inf and self.module.proven_norm() == math.inf
        return max(1.0, self._here if unproven else self._ask(tight=False))

    @property
    def tight(self) -> float:
        return min(self.bound, self._ask(tight=True), self._here)

    def _ask(self, **how: bool) -> float:
        with _named(self.path):
            bound = float(self.module.lipschitz_bound(**how))
            if not 0 <= bound < math.inf:
                raise UserError(f"the Lipschitz bound is {bound}: nothing can be certified")
        return bound

    def check_range(self, shape: tuple[int, ...]) -> None:
        """Raises UserError for sizes with which products could over- or underflow.

        ``shape``: of one input; from here on the bounds are of such inputs alone.
        """
        # Of a bound that somebody else wrote nothing is known on fewer inputs.
        if type(self.module).lipschitz_bound is LipschitzAffine.lipschitz_bound:
            self._here = self.module.certified_on(shape)
        constant, offset = self.tight, self.module.norm_after(shape, 0.0)
        for what, size, least in (("Lipschitz bound", constant, SMALLEST), ("bias", offset, 0.0)):
            if size != 0 and not least <= size <= LARGEST:
                raise UserError(
                    f"{self.path}: a {what} of size {size:.3g} is outside 2^-500..2^500: "
                    "it cannot be certified"
                )


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Puts a path before the UserErrors of a block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def steps_of(module: nn.Module) -> list[Step]:
    """The steps of a float64 copy in evaluation mode, weights in use kept; ``module`` stays as is.

    Raises UserError for a module without a proven bound, hooks, autocast, numbers that are not
    finite.
    """
    check_context()
    for path, part in nn.Module.named_modules(module):
        check_intact(path or "the network", part)
    leaves = list(_leaves(module))
    for path, leaf in leaves:
        _check_known(path, leaf)
        with _named(path):
            check_numbers(leaf)
            _check_kept(leaf)
    try:
        copied = frozen(module, torch.float64)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the network cannot be copied: {str(error).partition('. ')[0]}") from error
    steps = []
    for (path, leaf), (_, copy) in zip(leaves, _leaves(copied), strict=True):
        with _named(path):
            check_copy(leaf, copy)
            answering = copy if isinstance(copy, LipschitzModule) else KNOWN[type(copy)](copy)
        steps.append(Step(path, answering.eval()))
    return steps


def _leaves(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(path, module) in the order of execution; a module that occurs twice is executed twice."""
    if is_plain_sequential(module) and not isinstance(module, LipschitzModule):
        for name, child in module._modules.items():
            yield from _leaves(child, f"{path}.{name}" if path else name)
    else:
        yield path or "the network", module


def _check_kept(module: nn.Module) -> None:
    """Raises UserError for a frozen layer whose parameters were edited: it computes with others."""
    kept = getattr(module, "_kept", None)
    if kept is None:
        return
    with torch.no_grad():
        now = module._compute()
    for a, b in zip(_tensors(kept), _tensors(now), strict=True):
        close = torch.finfo(b.dtype).eps ** 0.75  # another machine's order of sums
        if not torch.allclose(a, b, rtol=close, atol=close * float(b.abs().max())):
            raise UserError("its parameters were changed after it was frozen; freeze it again")


def _tensors(kept) -> list[Tensor]:
    return [kept] if isinstance(kept, Tensor) else [part for part in kept if part is not None]


def _check_known(path: str, module: nn.Module) -> None:
    kind = type(module)
    if isinstance(module, LipschitzModule):
        _check_proofs(path, kind)
        if isinstance(module, LipschitzResidual) and not is_sound_inside_residual(
            module.activation
        ):
            raise UserError(
                f"{path}: {type(module.activation).__name__} inside a residual layer is not known "
                "to have slopes in [0, 1]: it cannot be certified"
            )
    elif kind not in KNOWN:
        near = f"; a subclass of {kind.__base__.__name__} may compute anything"
        raise UserError(
            f"{path}: no Lipschitz bound is known of {kind.__name__}: it cannot be certified"
            + (near if kind.__base__ in KNOWN else "")
        )


def _check_proofs(path: str, kind: type[LipschitzModule]) -> None:
    line = kind.__mro__

    def home(name: str) -> int:
        return next((k for k, c in enumerate(line) if name in vars(c)), len(line) - 1)

    for written, proofs in PROOFS.items():
        own = line[home(written)]
        if own is object or is_ours(own):
            continue
        for proof in proofs:
            if home(proof) > home(written) and (line[home(proof)], proof) not in PROMISED:
                raise UserError(
                    f"{path}: {own.__name__} writes {written}() and inherits {proof}(): "
                    "it cannot be certified"
                )
