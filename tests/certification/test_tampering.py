"""What stands between a module and its class's proof: each way in was tried, and is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lipexp.activations import ACTIVATIONS
from lipexp.activations.tanh import Tanh
from lipexp.certification import certify, lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import (
    AOLConv2d,
    AOLLinear,
    OrthogonalLinear,
    SLLConv2d,
    SLLFeedforwardLinear,
    SLLLinear,
)
from lipexp.layers.windows import Window
from lipexp.lipschitz import ExactMap
from tests.certification.drawn_networks import linear


def refused(match: str):
    return pytest.raises(UserError, match=match)


class Trick(nn.Sequential):
    """A Sequential that hands over another network when it is copied."""

    def __deepcopy__(self, memo):
        return nn.Sequential(linear(np.eye(2)))


class Called(nn.Sequential):
    def _call_impl(self, x):
        return 7 * x


class Switching(nn.Sequential):
    def train(self, mode=True):
        return self


class CalledLayer(AOLLinear):
    def _call_impl(self, x):
        return 7 * x


class Children(nn.Sequential):
    """Shows other children at every look."""

    _modules = property(lambda self: vars(self)["children"], lambda self, value: None)


class Disguised(type(OrthogonalLinear(2, 2))):
    """Behind the class that torch puts in front of a parametrised one."""

    def _call_impl(self, x):
        return 7 * x


def disguised() -> nn.Module:
    layer = OrthogonalLinear(2, 2)
    layer.__class__ = Disguised
    return layer


class Spoofed(AOLLinear):
    """Says that it is of this package."""

    def forward(self, x):
        return 9 * super().forward(x)


Spoofed.__module__ = "lipexp.layers.aol"


class Lying(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs or {})


def of(module: nn.Module, **attributes) -> nn.Module:
    """The module, its instance's dictionary changed."""
    vars(module).update(attributes)
    return module


def with_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> nn.Module:
    delattr(module, name)
    setattr(module, name, nn.Parameter(tensor, requires_grad=False))
    return module


def plain(module: nn.Module, name: str, tensor: torch.Tensor) -> nn.Module:
    delattr(module, name)
    setattr(module, name, tensor)
    return module


def compiled(module: nn.Module) -> nn.Module:
    module.compile()
    return module


def random_bias(module: nn.Module) -> nn.Module:
    class Noise(nn.Module):
        def forward(self, bias):
            return bias + torch.randn_like(bias)

    parametrize.register_parametrization(module, "bias", Noise())
    return module


def with_window(layer: nn.Module, window) -> nn.Module:
    layer.window = window
    return layer


def hooked_activation() -> nn.Module:
    relu = ACTIVATIONS["relu"]()
    relu.register_forward_hook(lambda module, x, y: -y)
    return of(SLLLinear(2), activation=relu)


TRICKS = {
    "a container that copies another": (lambda: Trick(linear(np.eye(2))), "another __deepcopy__"),
    "a copy put on an instance": (
        lambda: of(nn.Sequential(nn.ReLU()), __deepcopy__=lambda memo: nn.Sequential()),
        "Sequential was given another __deepcopy__",
    ),
    "a pickle put on an instance": (
        lambda: of(nn.ReLU(), __reduce_ex__=lambda protocol: nn.Tanh().__reduce_ex__(protocol)),
        "ReLU was given another __reduce_ex__",
    ),
    "a conversion put on an instance": (
        lambda: of(AOLLinear(2, 2), to=lambda **_: None),
        "AOLLinear was given another to",
    ),
    "a container that is called another way": (lambda: Called(nn.ReLU()), "another _call_impl"),
    "a layer that is called another way": (lambda: CalledLayer(2, 2), "another _call_impl"),
    "a container that never evaluates": (
        lambda: Switching(nn.ReLU()),
        "no Lipschitz bound is known of Switching",
    ),
    "a parametrised layer that is called another way": (disguised, "another _call_impl"),
    "a compiled module": (lambda: compiled(nn.Flatten()), "Flatten was compiled"),
    "another compiled call": (
        lambda: of(nn.Flatten(), _compiled_call_impl=lambda x: 7 * x),
        "Flatten was compiled",
    ),
    "a class that says it is ours": (lambda: Spoofed(2, 2), r"Spoofed writes forward\(\)"),
    "a parametrised bias": (lambda: random_bias(AOLLinear(2, 2)), "a parametrisation may change"),
    "a parametrised bias of the orthogonal layer": (
        lambda: random_bias(OrthogonalLinear(2, 2)),
        "a parametrisation may change",
    ),
    "a parametrised weight": (
        lambda: parametrizations.spectral_norm(AOLLinear(2, 2)),
        "a parametrisation may change",
    ),
    "a pruned layer": (
        lambda: prune.l1_unstructured(AOLLinear(2, 2), "weight", amount=1),
        "a forward hook",
    ),
    "whole numbers for q": (
        lambda: with_parameter(SLLFeedforwardLinear(2, 2), "log_q", torch.tensor([1, 2])),
        "log_q has type torch.int64: it must be a floating-point number",
    ),
    "a plain tensor for q": (
        lambda: plain(SLLFeedforwardLinear(2, 2), "log_q", torch.zeros(2)),
        "log_q is a plain attribute",
    ),
    "a plain tensor for the bias": (
        lambda: plain(nn.Linear(2, 2), "bias", 2 * torch.ones(2, requires_grad=True)),
        "bias is a plain attribute",
    ),
    "an activation with a hook, out of sight": (hooked_activation, "activation is a plain"),
    "a bias for every unit at once": (
        lambda: with_parameter(nn.Linear(2, 2), "bias", torch.ones(1)),
        r"the bias has shape \(1,\); the layer was made for 2",
    ),
    "a residual bias for every unit at once": (
        lambda: with_parameter(SLLLinear(2), "bias", torch.ones(1)),
        r"the bias has shape \(1,\)",
    ),
    "a weight that is a subclass": (
        lambda: with_parameter(nn.Linear(2, 2), "weight", torch.eye(2).as_subclass(Lying)),
        "weight is a Lying",
    ),
    "a sparse weight": (
        lambda: with_parameter(nn.Linear(2, 2), "weight", torch.eye(2).to_sparse()),
        "sparse or quantised",
    ),
    "another window": (
        lambda: with_window(SLLConv2d(1, 2, 3), Window.of(3, stride=2)),
        "window is not the one",
    ),
    "a window for another kernel": (
        lambda: with_window(AOLConv2d(1, 2, 3), Window.of(5, mode="circular")),
        "window is not the one",
    ),
    "another method of the window": (
        lambda: with_window(AOLConv2d(1, 2, 3), lambda x, kernel, bias: x),
        "window is not the one",
    ),
    "a scale that is infinite": (lambda: Tanh(float("inf")), "NaN or infinite"),
}


