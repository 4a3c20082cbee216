"""Decay per layer: the known tables, simulation of one layer, and None wherever no law is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.inits import INITS
from lipexp.theory import carrying, decay_per_layer, gaussian_weight_variance
from lipexp.theory.typical import mask_spread
from tests.theory.small_networks import activate, aol, haar, mean_and_error

GAUSSIAN = ["normal", "kaiming_normal", "xavier_normal"]


def square(model, init, activation, width, **options):
    return decay_per_layer(model, init, activation, fan_in=width, fan_out=width, **options)


@pytest.mark.parametrize("init", GAUSSIAN)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("rows", [False, True, "auto"])
def test_square_aol_has_one_law_for_every_gaussian_init_both_ways(init, backward, rows):
    rate = square("aol", init, "relu", 64, backward=backward, rows=rows)
    assert rate == pytest.approx(-1.162280, abs=6e-7)


@pytest.mark.parametrize(
    ("init", "init_keys", "d", "n", "matrices", "off"),
    [
        ("gnd", None, 24, 24, 1500, 0.003),
        ("gnd", {"alpha": 7.0, "beta": 0.5}, 64, 64, 300, 0.001),
        ("gnd", {"beta": 0.2}, 64, 64, 300, 0.006),
        ("gnd", {"beta": 0.2}, 48, 48, 600, 0.01),
        ("gnd", {"beta": 0.25}, 16, 16, 4000, 0.01),
        ("laplace", None, 16, 64, 2000, 0.001),
        ("kaiming_uniform", None, 16, 16, 3000, 0.001),
    ],
)
def test_aol_of_other_shapes_has_the_mean_square_of_their_own(init, init_keys, d, n, matrices, off):
    rng = np.random.default_rng(0)
    weights = (INITS[init]((d, n), rng, **(init_keys or {})) for _ in range(matrices))
    mean, error = mean_and_error([np.mean(aol(weight) ** 2) for weight in weights])
    sizes = {"fan_in": n, "fan_out": d}
    law = 10 ** decay_per_layer("aol", init, "identity", init_keys=init_keys, **sizes) / n
    tolerance = 4 * error / mean + off
    assert abs(law / mean - 1) < tolerance
    assert abs(gaussian_weight_variance(**sizes) / mean - 1) > tolerance  # it would not do


def test_shapes_that_are_not_gaussian_have_a_typical_rate_where_the_expansion_holds():
    for init, least in (("normal", 8), ("laplace", 16), ("uniform", 16), ("gnd", 64)):
        assert square("aol", init, "relu", least, typical=True) is not None
        assert square("aol", init, "relu", least - 1, typical=True) is None
    heavy = {"init_keys": {"beta": 0.4}, "typical": True}
    assert square("aol", "gnd", "relu", 256, **heavy) is None


def test_tails_too_heavy_for_the_correction_have_no_law():
    for beta, width in ((0.1, 64), (0.1, 1024), (0.2, 16), (0.2, 47), (0.24, 32), (0.4, 15)):
        assert square("aol", "gnd", "relu", width, init_keys={"beta": beta}) is None
    for beta, width in ((0.2, 48), (0.25, 16), (0.5, 1)):
        assert square("aol", "gnd", "relu", width, init_keys={"beta": beta}) is not None
    q = {"q": "normal", "init_keys": {"beta": 0.4}}
    assert square("sll_feedforward", "gnd", "relu", 64, **q) is None
    assert square("aol", "gnd", "relu", 64, kernel_size=3, init_keys={"beta": 0.4}) is None


@pytest.mark.parametrize(
    ("model", "init", "activation", "rates", "tolerance"),
    [
        ("aol", "normal", "relu", {32: -1.063583, 64: -1.179222, 256: -1.442119}, 1e-6),
        ("aol", "normal", "relu", {1024: -1.725342, 8192: -2.165702}, 1e-6),
        ("aol", "normal", "leaky_relu", {64: -1.1792, 256: -1.4421, 1024: -1.7253}, 1e-4),
        ("aol", "normal", "maxmin", {64: -0.8680, 256: -1.1385, 1024: -1.4237}, 2.5e-4),
        ("aol", "normal", "abs", {64: -0.8680, 256: -1.1385, 1024: -1.4237}, 2.5e-4),
        ("aol", "normal", "tanh", {64: -0.8680, 256: -1.1385, 1024: -1.4237}, 2.5e-4),
        ("aol", "orthogonal", "leaky_relu", {64: -0.3116, 256: -0.3036, 1024: -0.3017}, 1e-4),
        ("aol", "orthogonal", "maxmin", {64: 0.0, 256: 0.0}, 1e-14),
        ("linear", "kaiming_normal", "relu", {64: -0.01741894315, 256: -0.004268532526}, 1e-11),
        ("linear", "kaiming_normal", "relu", {32: -0.03584675691, 1024: -0.001061985353}, 1e-11),
        ("linear", "kaiming_normal", "maxmin", {64: 0.2943, 256: 0.2993, 1024: 0.3006}, 1e-4),
    ],
)
def test_typical_rates_of_square_layers_are_the_known_ones(
    model, init, activation, rates, tolerance
):
    for width, rate in rates.items():
        for backward in (False, True):
            ours = square(model, init, activation, width, typical=True, backward=backward)
            assert ours == pytest.approx(rate, abs=tolerance)


@pytest.mark.parametrize("model", ["aol", "orthogonal", "spectral", "linear", "sll_feedforward"])
@pytest.mark.parametrize(
    ("width", "rate"),
    [(32, -0.3231637332), (64, -0.3116277480), (256, -0.3035998564), (1024, -0.3016677273)],
)
def test_haar_weights_with_relu_lose_half_and_a_little_more(model, width, rate):
    assert square(model, "orthogonal", "relu", width) == pytest.approx(math.log10(0.5), abs=1e-14)
    ours = square(model, "orthogonal", "relu", width, typical=True)
    assert ours == pytest.approx(rate, abs=6e-11)


@pytest.mark.parametrize(
    ("activation", "width", "law", "typical", "error"),
    [
        ("relu", 64, -1.21052, -1.24066, 0.0011),
        ("relu", 256, -1.47257, -1.48106, 0.0028),
        ("maxmin", 64, -0.90949, -0.92137, 0.0006),
    ],
)
def test_random_q_has_the_known_law_and_the_measured_typical_rate(
    activation, width, law, typical, error
):
    options = {"q": "normal"}
    ours = square("sll_feedforward", "normal", activation, width, **options)
    assert ours == pytest.approx(law, abs=6e-6)
    ours = square("sll_feedforward", "normal", activation, width, typical=True, **options)
    assert abs(ours - typical) < 3 * error
    plain = square("sll_feedforward", "normal", activation, width)
    assert plain == square("aol", "kaiming_normal", activation, width)


@pytest.mark.parametrize(
    ("d", "n", "activation", "rows", "q", "matrices", "off"),
    [
        (16, 16, "relu", False, "normal", 3000, 0.006),
        (16, 16, "relu", True, "normal", 6000, 0.004),
        (32, 32, "relu", True, "normal", 3000, 0.001),
        (16, 48, "relu", False, "normal", 1500, 0.003),
        (48, 16, "maxmin", True, "normal", 1500, 0.003),
        (8, 8, "relu", True, "one", 8000, 0.007),
        (12, 12, "relu", True, "one", 6000, 0.003),
        (8, 16, "maxmin", True, "one", 6000, 0.001),
    ],
)
def test_typical_rates_know_random_q_and_rows(d, n, activation, rows, q, matrices, off):
    """Behind a layer of the same kind: with rows rescaled its outputs are not alike in size."""
    rng = np.random.default_rng([d, n])

    def drawn(outputs):
        for _ in range(matrices):
            v = rng.standard_normal((outputs, n))
            weights = np.exp(rng.standard_normal(outputs if rows else n)) if q == "normal" else None
            yield aol(v.T, weights).T if rows else aol(v, weights)

    z = rng.standard_normal((matrices, 10, n)) @ np.array([*drawn(n)]).transpose(0, 2, 1)
    options = {"fan_in": n, "fan_out": d, "rows": rows, "q": q, "typical": True}
    for backward, sample in enumerate(gains(rng, np.array([*drawn(d)]), activation, 0.0, z)):
        # a relu mask that passes nothing is the end of a signal and is left out, as in the law
        logs = np.log10(sample, where=sample > 0, out=np.full(sample.shape, np.nan))
        mean, error = mean_and_error(np.nanmean(logs, axis=1))
        rate = decay_per_layer(
            "sll_feedforward", "normal", activation, backward=bool(backward), **options
        )
        assert error < 3e-3
        assert abs(mean - rate) < 4 * error + off


@given(n=st.integers(1, 2000), d=st.integers(1, 2000), rows=st.sampled_from([False, True, "auto"]))
@settings(deadline=None, max_examples=40)
def test_backward_differs_from_forward_by_the_taper_alone(n, d, rows):
    rates = [
        decay_per_layer("aol", "normal", "relu", fan_in=n, fan_out=d, rows=rows, backward=way)
        for way in (False, True)
    ]
    assert rates[0] - rates[1] == pytest.approx(math.log10(n / d), abs=1e-12)
    assert rates[0] <= math.log10(min(1, n / d) / 2) + 1e-12  # the bound for any matrix


def test_rows_swap_the_arguments_and_auto_takes_them_where_a_layer_narrows():
    for n, d in [(64, 784), (784, 64)]:
        by_rows = decay_per_layer("aol", "normal", "abs", fan_in=n, fan_out=d, rows=True)
        q = gaussian_weight_variance(fan_in=d, fan_out=n)
        assert by_rows == pytest.approx(math.log10(n * q), abs=1e-14)
        auto = decay_per_layer("aol", "normal", "abs", fan_in=n, fan_out=d, rows="auto")
        assert (auto == by_rows) is (d < n)
    lossless = decay_per_layer("aol", "orthogonal", "abs", fan_in=784, fan_out=64, rows=True)
    assert lossless == pytest.approx(0, abs=1e-14)


def gains(rng, weights, activation, slope, z):
    """One layer's gains of signals z (matrices, inputs, n), forward and backward.

    The cotangent has passed the mask behind the layer, as it has everywhere but at the end.
    """

    def slopes(of):
        below = {"relu": 0, "leaky_relu": slope}.get(activation, 1)
        return np.where(of > 0, 1, below)

    out = activate(activation, z, slope) @ weights.transpose(0, 2, 1)
    cotangent = rng.standard_normal(out.shape) * slopes(out)
    back = (cotangent @ weights) * slopes(z)

    def gain(after, before):
        energy = (before**2).mean(2)  # 0 where a mask passed nothing
        return np.divide((after**2).mean(2), energy, out=0 * energy, where=energy > 0)

    return gain(out, z), gain(back, cotangent)


@pytest.mark.parametrize(
    ("model", "init", "activation", "d", "n", "matrices"),
    [
        ("aol", "normal", "relu", 16, 16, 6000),
        ("aol", "normal", "leaky_relu", 16, 48, 3000),
        ("aol", "normal", "maxmin", 16, 16, 6000),
        ("aol", "normal", "identity", 48, 16, 3000),
        ("aol", "orthogonal", "relu", 16, 24, 2000),
        ("orthogonal", "normal", "relu", 16, 24, 2000),
        ("orthogonal", "normal", "leaky_relu", 24, 16, 2000),
        ("linear", "kaiming_normal", "leaky_relu", 20, 16, 4000),
    ],
)
def test_one_layer_shows_the_law_in_its_mean_and_the_typical_rate_in_its_logarithm(
    model, init, activation, d, n, matrices
):
    rng = np.random.default_rng(d * n)
    slope = 0.3
    if model == "linear":
        weights = rng.standard_normal((matrices, d, n)) * math.sqrt(2 / n)
    elif init == "orthogonal" or model == "orthogonal":
        weights = np.array([haar(rng, d, n) for _ in range(matrices)])
    else:
        weights = rng.standard_normal((matrices, d, n))
    if model == "aol":
        weights = np.array([aol(v) for v in weights])
    z = rng.standard_normal((matrices, 10, n))
    for backward, sample in enumerate(gains(rng, weights, activation, slope, z)):
        options = {"fan_in": n, "fan_out": d, "backward": bool(backward), "slope": slope}
        mean, error = mean_and_error(sample.mean(1))
        law = 10 ** decay_per_layer(model, init, activation, **options)
        assert error < 0.01 * law
        assert abs(mean - law) < 5 * error + 1e-4 * law
        mean, error = mean_and_error(np.log10(sample).mean(1))
        typical = decay_per_layer(model, init, activation, typical=True, **options)
        assert error < 2e-3
        # The rescaled spreads are second-order expansions: 0.002 at these widths.
        assert abs(mean - typical) < 5 * error + 2e-3 * (model == "aol")


@pytest.mark.parametrize("slope", [0.5, -0.2, 0.01])
def test_the_mask_of_a_leaky_activation_spreads_as_simulated(slope):
    rng = np.random.default_rng(3)
    z = rng.standard_normal((200_000, 12))
    shares = np.log((np.where(z > 0, z, slope * z) ** 2).sum(1) / (z**2).sum(1))
    mean, error = mean_and_error(shares - math.log((1 + slope**2) / 2))  # error 2e-4 to 1e-3
    assert abs(mask_spread(12, slope) - mean) < 5 * error


@pytest.mark.parametrize("units", [20, 64, 1024])
def test_the_two_forms_of_the_mask_meet_at_slope_zero(units):
    # At slope 1e-3 the lost "no unit is active" case weighs 2^-units * ln 10^6.
    assert mask_spread(units, 1e-3) == pytest.approx(mask_spread(units, 0.0), abs=2e-5)
    assert mask_spread(units, 1.0) == mask_spread(units, -1.0) == 0
    assert mask_spread(units, 1 - 1e-9) == pytest.approx(0, abs=1e-9)


def test_a_rescaled_layer_of_a_few_units_has_no_typical_rate():
    assert square("aol", "normal", "relu", 7, typical=True) is None
    assert square("aol", "normal", "relu", 8, typical=True) == pytest.approx(-0.916, abs=0.01)


def test_linear_layers_take_the_variance_of_their_init():
    assert square("linear", "normal", "relu", 64) == pytest.approx(math.log10(64 / 2))
    gnd = square("linear", "gnd", "relu", 64, init_keys={"alpha": 0.5, "beta": 2.0})
    assert gnd == pytest.approx(math.log10(64 / 2 * 0.5**2 / 2))
    assert square("linear", "gnd", "relu", 64) == pytest.approx(math.log10(64 / 2 * 120))
    for alpha in (1e-200, 1e200):  # the square under- and overflows
        assert square("linear", "gnd", "relu", 64, init_keys={"alpha": alpha}) is None
    assert square("linear", "xavier_uniform", "abs", 64) == pytest.approx(0)
    rate = decay_per_layer("linear", "xavier_normal", "identity", fan_in=10, fan_out=30)
    assert rate == pytest.approx(math.log10(10 * 2 / 40))


@pytest.mark.parametrize("init", ["uniform", "laplace", "kaiming_uniform", "xavier_uniform"])
@pytest.mark.parametrize("backward", [False, True])
def test_linear_layers_that_are_not_gaussian_have_no_typical_rate(init, backward):
    assert square("linear", init, "relu", 16, backward=backward) is not None
    assert square("linear", init, "relu", 16, backward=backward, typical=True) is None


@pytest.mark.parametrize("model", ["aol", "sll_feedforward", "orthogonal", "spectral", "linear"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs", "maxmin", "identity"])
def test_identity_layers_keep_what_the_first_activation_left(model, activation):
    for typical in (False, True):
        assert square(model, "identity", activation, 64, typical=typical) == 0


@pytest.mark.parametrize(
    ("model", "init", "activation", "options"),
    [
        ("spectral", "gnd", "relu", {}),
        ("spectral", "laplace", "relu", {}),
        ("spectral", "normal", "relu", {"fan_out": 7}),
        ("aol", "orthogonal", "tanh", {}),  # a signal that is kept is not small
        ("aol", "identity", "tanh", {}),
        ("linear", "kaiming_normal", "tanh", {}),
        ("aol", "identity", "relu", {"fan_out": 32}),
        ("aol", "identity", "relu", {"fan_out": 128}),
        ("aol", "identity", "leaky_relu", {"slope": -0.5}),
        ("aol", "identity", "leaky_relu", {"slope": 2.0}),
        ("sll_feedforward", "orthogonal", "relu", {"fan_out": 32, "q": "normal"}),
        ("sll_feedforward", "normal", "relu", {"q": "trained"}),
        ("aol_k", "normal", "relu", {}),
        ("somebody's", "normal", "relu", {}),
        ("aol", "somebody's", "relu", {}),
        ("aol", "normal", "somebody's", {}),
    ],
)
def test_what_has_no_law_has_none(model, init, activation, options):
    sizes = {"fan_in": 64, "fan_out": 64} | options
    for backward in (False, True):
        assert decay_per_layer(model, init, activation, **sizes, backward=backward) is None


def test_sizes_and_rows_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="fan_in"):
        decay_per_layer("somebody's", "normal", "relu", fan_in=0, fan_out=2)
    with pytest.raises(ValueError, match=r'rows must be True, False or "auto"'):
        decay_per_layer("aol", "normal", "relu", fan_in=2, fan_out=2, rows="columns")


def test_choices_that_carry_a_signal_start_with_the_activation_asked_for():
    assert carrying("aol", "maxmin", width=64)[:2] == [
        ("orthogonal", "maxmin"),
        ("identity", "maxmin"),
    ]
    assert carrying("aol", "relu", width=64)[0] == ("identity", "relu")
    assert ("orthogonal", "relu") not in carrying("aol", "relu", width=64)
    assert carrying("sll", "relu", width=256)[:2] == [("orthogonal", "relu"), ("identity", "relu")]
    assert carrying("somebody's", "relu", width=64) == []
    assert ("kaiming_normal", "relu") in carrying("linear", "relu", width=256)
    assert ("kaiming_normal", "maxmin") not in carrying("linear", "relu", width=256)  # it explodes


@pytest.mark.parametrize("model", ["aol", "sll", "sll_feedforward", "orthogonal", "linear"])
def test_every_choice_that_is_offered_carries(model):
    for init, activation in carrying(model, "relu", width=64):
        rate = square(model, init, activation, 64, typical=True)
        assert abs(rate) < 0.01
