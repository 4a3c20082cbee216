"""The carried probe against plain float64, and against what is exactly conserved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipexp.activations import ACTIVATIONS
from lipexp.errors import UserError
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.mlp import mlp
from lipexp.probing.cotangent import Cotangent
from lipexp.probing.probe import probe
from lipexp.probing.signal import Plain
from lipexp.probing.steps import make_step
from lipexp.streams import stream
from tests.probing.plain_float64 import gaussian_cotangent, generators, plain, plain_loss

HOMOGENEOUS = ("relu", "leaky_relu", "abs", "maxmin", "identity")


def networks(replicates=1, *, seed=0, **plan):
    plan = {"model": "aol", "depth": 5, "width": 6, "input_shape": (6,), **plan}
    return [mlp(Blueprint(**plan), seed=seed, replicate=r) for r in range(replicates)]


def inputs(count=7, features=6, seed=0):
    return torch.from_numpy(stream(seed, "inputs").standard_normal((count, features)))


def combinations():
    for model in LAYERS:
        residual = LAYERS.fact(model, "residual")
        for activation in ACTIVATIONS:
            if residual and not ACTIVATIONS.fact(activation, "slope_restricted"):
                continue
            for bias in ("zero", "normal"):
                yield model, activation, bias


@pytest.mark.parametrize(("model", "activation", "bias"), list(combinations()))
def test_carried_probe_equals_plain_float64(model, activation, bias):
    (network,) = networks(model=model, activation=activation, bias=bias)
    x = inputs()
    found = probe([network], x, generators=generators()).columns
    for column, expected in plain(network, x).items():
        np.testing.assert_allclose(found[column][:, 0], expected, rtol=0, atol=1e-9, err_msg=column)


@pytest.mark.parametrize("activation", ["relu", "tanh", "maxmin"])
@pytest.mark.parametrize("bias", ["zero", "default"])
def test_ones_enter_at_the_last_layer(activation, bias):
    (network,) = networks(activation=activation, bias=bias)
    x = inputs()
    found = probe([network], x, cotangent="ones").columns
    expected = plain(network, x, torch.ones(7, 6, dtype=torch.float64))
    for column, values in expected.items():
        if column == "log10_gradient_variance":
            values[-1] = -np.inf  # equal for all inputs
        np.testing.assert_allclose(found[column][:, 0], values, rtol=0, atol=1e-9, err_msg=column)


@pytest.mark.parametrize("model", ["aol", "sll"])
def test_loss_enters_through_the_head(model):
    (network,) = networks(model=model, classes=3, bias="normal")
    x, labels = inputs(), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    found = probe([network], x, cotangent="loss", labels=labels).columns
    for column, expected in plain_loss(network, x, labels).items():
        np.testing.assert_allclose(found[column][:, 0], expected, atol=1e-9, err_msg=column)


def test_the_heads_variance_over_inputs_goes_on_from_the_last_layers():
    plan = {"depth": 60, "width": 8, "input_shape": (8,), "classes": 3, "bias": "corrected"}
    labels = torch.arange(20) % 3
    found = probe(networks(**plan), inputs(20, 8), cotangent="loss", labels=labels).columns
    last, head = found["log10_variance"][-2:, 0]
    assert last < -40
    assert last - 2.5 < head < last


def test_a_bias_that_stands_at_the_end_alone_is_the_end():
    (network,) = networks(depth=300, width=24, input_shape=(24,), classes=3)
    with torch.no_grad():
        list(network.hidden_layers())[-1].layer.bias.fill_(1.0)
        network.head.bias.fill_(1.0)
    labels = torch.arange(20) % 3
    found = probe([network], inputs(20, 24), cotangent="loss", labels=labels).columns
    assert found["log10_second_moment"][-3, 0] < -200
    assert found["log10_second_moment"][-2, 0] == pytest.approx(0, abs=1e-12)
    assert np.isfinite(found["log10_variance"]).all()
    assert found["log10_variance"][-2, 0] < -200


@pytest.mark.parametrize("bias", ["zero", "default"])
@pytest.mark.parametrize("scale", [1e-200, 1e3, 1e200])
def test_inputs_of_any_size_pass_a_bounded_activation(bias, scale):
    (network,) = networks(activation="tanh", bias=bias)
    found = probe([network], scale * inputs(), generators=generators()).columns
    for column, values in found.items():
        assert not np.isnan(values[1:]).any(), column
    ratio = plain(network, scale * inputs()) if scale == 1e3 else None
    if ratio:
        np.testing.assert_allclose(
            found["log10_variance"][:, 0], ratio["log10_variance"], atol=1e-9
        )


@pytest.mark.parametrize(
    ("alpha", "dtype"),
    [
        (1e200, torch.float64),
        (1e-170, torch.float64),
        (1e18, torch.float32),
        (1e-22, torch.float32),
    ],
)
def test_weights_whose_squares_leave_the_range_are_measured(alpha, dtype):
    def of(size, kind):
        keys = {"alpha": size, "beta": 2.0}
        plan = Blueprint(
            model="linear", depth=3, width=6, input_shape=(6,), init="gnd", init_keys=keys
        )
        network = mlp(plan, seed=0, dtype=kind)
        return probe([network], inputs().to(kind), generators=generators()).columns

    found, unit = of(alpha, dtype), of(1.0, torch.float64)
    decades = 2 * np.log10(alpha)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for column, factor in (
        ("log10_second_moment", np.arange(4)),
        ("log10_gradient_second_moment", np.arange(3, -1, -1)),
        ("log10_weight_variance", np.ones(4)),
    ):
        expected = unit[column][:, 0] + factor * decades
        np.testing.assert_allclose(found[column][:, 0], expected, atol=tolerance, err_msg=column)
    norm = unit["operator_norm"][1:, 0] * alpha
    np.testing.assert_allclose(found["operator_norm"][1:, 0], norm, rtol=1e-6)


def test_inputs_that_are_all_equal_have_no_variance_at_all():
    same = inputs(1).expand(7, 6)
    for bias in ("zero", "normal"):
        found = probe(networks(bias=bias), same, generators=generators()).columns
        assert (found["log10_variance"] == -np.inf).all()


def test_loss_without_classes_is_one_line():
    with pytest.raises(UserError, match="needs a data set with classes"):
        probe(networks(), inputs(), cotangent="loss")


@pytest.mark.parametrize("activation", HOMOGENEOUS)
@pytest.mark.parametrize("model", ["aol", "sll", "orthogonal", "spectral"])
def test_the_inner_product_of_signal_and_cotangent_is_conserved(model, activation):
    # Euler: <delta_l, z_l> is the same at every layer, input by input, where all is homogeneous.
    if model == "sll" and not ACTIVATIONS.fact(activation, "slope_restricted"):
        pytest.skip("not sound inside a residual layer")
    (network,) = networks(
        model=model, activation=activation, depth=200, width=32, input_shape=(32,)
    )
    steps = [make_step([hidden.layer], gradients=True) for hidden in network.hidden_layers()]
    phi = next(network.hidden_layers()).activation
    signal, signals = Plain.of(inputs(7, 32)[None]), []
    for number, step in enumerate(steps):
        signal = step.up(signal.activated(phi) if number else signal)[0].measured()
        signals.append(signal)
    down = Cotangent.of(gaussian_cotangent((7, 32))[None])
    logarithms = []
    for step, here, below in zip(steps[:0:-1], signals[:0:-1], signals[-2::-1], strict=True):
        logarithms.append(log2_of_inner_products(down, here))
        down, _ = step.down(down, phi(below.mantissa), below.exponent)
        down = down.pulled_back(phi, below.mantissa, below.exponent).measured()[0]
    logarithms.append(log2_of_inner_products(down, signals[0]))
    alive = np.isfinite(logarithms[0])  # a narrow relu network may kill an input altogether
    assert alive.any()
    # 200 layers at scales down to 1e-230, each adding a few roundings of |delta| |z|
    np.testing.assert_allclose(
        np.array(logarithms)[:, alive], np.array(logarithms[:1])[:, alive].repeat(200, 0), atol=1e-8
    )


def log2_of_inner_products(down: Cotangent, signal: Plain) -> np.ndarray:
    """log2 |<delta, z>| of each input; -inf for an input whose signal has died."""
    inner = (down.full() * signal.full()).sum(-1).abs()[0].numpy()
    with np.errstate(divide="ignore"):
        return np.log2(inner) + down.exponent + signal.exponent


@pytest.mark.parametrize("bias", ["zero", "corrected"])
@pytest.mark.parametrize("model", ["aol", "sll"])
def test_segments_that_are_computed_twice_give_the_same_bits(model, bias):
    several = networks(3, model=model, bias=bias, depth=17)
    x = inputs()
    whole = probe(several, x, generators=generators(3)).columns
    pieces = probe(several, x, generators=generators(3), kept_bytes=0).columns
    for column, values in whole.items():
        np.testing.assert_array_equal(values, pieces[column], err_msg=column)


def test_replicates_together_are_the_replicates_alone():
    together = probe(networks(3, depth=9), inputs(), generators=generators(3)).columns
    for replicate, network in enumerate(networks(3, depth=9)):
        alone = probe([network], inputs(), generators=[stream(0, "cotangent", replicate)]).columns
        for column, values in alone.items():
            np.testing.assert_allclose(values[:, 0], together[column][:, replicate], atol=1e-11)


def test_a_deeper_network_starts_with_the_same_layers():
    shallow = probe(networks(depth=3), inputs(), generators=generators()).columns
    deep = probe(networks(depth=12), inputs(), generators=generators()).columns
    np.testing.assert_array_equal(
        shallow["log10_second_moment"][:4], deep["log10_second_moment"][:4]
    )


@pytest.mark.parametrize("bias", ["zero", "normal"])
@pytest.mark.parametrize("exponent", [-150, -40, 40, 150])
def test_the_scale_of_the_free_weight_moves_its_gradient_alone(exponent, bias):
    (network,), (scaled,) = networks(bias=bias), networks(bias=bias)
    for hidden in scaled.hidden_layers():
        with torch.no_grad():
            hidden.layer.weight *= 10.0**exponent
    first = probe([network], inputs(), generators=generators()).columns
    second = probe([scaled], inputs(), generators=generators()).columns
    for column, values in first.items():
        shift = -2 * exponent if column == "log10_weight_gradient_second_moment" else 0
        np.testing.assert_allclose(second[column], values + shift, atol=1e-9, err_msg=column)


def slope(values):
    return np.polyfit(np.arange(2, len(values)), values[2:].mean(axis=1), 1)[0]


def test_depth_3000_is_a_finite_straight_line():
    # Typical rate at width 16: law -c/(2 d ln 10); 3,000 layers x 2 networks: standard error
    # sqrt(5/16)/ln(10)/sqrt(6000) = 0.0031.
    from lipexp.theory import decay_per_layer

    found = probe(
        networks(2, depth=3000, width=16, input_shape=(16,)),
        inputs(50, 16),
        generators=generators(2),
    ).columns
    typical = decay_per_layer("aol", "normal", "relu", fan_in=16, fan_out=16, typical=True)
    for column, sign in (("log10_second_moment", 1), ("log10_gradient_second_moment", -1)):
        assert np.isfinite(found[column]).all()
        assert sign * slope(found[column]) == pytest.approx(typical, abs=5 * 0.0031)
    assert found["log10_second_moment"][-1].max() < -2000


def test_under_a_bias_the_variance_over_inputs_keeps_falling_at_the_typical_rate():
    # 600 layers x 2 networks at width 16: standard error sqrt(5/16)/ln(10)/sqrt(1200) = 0.007.
    from lipexp.theory import decay_per_layer

    plan = {"depth": 600, "width": 16, "input_shape": (16,)}
    typical = decay_per_layer("aol", "normal", "relu", fan_in=16, fan_out=16, typical=True)
    for bias in ("default", "normal", "corrected"):
        found = probe(networks(2, bias=bias, **plan), inputs(50, 16), generators=generators(2))
        variance = found.columns["log10_variance"]
        assert variance[-1].max() < -300
        assert slope(variance) == pytest.approx(typical, abs=5 * 0.007)
        assert abs(slope(found.columns["log10_second_moment"])) < 0.01


def test_orthogonal_maxmin_keeps_second_moments_to_rounding():
    found = probe(
        networks(init="orthogonal", activation="maxmin", depth=300, width=16, input_shape=(16,)),
        inputs(50, 16),
        generators=generators(),
    ).columns
    for column in ("log10_second_moment", "log10_gradient_second_moment"):
        np.testing.assert_allclose(found[column], found[column][0, 0], atol=1e-11)


def test_ones_under_a_bias_lose_their_variance_over_inputs_exactly():
    # Once all inputs have one pattern of slopes, equal cotangents stay equal.
    found = probe(
        networks(bias="normal", depth=80, width=16, input_shape=(16,)),
        inputs(50, 16),
        cotangent="ones",
    ).columns
    assert found["log10_gradient_variance"][-20, 0] == -np.inf
    assert np.isfinite(found["log10_gradient_variance"][1, 0])


def test_variance_of_equal_cotangents_is_left_out_where_rounding_has_taken_it():
    found = probe(
        networks(bias="normal", activation="tanh", depth=60, width=16, input_shape=(16,)),
        inputs(50, 16),
        cotangent="ones",
    ).columns["log10_gradient_variance"]
    assert np.isnan(found[40:60]).all()
    assert found[60, 0] == -np.inf
    assert np.isfinite(found[0, 0])


def test_second_moment_of_every_replicate_and_layer_is_reported_with_its_weights():
    nets = networks(2, depth=4)
    statistics = probe(nets, inputs(), generators=generators(2), histograms=[1, 4])
    assert statistics.paths == ["input", *(f"body.layer{k}" for k in range(1, 5))]
    assert [h.layer for h in statistics.histograms] == [1, 4]
    assert statistics.histograms[0].counts.sum() == 2 * 7 * 6
    norms = statistics.columns["operator_norm"]
    for replicate, network in enumerate(nets):
        for hidden in network.hidden_layers():
            weight = hidden.layer.effective_weight().detach()
            exact = float(torch.linalg.svdvals(weight)[0])
            assert norms[hidden.number, replicate] == pytest.approx(exact, rel=1e-13)
            mean_square = float(weight.square().mean().log10())
            column = statistics.columns["log10_weight_variance"]
            assert column[hidden.number, replicate] == pytest.approx(mean_square, abs=1e-12)


@pytest.mark.parametrize("init", sorted(INITS))
@pytest.mark.parametrize(("features", "width"), [(6, 6), (4, 6), (9, 6)])
@pytest.mark.parametrize("model", sorted(LAYERS))
def test_every_model_takes_inputs_narrower_and_wider_than_its_width(model, features, width, init):
    (network,) = networks(model=model, width=width, input_shape=(features,), init=init, classes=3)
    found = probe([network], inputs(5, features), generators=generators()).columns
    assert np.isfinite(found["log10_second_moment"]).all()
    assert network(inputs(5, features)).shape == (5, 3)
    if model != "linear":
        assert (found["log10_second_moment"][1:] <= found["log10_second_moment"][0] + 1).all()


def test_float32_probe_agrees_with_float64_to_its_precision():
    plan = Blueprint(model="aol", depth=40, width=16, input_shape=(16,))
    x = inputs(50, 16)
    double = probe([mlp(plan, seed=0)], x, generators=generators()).columns
    single = probe(
        [mlp(plan, seed=0, dtype=torch.float32)], x.float(), generators=generators()
    ).columns
    for column, values in double.items():
        np.testing.assert_allclose(single[column], values, atol=1e-3, err_msg=column)
