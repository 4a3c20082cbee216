"""Every input once, at any batch size; nothing stale; the network left as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lipexp.activations import ACTIVATIONS
from lipexp.certification import certify, lipschitz_bound
from lipexp.errors import UserError
from lipexp.layers import AOLLinear, frozen
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.lipconvnet import lipconvnet
from lipexp.networks.mlp import mlp
from tests.certification.drawn_networks import linear


def network(seed: int = 0, dtype=torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        AOLLinear(6, 8, dtype=dtype),
        ACTIVATIONS["maxmin"](),
        nn.Linear(8, 8, dtype=dtype),
        nn.ReLU(),
        AOLLinear(8, 3, rows=True, dtype=dtype),
    )


def points(count: int):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 6), dtype=np.uint8), generator.integers(0, 3, count)


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 1000])
def test_every_input_has_its_row_at_any_batch_size(count):
    images, labels = points(count)
    net = network()
    whole = certify(net, images, labels, ["1/8"])
    bound = whole.attrs["lipschitz_upper_bound"]
    for batch in (1, 7, 256, count):
        table = certify(net, images, labels, ["1/8"], batch=batch)
        assert table["index"].tolist() == list(range(count))
        assert table["label"].tolist() == labels.tolist()
        allowed = 2 * table["slack"].max() / (2**0.5 * bound)
        assert (table["radius"] - whole["radius"]).abs().max() <= allowed
        assert table.attrs["images"] == count
    order = np.random.default_rng(1).permutation(count)
    turned = certify(net, images[order], labels[order], ["1/8"])
    np.testing.assert_allclose(turned["radius"], whole["radius"][order], atol=1e-12)


def test_the_same_request_gives_the_same_bits():
    images, labels = points(300)
    first, second = (certify(network(), images, labels, ["1/8"]) for _ in range(2))
    assert first.equals(second)


def test_arrays_tensors_lists_and_read_only_arrays_are_the_same_points():
    images, labels = points(20)
    images.flags.writeable = False
    expected = certify(network(), images, labels, ["1/8"])
    for inputs, classes in (
        (torch.from_numpy(images.copy()), torch.from_numpy(labels)),
        (images[::-1][::-1], labels.tolist()),
        (images.astype(np.float64) / 255, labels.astype(np.uint8)),
        ((images.astype(np.float64) / 255).astype(">f8"), labels),
        (torch.from_numpy(images.astype(np.float64) / 255).requires_grad_(), labels),
    ):
        assert certify(network(), inputs, classes, ["1/8"]).equals(expected)


def test_the_network_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), AOLLinear(4, 3))
    net[1].eval()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    images, labels = points(10)
    certify(net, images, labels, [])
    lipschitz_bound(net)
    assert [m.training for m in net.modules()] == modes
    assert all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert torch.is_grad_enabled()


def test_training_mode_and_neighbours_do_not_matter():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), AOLLinear(4, 3))
    net(torch.randn(50, 6))
    images, labels = points(10)
    training = certify(net.train(), images, labels, [])
    evaluation = certify(net.eval(), images, labels, [])
    assert training.equals(evaluation)
    alone = certify(net, images[3:4], labels[3:4], [])
    allowed = 2 * training["slack"].max()
    assert abs(alone["radius"][0] - training["radius"][3]) <= allowed


def scale_in_place(net):
    with torch.no_grad():
        net[2].weight.mul_(3)


def scale_data(net):
    net[2].weight.data = net[2].weight.data * 3


def scale_by_loading(net):
    state = net.state_dict()
    net.load_state_dict({**state, "2.weight": state["2.weight"] * 3})


def scale_by_a_step(net):
    optimizer = torch.optim.SGD([net[2].weight], lr=1.0)
    net[2].weight.grad = -2 * net[2].weight.detach()
    optimizer.step()


@pytest.mark.parametrize("edit", [scale_in_place, scale_data, scale_by_loading, scale_by_a_step])
@pytest.mark.parametrize("start", [network, lambda: frozen(network())])
def test_no_bound_is_stale(edit, start):
    net = start()
    images, labels = points(5)
    before = lipschitz_bound(net, tight=True)
    certify(net, images, labels, [])
    copied = copy.deepcopy(net)
    edit(net)
    assert lipschitz_bound(net, tight=True) == pytest.approx(3 * before)
    assert certify(net, images, labels, []).attrs["lipschitz_upper_bound_tight"] == pytest.approx(
        3 * before
    )
    assert lipschitz_bound(copied, tight=True) == before
    assert lipschitz_bound(net.float().double(), tight=True) == pytest.approx(3 * before)


def test_edits_of_rescaled_layers_are_seen_too():
    torch.manual_seed(0)
    net = nn.Sequential(AOLLinear(6, 5), AOLLinear(5, 3))
    images, labels = points(50)
    before = certify(frozen(net), images, labels, [])
    with torch.no_grad():
        net[0].weight.copy_(torch.randn_like(net[0].weight))
    again = certify(net, images, labels, [])
    assert not again["margin"].equals(before["margin"])
    kept = frozen(net)
    with torch.no_grad():
        kept[0].weight.copy_(torch.randn_like(kept[0].weight))
    with pytest.raises(UserError, match="0: its parameters were changed after it was frozen"):
        certify(kept, images, labels, [])


def test_totals_say_what_the_table_says():
    images, labels = points(200)
    table = certify(network(), images, labels, ["1/8"])
    totals = table.attrs
    assert totals["classes"] == 3
    assert totals["dtype"] == "float64"
    assert totals["lipschitz_upper_bound"] == lipschitz_bound(network())
    assert totals["lipschitz_upper_bound_tight"] == lipschitz_bound(network(), tight=True)
    assert totals["lipschitz_excess"] == totals["lipschitz_upper_bound"] - 1
    assert totals["largest_slack"] == table["slack"].max()
    assert totals["points_inside_slack"] == int((table["margin"].abs() <= table["slack"]).sum())
    parts = [v for k, v in totals.items() if k.startswith("seconds_")]
    assert sum(parts) == pytest.approx(totals["seconds"])
    assert (table["radius_tight"] >= table["radius"]).all()
    right = table["prediction"] == table["label"]
    assert ((table["radius"] > 0) == right).all()
    assert ((table["margin"] > 0) == right).all()


@pytest.mark.parametrize("model", ["aol", "sll", "sll_feedforward", "linear", "spectral"])
def test_built_networks_are_certified_end_to_end(model):
    plan = Blueprint(
        model=model, depth=3, width=16, input_shape=(1, 4, 4), classes=5, mean=(0.3,), bias="normal"
    )
    net = mlp(plan, seed=0, dtype=torch.float32)
    images = np.random.default_rng(0).integers(0, 17, (30, 1, 4, 4), dtype=np.uint8)
    table = certify(net, images, [1] * 30, ["1/8"], scale=16)
    assert table["slack"].max() < 1e-8
    assert 0 < table.attrs["lipschitz_upper_bound_tight"] < 1e6


@pytest.mark.parametrize("model", ["aol", "sll"])
def test_a_convnet_of_few_classes_uses_the_rows_that_it_keeps(model):
    plan = Blueprint(
        model=model,
        depth=5,
        width=2,
        input_shape=(1, 8, 8),
        classes=3,
        mean=(0.5,),
        between="maxmin",
        bias="default",
        init="orthogonal",
    )
    net = lipconvnet(plan, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    table = certify(net, images, [0, 1, 2, 0], ["1/8"])
    assert table.attrs["classes"] == 3
    assert table["slack"].max() < 1e-7
    with torch.no_grad():
        scores = net(torch.from_numpy(images).double() / 255)
    np.testing.assert_array_equal(table["prediction"], scores.argmax(1))


def test_a_flat_linear_classifier_needs_no_layers_of_ours():
    table = certify(linear(np.eye(3)), np.array([[255, 0, 51]], np.uint8), [0], ["1/2"])
    assert table["radius"][0] == pytest.approx(0.8 / 2**0.5)
    assert table["certified_1/2"][0]