@pytest.mark.parametrize("name", sorted(TRICKS))
def test_what_would_make_a_bound_one_of_another_map_is_refused(name):
    make, line = TRICKS[name]
    for net in (nn.Sequential(make()), make()):
        with refused(line) as error:
            lipschitz_bound(net)
        assert "\n" not in str(error.value)


def test_a_container_that_shows_other_children_is_refused():
    net = of(nn.Sequential(), children={"0": nn.ReLU()})
    net.__class__ = Children
    with refused("another _modules"):
        lipschitz_bound(net)


def test_a_copy_with_other_numbers_is_seen(monkeypatch):
    layer = AOLLinear(2, 2)
    monkeypatch.setattr(
        AOLLinear, "__deepcopy__", lambda self, memo: AOLLinear(2, 2), raising=False
    )
    with refused("does not copy itself"):
        lipschitz_bound(nn.Sequential(layer))


@pytest.mark.parametrize("kind", [nn.Linear, nn.Conv2d, nn.ReLU])
def test_a_forward_put_on_torchs_own_class_is_seen(kind, monkeypatch):
    module = nn.ReLU() if kind is nn.ReLU else kind(2, 2, 1) if kind is nn.Conv2d else kind(2, 2)
    lipschitz_bound(module)
    monkeypatch.setattr(kind, "forward", lambda self, x: 7 * x)
    with refused(f"{kind.__name__} was given another forward"):
        lipschitz_bound(module)


def test_modes_that_change_what_torch_computes_are_refused():
    class Short(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    class Dispatched(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    net = linear(np.eye(2))
    for mode in (Short, Dispatched):
        with mode(), refused(f"{mode.__name__} may change what torch computes"):
            lipschitz_bound(net)
    with torch.device("cpu"):  # a mode, of no consequence
        assert lipschitz_bound(net) >= 1


def test_flushed_denormals_are_refused():
    """A weight of 1e-310 would count as none: constant 0, an infinite radius."""
    torch.set_flush_denormal(True)
    try:
        with refused("denormal numbers are flushed to zero"):
            lipschitz_bound(linear(1e-310 * np.eye(2)))
    finally:
        torch.set_flush_denormal(False)
    assert lipschitz_bound(linear(1e-310 * np.eye(2)), tight=True) >= 1e-310


class Noisy(ExactMap):
    def forward(self, x):
        return x + torch.rand_like(x)

    def local_error(self, shape, norm):
        return 0.0 * norm


class Counted(ExactMap):
    """Another map at every call, as running statistics that are never frozen make it."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * (-1) ** self.calls

    def local_error(self, shape, norm):
        return 0.0 * norm


class Mixed(ExactMap):
    def forward(self, x):
        return x - x.mean(0)

    def local_error(self, shape, norm):
        return 0.0 * norm


@pytest.mark.parametrize("kind", [Noisy, Counted, Mixed])
def test_a_module_that_does_not_repeat_itself_is_refused(kind):
    net = nn.Sequential(linear(np.eye(2)), kind(), linear(np.eye(2)))
    with refused("the same input has other scores when it is sent again"):
        certify(net, torch.tensor([[0.9, 0.1], [0.3, 0.2]]), [0, 0], [])
