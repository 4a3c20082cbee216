"""Frozen copies: the same function, of the weights as they were."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.layers import CONVOLUTIONS, LAYERS, frozen
from lipexp.layers.base import FreeWeightModule
from tests.exact import exact_norm
from tests.strategies import CHOICES, CONVOLUTION_CHOICES, describe

CASES = [("dense", choice) for choice in CHOICES]
CASES += [("images", choice) for choice in CONVOLUTION_CHOICES]
every_layer = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case[0]}-{describe(case[1])}"
)


def made(case, dtype=torch.float64):
    """(a layer of that kind with Gaussian weights and bias, a batch for it)."""
    kind, (name, keys) = case
    torch.manual_seed(3)
    common = {"init": "normal", "dtype": dtype, **keys}
    layer = LAYERS[name](6, 5, **common) if kind == "dense" else None
    if layer is None:
        layer = CONVOLUTIONS[name](6, 5, kernel_size=3, **common)
    with torch.no_grad():
        layer.bias.normal_()
    shape = (4, 6) if kind == "dense" else (4, 6, 5, 3)
    return layer, torch.randn(shape, dtype=dtype)


@every_layer
def test_a_frozen_copy_answers_to_the_bit_and_keeps_its_parameters(case):
    layer, x = made(case)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    still = frozen(layer)
    with torch.no_grad():
        assert torch.equal(still(x), layer.eval()(x))
        assert torch.equal(still(x[:1]), layer(x[:1]))
    assert not still.training
    assert not any(p.requires_grad for p in still.parameters())
    assert all(p.requires_grad for p in layer.parameters())
    assert list(still.state_dict()) == list(before)
    for key, value in before.items():
        assert torch.equal(still.state_dict()[key], value)
        assert torch.equal(layer.state_dict()[key], value)
    shape = x.shape[1:]

    def answers(module):
        bounds = module.lipschitz_bound(), module.lipschitz_bound(tight=True)
        return (*bounds, module.local_error(shape, 2.0), module.norm_after(shape, 2.0))

    # A decomposition's last bits depend on where a matrix lies in memory.
    assert answers(still) == pytest.approx(answers(layer), rel=1e-13)


@every_layer
def test_a_frozen_copy_does_not_follow_later_edits(case):
    layer, x = made(case)
    still = frozen(layer)
    with torch.no_grad():
        before = still(x)
        for parameter in layer.parameters():
            parameter.mul_(-2).add_(1)
        layer.eval()
        assert torch.equal(still(x), before)
        assert not torch.equal(layer(x), before)
        again = frozen(layer)  # of the same module, edited: computed anew
        assert torch.equal(again(x), layer(x))
        # A frozen copy of a frozen copy, and a plain copy of one, answer as it does.
        for same in (frozen(still), copy.deepcopy(still)):
            assert torch.equal(same(x), before)


@every_layer
def test_weights_are_computed_once_and_not_at_every_call(case):
    layer, x = made(case)
    still = frozen(layer)
    layer._compute = still._compute = None  # whoever calls this breaks
    still(x)
    with pytest.raises(TypeError):
        layer(x)


@every_layer
def test_a_frozen_float64_copy_of_a_float32_layer_is_what_its_bound_is_of(case):
    layer, x = made(case, torch.float32)
    wide = copy.deepcopy(layer).double().eval()
    still = frozen(layer, torch.float64)
    with torch.no_grad():
        assert torch.equal(still(x.double()), wide(x.double()))
    assert still.lipschitz_bound() == pytest.approx(layer.lipschitz_bound(), rel=1e-14)
    assert layer.free_weight.dtype == torch.float32


@every_layer
def test_the_bound_of_a_float32_copy_is_that_of_float64_weights(case):
    # Rescaled in float32 and kept, the weights are 1e-8 off; the bound must not be of those.
    layer, _ = made(case, torch.float32)
    still = frozen(layer)
    wide = copy.deepcopy(layer).double().eval()
    for tight in (False, True):
        bound = wide.lipschitz_bound(tight=tight)
        assert still.lipschitz_bound(tight=tight) == pytest.approx(bound, rel=1e-14)
    if not hasattr(layer, "branch") and case[0] == "dense":
        exact = exact_norm(wide.effective_weight())
        assert exact <= still.lipschitz_bound(tight=True) * (1 + 1e-14)


def test_every_layer_of_a_network_is_frozen_and_what_is_no_layer_is_copied():
    network = nn.Sequential(
        LAYERS["aol"](4, 4, dtype=torch.float64),
        nn.Sequential(nn.ReLU(), LAYERS["linear"](4, 3, dtype=torch.float64)),
    )
    still = frozen(network)
    kept, own = (
        [layer._kept is not None for layer in of.modules() if isinstance(layer, FreeWeightModule)]
        for of in (still, network)
    )
    assert (kept, own) == ([True, True], [False, False])
    assert len(list(still.parameters())) == 4
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 4)))
    with torch.no_grad():
        assert torch.equal(still(x), network(x))
