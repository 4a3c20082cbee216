"""Odd numbers in modules and inputs: other types, shapes, slopes and views of memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import LeakyReLU
from lipexp.activations.tanh import Tanh
from lipexp.activations.two_slopes import TwoSlopes
from lipexp.certification import certify, lipschitz_bound
from lipexp.certification.chain import steps_of
from lipexp.errors import UserError
from lipexp.layers import (
    AOLLinear,
    FirstChannels,
    FirstFeatures,
    OrthogonalLinear,
    SLLFeedforwardLinear,
    SLLLinear,
    frozen,
)
from lipexp.lipschitz import ExactMap
from tests.certification.drawn_networks import linear
from tests.exact import covers, exact_norm, rational


def refused(match: str):
    return pytest.raises(UserError, match=match)


def with_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> nn.Module:
    delattr(module, name)
    setattr(module, name, nn.Parameter(tensor, requires_grad=False))
    return module


class Negated(ExactMap):
    def forward(self, x):
        return x.neg_()

    def local_error(self, shape, norm):
        return 0.0 * norm


def test_a_module_that_works_in_place_reaches_neither_the_inputs_nor_the_certificate():
    x = torch.tensor([[0.9, 0.1], [0.2, 0.7]], dtype=torch.float64)
    before = x.clone()
    table = certify(nn.Sequential(Negated(), linear(np.eye(2))), x, [1, 0], [])
    assert torch.equal(x, before)
    assert table["margin"].tolist() == pytest.approx([0.8, 0.5])


def test_an_activation_that_would_copy_numbers_is_refused():
    """A scale for each of three channels makes three copies of one: norm sqrt 3, not 1."""
    scale = torch.ones(3, 1, 1, dtype=torch.float64)
    net = nn.Sequential(Tanh(scale), nn.Flatten(), linear(np.eye(2, 12)))
    with refused("0: makes outputs of shape"):
        certify(net, torch.rand(2, 1, 2, 2), [0, 0], [])
    images = torch.rand(2, 3, 2, 2)
    assert certify(net, images, [0, 0], []).attrs["lipschitz_upper_bound_tight"] <= 1 + 1e-11


class Third(TwoSlopes):
    negative_slope = 1 / 3


@pytest.mark.parametrize("slope", [1 / 3, -0.7, -5.0, 7.1])
def test_a_slope_of_ones_own_rounds_and_says_so(slope):
    for phi in (Third(), LeakyReLU()):
        phi.negative_slope = slope
        for x in torch.from_numpy(-np.random.default_rng(0).random((50, 1))):
            exact = rational(torch.tensor([slope], dtype=torch.float64)) * rational(x)
            assert covers(phi.local_error((1,), float(-x)), rational(phi(x)) - exact)
    assert float(Third().local_error((4,), 1.0)) > 0


def test_whole_numbers_for_q_would_have_stretched_distances():
    """exp of whole numbers is taken in float32: 10^-9 above a bound of 10^-14 above 1."""
    weight = np.abs(np.random.default_rng(1).standard_normal((6, 6))) ** 3
    layer = SLLFeedforwardLinear(6, 6, init=None, dtype=torch.float64)
    layer.fill(weight)
    q = torch.tensor([1, 2, 3, -1, 5, 0])
    whole = with_parameter(layer, "log_q", q)
    assert exact_norm(whole.effective_weight()) > 1 + 1e-12
    with torch.no_grad():
        floats = with_parameter(layer, "log_q", q.double())
    assert exact_norm(floats.effective_weight()) <= lipschitz_bound(nn.Sequential(floats))


def test_numbers_cannot_be_counted_from_behind():
    for module, x in (
        (FirstFeatures(-1), torch.ones(1, 4)),
        (FirstChannels(-1), torch.ones(1, 4, 1, 1)),
    ):
        with refused("there are no first -1 of 4"):
            module(x)


@pytest.mark.parametrize("factor", [1 + 1e-4, 1 + 1e-9])
def test_a_frozen_layer_edited_by_a_little_is_seen(factor):
    kept = frozen(nn.Sequential(linear(np.eye(2))))
    with torch.no_grad():
        kept[0].weight.mul_(factor)
    with refused("changed after it was frozen"):
        lipschitz_bound(kept)


def test_a_variance_that_would_overflow_on_the_way_is_refused():
    norm = nn.BatchNorm1d(2, eps=0.0).double().eval()
    norm.running_var.fill_(1e-310)
    with torch.no_grad():
        norm.weight.fill_(1e-155)
    with refused("divides by a variance below"):
        lipschitz_bound(norm)


class Odd(torch.Tensor):
    """Images whose comparisons lie."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        return result * 0 if func in (torch.Tensor.max, torch.Tensor.min) else result


def test_images_of_a_subclass_are_taken_as_the_numbers_that_they_are():
    images = torch.full((1, 2), 7.0).as_subclass(Odd)
    with refused("pixels must be in"):
        certify(linear(np.eye(2)), images, [0], [])


def test_views_shared_memory_and_strides_change_nothing():
    weight = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shared = torch.cat((weight.flatten(), torch.zeros(36))).double()
    views = (
        weight,
        weight.mT.contiguous().mT,
        shared[:36].view(6, 6),
        torch.stack((weight, weight), dim=2)[:, :, 1],
    )
    images = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).mT
    tables = []
    for view in views:
        layer = nn.Linear(6, 6, bias=False, dtype=torch.float64)
        layer.weight = nn.Parameter(view)
        net = nn.Sequential(layer, nn.ReLU(), layer)
        tables.append(certify(net, images, [0, 1, 2, 3], []))
    for table in tables[1:]:
        allowed = 2 * table["slack"].max()
        assert (table["margin"] - tables[0]["margin"]).abs().max() <= allowed


def test_the_default_type_of_numbers_does_not_matter():
    torch.manual_seed(0)
    net = nn.Sequential(SLLLinear(4, q="normal"), LeakyReLU(), AOLLinear(4, 3)).double()
    images = torch.rand(5, 4, dtype=torch.float64)
    expected = certify(net, images, [0] * 5, ["1/8"])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            assert certify(net, images, [0] * 5, ["1/8"]).equals(expected)
        finally:
            torch.set_default_dtype(torch.float32)


def test_inference_mode_and_gradients_do_not_matter():
    torch.manual_seed(0)
    net = nn.Sequential(AOLLinear(4, 4), nn.ReLU(), OrthogonalLinear(4, 3))
    images = torch.rand(5, 4)
    expected = certify(net, images, [0] * 5, ["1/8"])
    with torch.inference_mode():
        assert certify(net, images, [0] * 5, ["1/8"]).equals(expected)
    assert certify(net.requires_grad_(False), images.requires_grad_(), [0] * 5, ["1/8"]).equals(
        expected
    )


def test_bounds_are_asked_of_numbers_and_not_of_names():
    """float8 and half numbers are floats like others; the copy has them in float64."""
    for dtype in (torch.float8_e4m3fn, torch.float16, torch.bfloat16):
        layer = with_parameter(nn.Linear(2, 2, bias=False), "weight", (3 * torch.eye(2)).to(dtype))
        (step,) = steps_of(nn.Sequential(layer))
        assert step.module.in_use().dtype == torch.float64
        assert 3 <= lipschitz_bound(layer) <= 3 * (1 + 1e-11)
