"""What stands between a module and its class's proof: each way in was tried, and is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lipexp.activations import ACTIVATIONS, LeakyReLU
from lipexp.activations.tanh import Tanh
from lipexp.activations.two_slopes import TwoSlopes
from lipexp.certification import certify, lipschitz_bound
from lipexp.certification.chain import steps_of
from lipexp.errors import UserError
from lipexp.layers import (
    AOLConv2d,
    AOLLinear,
    FirstChannels,
    FirstFeatures,
    OrthogonalLinear,
    SLLConv2d,
    SLLFeedforwardLinear,
    SLLLinear,
    frozen,
)
from lipexp.layers.windows import Window
from lipexp.lipschitz import ExactMap
from tests.certification.drawn_networks import linear
from tests.exact import covers, exact_norm, rational


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
