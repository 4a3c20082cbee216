"""Networks put together or changed so that a bound would be of another map than the one applied."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS, Abs, Identity, LeakyReLU
from lipexp.certification import certify, lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import (
    AOLLinear,
    Centre,
    FirstChannels,
    FirstFeatures,
    PlainConv2d,
    PlainLinear,
    SLLConv2d,
    SLLLinear,
    frozen,
)
from tests.certification.drawn_networks import linear


def refused(match: str):
    return pytest.raises(UserError, match=match)


def test_grey_images_are_not_copied_into_the_channels_of_colour():
    """Broadcasting one channel into three has norm sqrt 3, not 1."""
    net = nn.Sequential(Centre((0.5,) * 3, (3, 2, 2)), nn.Flatten(), linear(np.eye(2, 12)))
    with refused(r"shape \(1, 2, 2\): must be \(3, 2, 2\)"):
        certify(net, torch.rand(4, 1, 2, 2), [0] * 4, ["0.1"])


@pytest.mark.parametrize(("channels", "shape"), [(4, (1, 2, 2)), (1, (16, 2, 2)), (3, (3,))])
def test_a_mean_of_another_number_of_channels_is_refused(channels, shape):
    """Four constants would make four copies of a grey image, of norm 2; one for sixteen channels
    would be counted once in the rounding."""
    with refused("must be one a channel"):
        Centre((0.5,) * channels, shape)


def test_a_mean_put_in_anothers_place_is_refused():
    centre = Centre((0.5,), (1, 2, 2))
    centre.mean = torch.full((4, 1, 1), 0.5, dtype=torch.float64)
    assert centre(torch.zeros(2, 1, 2, 2)).shape == (2, 4, 2, 2)  # it would have made copies
    net = nn.Sequential(centre, nn.Flatten(), linear(np.eye(2, 16)))
    with refused("must be one a channel"):
        certify(net, torch.rand(4, 1, 2, 2), [0] * 4, ["0.1"])
    with refused("must be one a channel"):
        lipschitz_bound(centre)


def test_the_first_image_is_not_certified_for_the_whole_batch():
    """Without a channel axis, the first of three images would be taken for the first channel."""
    net = nn.Sequential(FirstChannels(1), nn.Flatten(), linear(np.eye(2, 4)))
    images = torch.zeros(3, 2, 2)
    images[0, 0, 0] = images[1:, 0, 1] = 1
    with refused("an axis too few"):
        certify(net, images, [0, 0, 0], ["0.1"])


def test_a_frozen_copy_is_certified_as_it_computes():
    layer = PlainLinear(2, 2, bias=False, init=None, dtype=torch.float64)
    layer.fill(np.eye(2))
    kept, swapped = frozen(nn.Sequential(layer)), torch.eye(2, dtype=torch.float64).flip(0)
    x = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    kept.load_state_dict({"0.weight": swapped})  # recomputed from here on
    assert kept(x).tolist() == [[0.1, 0.9]]
    assert certify(kept, x, [1], ["0.3"])["certified_0.3"].all()
    kept = frozen(nn.Sequential(layer))
    with torch.no_grad():
        kept[0].weight.copy_(swapped)
    with refused("changed after it was frozen"):
        certify(kept, x, [1], ["0.3"])


class Doubled(AOLLinear):
    """Writes its map and its rounding, and leaves the bound to be inherited."""

    def forward(self, x):
        return 2 * super().forward(x)

    def local_error(self, shape, norm):
        return 2 * super().local_error(shape, norm)


class Flipped(Identity):
    def forward(self, x):
        return x.flip(-1)

    def local_error(self, shape, norm):
        return 0.0 * norm


class Tripled(AOLLinear):
    def _compute(self):
        return 3 * super()._compute()


class Opposed(SLLLinear):
    def apply_outer(self, outer, hidden):
        return -super().apply_outer(outer, hidden)


SUBCLASSES = {
    "a map with an inherited bound": (Doubled, r"writes forward\(\) and inherits lipschitz_bound"),
    "another computation of the weight": (Tripled, r"writes _compute\(\) and inherits"),
    "a residual block that adds": (Opposed, r"writes apply_outer\(\) and inherits"),
}


@pytest.mark.parametrize("what", SUBCLASSES)
def test_a_subclass_answers_for_what_it_computes(what):
    make, message = SUBCLASSES[what]
    with refused(message):
        lipschitz_bound(nn.Sequential(make(4, 4)))


def test_what_stands_behind_the_head_must_be_known_to_leave_scores_in_place():
    class Last(FirstFeatures):
        def forward(self, x):
            return x[..., -self.count :]

    for behind in (Flipped(), Last(2)):
        rows = [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
        net = nn.Sequential(linear(np.array(rows)), behind)
        with refused("writes forward"):
            certify(net, torch.full((1, 2), 0.5), [0], ["0.1"])


def test_a_slope_that_was_changed_counts():
    steep = LeakyReLU()
    steep.negative_slope = -5.0
    assert lipschitz_bound(nn.Sequential(steep)) == 5
    for slope in (math.nan, math.inf):  # max(1, NaN) is 1
        steep.negative_slope = slope
        with refused("a slope that is NaN or infinite"):
            lipschitz_bound(nn.Sequential(steep))
    layer = SLLLinear(2)
    layer.activation = LeakyReLU()
    layer.activation.negative_slope = -1.0
    with refused("not known to have slopes"):
        lipschitz_bound(nn.Sequential(layer))
    with refused("not known to have slopes"):
        SLLLinear(2, activation=Abs())


def test_a_weight_in_use_of_another_shape_has_no_bound_on_its_rounding():
    """A sum of as many terms as the free weight has is not what is computed."""

    class Repeats(PlainLinear):
        def effective_weight(self):
            return self.weight.repeat(1, 1000)

    class Grows(PlainConv2d):
        def effective_weight(self):
            return self.weight[:, :, 1:2, 1:2]

    tied, grown = Repeats(2, 2).double(), Grows(1, 1, 3, padding=1).double()
    with refused(r"the effective weight has shape \(2, 2000\), the free one \(2, 2\)"):
        certify(tied, torch.rand(1, 2000).double(), [0], ["0.1"])
    with refused(r"the effective weight has shape \(1, 1, 1, 1\), the free one \(1, 1, 3, 3\)"):
        certify(nn.Sequential(grown, nn.Flatten()), torch.rand(1, 1, 3, 3).double(), [0], ["0.1"])


@pytest.mark.parametrize("name", ["effective_weight", "in_use", "lipschitz_bound", "local_error"])
def test_methods_put_on_an_instance_are_seen(name):
    layer = AOLLinear(2, 2)
    setattr(layer, name, lambda *_: 9 * torch.eye(2))
    with refused(f"given another {name}"):
        lipschitz_bound(nn.Sequential(layer))
    conv = nn.Conv2d(1, 1, 1)
    conv._conv_forward = lambda x, w, b: 50 * x
    with refused("given another _conv_forward"):
        lipschitz_bound(nn.Sequential(conv))


def test_what_torch_pads_by_is_what_is_bounded():
    """The ring of a circular Conv2d is settled when it is made, whatever its padding says later."""
    conv = nn.Conv2d(1, 1, 3, padding=2, padding_mode="circular")
    conv.padding = (0, 0)
    with refused("repeats outputs"):
        lipschitz_bound(nn.Sequential(conv))
    pad = nn.ZeroPad2d(1)
    pad.value = 3.0
    with refused("value=3.0"):
        lipschitz_bound(nn.Sequential(pad))


def test_a_weight_of_another_shape_than_the_layer_was_made_for_is_refused():
    layer = AOLLinear(2, 2)
    layer.weight = nn.Parameter(torch.ones(40, 2))
    with refused("the layer was made for"):
        lipschitz_bound(nn.Sequential(layer))


def test_a_network_of_nothing_and_inputs_that_are_not_dense_are_refused():
    x, labels = torch.rand(2, 3, dtype=torch.float64), [0, 1]
    with pytest.raises(UserError, match="no modules: there is nothing to certify"):
        certify(nn.Sequential(), x, labels, 0.3)
    with pytest.raises(UserError, match="must be a dense tensor"):
        certify(nn.Sequential(nn.Linear(3, 2)), x.to_sparse(), labels, 0.3)


def test_complex_and_meta_networks_are_refused():
    with refused("complex"):
        lipschitz_bound(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64)))
    with refused("meta device"):
        lipschitz_bound(nn.Sequential(nn.Linear(2, 2, device="meta")))


@pytest.mark.parametrize(
    "eps", [0.25, np.float32(0.25), np.float64(0.25), Decimal("0.25"), "+0.25", "1/4"]
)
def test_a_radius_may_be_any_number(eps):
    net = nn.Sequential(linear(np.eye(2)))
    for given in (eps, [eps]):
        table = certify(net, torch.tensor([[0.9, 0.1]]), [0], given)
        assert table.filter(like="certified_").to_numpy().all()
    with refused("whole number"):
        certify(net, torch.tensor([[0.9, 0.1]]), [0], eps, batch=2.5)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-8, 1e-30])
def test_one_tiny_unit_does_not_cost_every_certificate(scale, activation):
    """Its T^-1 is large; what it adds to the rounding is not: errors are weighed by T^(-1/2)."""
    torch.manual_seed(0)
    dense, images = SLLLinear(16, activation=activation), SLLConv2d(8, activation=activation)
    for layer, shape in ((dense.double(), (16,)), (images.double(), (8, 4, 4))):
        ordinary = float(layer.local_error(shape, 1.0))
        with torch.no_grad():
            layer.weight[0] *= scale
        assert float(layer.local_error(shape, 1.0)) < 10 * ordinary


def test_every_activation_answers_as_it_is_registered():
    for name in ACTIVATIONS:
        assert lipschitz_bound(nn.Sequential(ACTIVATIONS[name]())) == 1
