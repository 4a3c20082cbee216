"""What has no proof is refused in one line that names it, wherever it stands."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lipexp.activations import ACTIVATIONS, ReLU
from lipexp.activations.base import Activation
from lipexp.certification import certify, lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import AOLLinear, LipschitzLinear, SLLLinear
from lipexp.lipschitz import LipschitzModule
from tests.certification.drawn_networks import linear


class Quiet(nn.Linear):
    pass


class Doubled(AOLLinear):
    def forward(self, x):
        return 2 * super().forward(x)


class Grown(AOLLinear):
    def effective_weight(self):
        return 3 * super().effective_weight()


class Steep(ReLU):
    def forward(self, x):
        return 5 * super().forward(x)


class Silent(LipschitzModule):
    def forward(self, x):
        return x


class Loud(Activation):
    def forward(self, x):
        return x.abs()


class Repeating(nn.Sequential):
    def forward(self, x):
        return super().forward(super().forward(x))


class Reversed(nn.Sequential):
    def __iter__(self):
        return reversed(list(super().__iter__()))


def patched(module: nn.Module) -> nn.Module:
    module.forward = lambda x: 7 * x
    return module


def hooked(module: nn.Module, before: bool = False) -> nn.Module:
    if before:
        module.register_forward_pre_hook(lambda m, x: None)
    else:
        module.register_forward_hook(lambda m, x, y: None)
    return module


def with_activation(layer: nn.Module, activation: nn.Module) -> nn.Module:
    layer.activation = activation
    return layer


def never_tracking() -> nn.Module:
    return nn.BatchNorm1d(4, track_running_stats=False)


STRANGERS = {
    "layer norm": (lambda: nn.LayerNorm(4), "no Lipschitz bound is known of LayerNorm"),
    "softmax": (lambda: nn.Softmax(1), "known of Softmax"),
    "a lambda's module": (lambda: nn.ModuleList(), "known of ModuleList"),
    "a subclass": (lambda: Quiet(4, 4), "Quiet.*a subclass of Linear may compute anything"),
    "another Sequential": (lambda: Repeating(nn.ReLU()), "known of Repeating"),
    "a Sequential in another order": (lambda: Reversed(nn.ReLU()), "known of Reversed"),
    "torch's spectral norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
        "known of ParametrizedLinear",
    ),
    "a forward hook": (lambda: hooked(nn.ReLU()), "a forward hook may change what ReLU"),
    "a forward pre-hook": (lambda: hooked(nn.ReLU(), True), "a forward hook may change"),
    "a hook inside a layer": (
        lambda: nn.Sequential(SLLLinear(4), nn.ReLU()).apply(
            lambda m: hooked(m) if type(m) is ReLU else m
        ),
        r"1\.0\.activation: a forward hook may change",
    ),
    "a forward put on an instance": (lambda: patched(nn.ReLU()), "ReLU was given another forward"),
    "a forward put on a layer": (lambda: patched(AOLLinear(4, 4)), "AOLLinear was given another"),
    "a forward without its rounding": (
        lambda: Doubled(4, 4),
        r"Doubled writes forward\(\) and inherits lipschitz_bound\(\)",
    ),
    "a weight without its proof": (
        lambda: Grown(4, 4),
        r"Grown writes effective_weight\(\) and inherits proven_norm\(\)",
    ),
    "a steeper activation": (lambda: Steep(), r"Steep writes forward\(\) and inherits"),
    "a module that answers nothing": (lambda: Silent(), r"Silent writes forward\(\)"),
    "an activation without its rounding": (lambda: Loud(), r"Loud writes forward\(\)"),
    "abs inside a residual layer": (
        lambda: with_activation(SLLLinear(4), ACTIVATIONS["abs"]()),
        "Abs inside a residual layer is not known to have slopes",
    ),
    "no running statistics": (never_tracking, "without running statistics mixes the inputs"),
    "flattening the batch": (lambda: nn.Flatten(0), r"Flatten\(start_dim=0\) may mix the inputs"),
    "groups": (lambda: nn.Conv2d(4, 4, 3, groups=2), r"Conv2d\(groups=2\) has no proven bound"),
    "dilation": (lambda: nn.Conv2d(4, 4, 3, dilation=2), "dilation"),
    "reflect": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "reflect"),
    "replicate": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate"), "replicate"),
    "a ring that repeats": (
        lambda: nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular"),
        "repeats outputs",
    ),
    "a dilated pool": (lambda: nn.MaxPool2d(2, dilation=2), "MaxPool2d has no proven bound"),
    "a pool of indices": (lambda: nn.MaxPool2d(2, return_indices=True), "MaxPool2d"),
    "an average of part of a window": (lambda: nn.AvgPool2d(3, ceil_mode=True), "AvgPool2d"),
    "another divisor": (lambda: nn.AvgPool2d(2, divisor_override=1), "AvgPool2d"),
    "an average without its padding": (
        lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False),
        "AvgPool2d",
    ),
}


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_a_stranger_in_the_middle_is_refused_by_its_path(name):
    make, line = STRANGERS[name]
    net = nn.Sequential(linear(torch.eye(4)), make(), linear(torch.eye(4)))
    for ask in (lambda: lipschitz_bound(net), lambda: certify(net, torch.zeros(1, 4), [0], [])):
        with pytest.raises(UserError, match=line) as error:
            ask()
        assert str(error.value).startswith("1")
        assert "\n" not in str(error.value)


def test_a_stranger_alone_is_named_as_the_network():
    with pytest.raises(UserError, match="the network: no Lipschitz bound is known of GELU"):
        lipschitz_bound(nn.GELU())


def test_autocast_is_refused():
    net = linear(torch.eye(2))
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(UserError, match="autocast is on"):
        certify(net, torch.zeros(1, 2), [0], [])


def test_a_global_forward_hook_is_refused():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda m, x, y: None)
    try:
        with pytest.raises(UserError, match="global forward hook"):
            lipschitz_bound(nn.ReLU())
    finally:
        handle.remove()
    assert lipschitz_bound(nn.ReLU()) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_and_statistics_that_are_not_finite_are_refused(bad):
    for make, name in (
        (lambda: nn.Linear(2, 2), "weight"),
        (lambda: nn.Linear(2, 2), "bias"),
        (lambda: AOLLinear(2, 2), "bias"),
        (lambda: nn.BatchNorm1d(2), "running_var"),
        (lambda: nn.BatchNorm1d(2), "running_mean"),
    ):
        module = make()
        with torch.no_grad():
            getattr(module, name)[0] = bad
        with pytest.raises(UserError, match=f"0: {name} is NaN or infinite"):
            lipschitz_bound(nn.Sequential(module))


def test_a_negative_or_zero_variance_is_refused():
    norm = nn.BatchNorm1d(2, eps=0.0)
    for variance in (-1.0, 0.0):
        norm.running_var[0] = variance
        with pytest.raises(UserError, match="variance"):
            lipschitz_bound(norm)


def test_sizes_out_of_range_are_refused():
    net = nn.Sequential(
        linear(torch.eye(2)), linear(torch.eye(2).double() * 1e-200), linear(torch.eye(2))
    )
    with pytest.raises(UserError, match=r"1: a Lipschitz bound of size 1e-200 is outside"):
        certify(net, torch.zeros(1, 2), [0], [])
    net = nn.Sequential(linear(torch.eye(2)), linear(torch.eye(2), [1e160, 0]))
    with pytest.raises(UserError, match=r"1: a bias of size 1e\+160 is outside"):
        certify(net, torch.zeros(1, 2), [0], [])


def test_plugins_that_answer_are_certified():
    class Mine(LipschitzLinear):
        def effective_weight(self):
            return self.weight / 4

    class Sharp(Activation):
        def forward(self, x):
            return x.abs()

        def local_error(self, shape, norm):
            return 0.0 * norm

    torch.manual_seed(0)
    layer = Mine(4, 4, dtype=torch.float64)
    net = nn.Sequential(layer, Sharp(), linear(torch.eye(4)))
    exact = float(torch.linalg.svdvals(layer.weight.detach())[0]) / 4
    assert exact <= lipschitz_bound(net, tight=True) <= exact * (1 + 1e-10)
    assert certify(net, torch.rand(2, 4), [0, 1], []).attrs["images"] == 2


def test_a_sequential_that_only_builds_itself_is_taken_apart():
    class Block(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(2, 2), nn.Sequential(nn.ReLU()), nn.Sequential())

    assert lipschitz_bound(Block()) >= 1


def test_a_device_that_sums_in_float32_is_refused(monkeypatch):
    from lipexp.certification import arithmetic

    conv, product = torch.nn.functional.conv2d, torch.Tensor.__matmul__
    arithmetic.check_arithmetic(torch.device("cpu"))

    def short(function):
        return lambda a, b: function(a.float(), b.float()).double()

    with monkeypatch.context() as patch:
        patch.setattr(arithmetic.F, "conv2d", short(conv))
        with pytest.raises(UserError, match="cpu does not compute products in float64"):
            arithmetic.check_arithmetic(torch.device("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__matmul__", short(product))
        with pytest.raises(UserError, match="cpu does not compute products in float64"):
            arithmetic.check_arithmetic(torch.device("cpu"))


def test_a_convolution_by_fourier_transform_is_refused(monkeypatch):
    from lipexp.certification import arithmetic

    def by_fourier(images, kernel):
        size = images.shape[-1] + kernel.shape[-1]
        spectra = [torch.fft.rfft2(t, s=(size, size)) for t in (images, kernel)]
        product = torch.einsum("ncij,ocij->noij", spectra[0], spectra[1].conj())
        side = images.shape[-1] - kernel.shape[-1] + 1
        return torch.fft.irfft2(product, s=(size, size))[..., :side, :side]

    monkeypatch.setattr(arithmetic.F, "conv2d", by_fourier)
    with pytest.raises(UserError, match="term by term"):
        arithmetic.check_arithmetic(torch.device("cpu"))
