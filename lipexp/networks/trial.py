"""A small trial of what plugins registered, so that their mistakes are one line and not a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lipexp.activations import ACTIVATIONS
from lipexp.activations.base import Activation
from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.mlp import mlp

WIDTH = 8


def try_plugins(plan: Blueprint) -> None:
    """Builds one small layer of each plugin that the blueprint names and checks its promises.

    Raises UserError for a layer that cannot be built or applied, an effective weight of the wrong
    shape or not finite, and an activation that is not what it declares.
    """
    for name in (plan.activation, plan.between):
        if not ACTIVATIONS.is_builtin(name):
            _checked(f"activation={name}", lambda make=ACTIVATIONS[name]: check_activation(make()))
    if LAYERS.is_builtin(plan.model) and INITS.is_builtin(plan.init):
        return
    small = replace(plan, depth=1, width=WIDTH, input_shape=(WIDTH,), mean=None, classes=None)
    _checked(f"model={plan.model} init={plan.init}", lambda: _try_layer(small))


def _checked(what: str, attempt) -> None:
    try:
        attempt()
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {error}") from error


def _try_layer(plan: Blueprint) -> None:
    network = mlp(plan, seed=0)
    hidden = next(network.hidden_layers())
    weight = hidden.layer.effective_weight()
    if weight.shape not in {hidden.layer.free_shape, hidden.layer.free_shape[::-1]}:
        raise UserError(
            f"effective_weight() must be of shape {tuple(hidden.layer.free_shape)}, "
            f"got {tuple(weight.shape)}"
        )
    if not bool(torch.isfinite(weight).all()):
        raise UserError("effective_weight() has entries that are NaN or infinite")
    network(torch.zeros(3, WIDTH, dtype=torch.float64))


def check_activation(phi: Activation) -> None:
    """Tries phi(0) = 0, Lipschitz constant 1 and, if declared, phi(c x) = c phi(x), on a sample.

    The carried scale rests on these.  Raises UserError for one that does not hold.
    """
    generator = np.random.default_rng(0)
    x, y = (torch.from_numpy(generator.standard_normal((1, 512, WIDTH))) for _ in range(2))
    if bool(phi(torch.zeros_like(x)).any()):
        raise UserError("must map 0 to 0")
    stretch = (phi(x) - phi(y)).norm(dim=-1) / (x - y).norm(dim=-1)
    if float(stretch.max()) > 1 + 1e-9:
        raise UserError(f"stretches distances {float(stretch.max()):.2f} times; at most 1 is sound")
    scaled = phi(1e-3 * x) * 1e3
    if phi.homogeneous and not torch.allclose(scaled, phi(x), rtol=1e-6, atol=1e-9):
        raise UserError(
            "is not positively homogeneous: set homogeneous = False and write at_scale(scale), "
            "the map x -> phi(scale x) / scale"
        )
