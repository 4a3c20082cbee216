"""Whole-network profiles: against decay_per_layer, closed plateaus and simulated networks."""

import math
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest

from lipexp.theory import bias_variance, decay_per_layer, gaussian_weight_variance, profile
from tests.theory.small_networks import feedforward, mean_and_error

COLUMNS = [f.name for f in fields(profile("aol", "normal", "relu", (2, 2))) if f.name != "law"]
LAWFUL = [
    ("aol", "normal", "relu"),
    ("aol", "gnd", "maxmin"),
    ("aol", "orthogonal", "leaky_relu"),
    ("aol", "normal", "tanh"),
    ("sll_feedforward", "laplace", "abs"),
    ("orthogonal", "normal", "relu"),
    ("linear", "kaiming_normal", "relu"),
    ("sll", "normal", "relu"),
    ("sll", "identity", "leaky_relu"),
    ("aol", "identity", "maxmin"),
    ("spectral", "orthogonal", "relu"),
]


@pytest.mark.parametrize(("model", "init", "activation"), LAWFUL)
def test_profiles_of_square_networks_have_the_slopes_of_decay_per_layer(model, init, activation):
    law = profile(model, init, activation, [64] * 41)
    for typical, forward, backward in [
        (False, law.log10_second_moment, law.log10_gradient_second_moment),
        (True, law.typical_log10_second_moment, law.typical_log10_gradient_second_moment),
    ]:
        sizes = {"fan_in": 64, "fan_out": 64, "typical": typical}
        rate = decay_per_layer(model, init, activation, **sizes)
        np.testing.assert_allclose(np.diff(forward)[1:], rate, atol=1e-12)
        rate = decay_per_layer(model, init, activation, backward=True, **sizes)
        np.testing.assert_allclose(np.diff(backward)[1:], -rate, atol=1e-12)


def test_the_first_layer_meets_no_activation_and_a_batch_averages_its_spread_out():
    law = profile("aol", "normal", "relu", [64] * 4, input_second_moment=4.0)
    first = math.log10(4 * 64 * gaussian_weight_variance(fan_in=64, fan_out=64))
    assert law.log10_second_moment[0] == pytest.approx(math.log10(4))
    assert law.log10_second_moment[1] == pytest.approx(first)
    assert law.typical_log10_second_moment[1] == pytest.approx(first)
    rate = decay_per_layer("aol", "normal", "relu", fan_in=64, fan_out=64)
    step = np.diff(law.log10_gradient_second_moment)
    np.testing.assert_allclose(-step, [rate + math.log10(2), rate, rate], atol=1e-12)
    assert law.log10_gradient_second_moment[3] == 0


@pytest.mark.parametrize("bias", ["zero", "corrected", "normal", "default"])
@pytest.mark.parametrize(("model", "init", "activation"), LAWFUL[:2])
def test_ten_thousand_layers_take_less_than_50_ms_and_nothing_underflows(
    model, init, activation, bias
):
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        law = profile(model, init, activation, [64] * 10_001, bias=bias)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05
    gradient = decay_per_layer(model, init, activation, fan_in=64, fan_out=64)
    assert law.log10_gradient_second_moment[1] == pytest.approx(9_999 * gradient, rel=1e-12)
    for name in COLUMNS:
        column = getattr(law, name)
        assert column.shape == (10_001,)
        assert column.dtype == np.float64
        if "input" not in name or bias != "zero":
            assert np.isfinite(column[1:]).all(), name
    if bias != "zero":
        expected = law.log10_input_variance[1] + 9_999 * gradient
        assert law.log10_input_variance[-1] == pytest.approx(expected, rel=1e-12)


# Model, init, activation, rows, bias; widths 12, 20, 8, 16, 16.
SIMULATED = [
    ("aol", "normal", "relu", False, "zero"),
    ("aol", "normal", "relu", "auto", "zero"),
    ("aol", "normal", "leaky_relu", True, "zero"),
    ("aol", "normal", "maxmin", False, "zero"),
    ("aol", "orthogonal", "relu", False, "zero"),
    ("aol", "orthogonal", "abs", "auto", "zero"),
    ("orthogonal", "orthogonal", "relu", False, "zero"),
    ("linear", "kaiming_normal", "relu", False, "zero"),
    ("aol", "normal", "relu", False, "corrected"),
    ("aol", "normal", "relu", True, "corrected"),
    ("aol", "normal", "maxmin", False, "default"),
    ("aol", "orthogonal", "relu", "auto", "normal"),
]


@pytest.mark.parametrize(("model", "init", "activation", "rows", "bias"), SIMULATED)
def test_simulated_tapering_networks_follow_the_law_at_every_layer(
    model, init, activation, rows, bias
):
    rng = np.random.default_rng(1216)
    widths = (12, 20, 8, 16, 16)

    def deviation(n, d):
        by_rows = d < n if rows == "auto" else rows
        return math.sqrt(bias_variance(bias, fan_in=n, fan_out=d, rows=by_rows))

    nets = [
        feedforward(
            rng, model, init, activation, widths, inputs=4, rows=rows, bias=deviation, slope=0.2
        )
        for _ in range(2000)
    ]
    mean, error = mean_and_error(nets)  # 1 to 3 % of the mean
    law = profile(model, init, activation, widths, rows=rows, bias=bias, slope=0.2)
    for row, column in enumerate((law.log10_second_moment, law.log10_gradient_second_moment)):
        expected = 10**column
        assert np.all(error[row] < 0.04 * expected)
        assert np.all(np.abs(mean[row] - expected) < 5 * error[row] + 1e-3 * expected)


@pytest.mark.parametrize("bias", ["corrected", "normal", "default"])
def test_under_a_bias_small_deviations_lose_what_a_signal_without_bias_loses(bias):
    rng = np.random.default_rng(7)
    widths = [24] * 5

    def deviation(n, d):
        return math.sqrt(bias_variance(bias, fan_in=n, fan_out=d))

    nets = [
        feedforward(rng, "aol", "normal", "relu", widths, inputs=4, bias=deviation, apart=1e-6)[2]
        for _ in range(2000)
    ]
    nets = np.array(nets) / np.array(nets)[:, :1]
    mean, error = mean_and_error(nets)  # 1 to 2 % of the mean
    law = profile("aol", "normal", "relu", widths, bias=bias)
    expected = 10**law.log10_input_variance
    assert np.all(np.abs(mean - expected) <= 5 * error)
    assert np.all(error < 0.03 * expected)
    zero = profile("aol", "normal", "relu", widths)
    np.testing.assert_allclose(law.log10_input_variance, zero.log10_second_moment, atol=1e-12)


@pytest.mark.parametrize(
    ("init", "activation", "bias", "known"),
    [
        ("normal", "relu", "normal", True),
        ("normal", "relu", "zero", False),  # directions become parallel first
        ("normal", "identity", "zero", True),
        ("orthogonal", "relu", "normal", True),
        ("orthogonal", "abs", "normal", False),  # differences never become small
        ("orthogonal", "identity", "normal", True),
        ("identity", "maxmin", "zero", False),
    ],
)
def test_input_variance_has_a_law_where_layers_are_linear_or_shrink_it_under_a_bias(
    init, activation, bias, known
):
    law = profile("aol", init, activation, [16] * 4, bias=bias)
    for column in (law.log10_input_variance, law.typical_log10_input_variance):
        assert np.isfinite(column[:2]).all()  # layer 1 is linear in its input, always
        assert np.isfinite(column[2:]).all() == known


def test_biases_end_in_their_closed_plateaus():
    gain = 32 * gaussian_weight_variance(fan_in=64, fan_out=64)
    for mode, variance, log10_plateau in [
        ("default", 1 / 192, math.log10(0.0055933)),
        ("normal", 1.0, math.log10(1.0739)),
        ("corrected", 1 - gain, 0.0),
    ]:
        assert bias_variance(mode, fan_in=64, fan_out=64) == pytest.approx(variance)
        end = profile("aol", "xavier_normal", "relu", [64] * 101, bias=mode).log10_second_moment[-1]
        assert end == pytest.approx(math.log10(variance / (1 - gain)), abs=1e-11)
        assert end == pytest.approx(log10_plateau, abs=2e-5)
    wide = profile("aol", "normal", "relu", [8192] * 11, bias="normal").log10_second_moment[-1]
    assert 10**wide == pytest.approx(1.00688, abs=6e-6)


def test_a_bias_leaves_the_gradient_alone():
    free, biased = (
        profile("aol", "normal", "relu", [32, 16, 24], bias=b) for b in ("none", "normal")
    )
    np.testing.assert_array_equal(
        free.log10_gradient_second_moment, biased.log10_gradient_second_moment
    )


def test_modes_of_bias_know_rows_and_refuse_what_they_are_not():
    q = gaussian_weight_variance(fan_in=10, fan_out=40)
    assert bias_variance("corrected", fan_in=40, fan_out=10, rows=True) == 1 - 20 * q
    assert bias_variance("zero", fan_in=4, fan_out=4) == 0
    assert bias_variance("none", fan_in=4, fan_out=4) == 0
    with pytest.raises(ValueError, match="zero, default, normal, corrected, none"):
        bias_variance("ones", fan_in=4, fan_out=4)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs", "maxmin", "identity"])
def test_identity_layers_follow_their_iterated_activation(activation):
    rng = np.random.default_rng(9)
    mean = feedforward(rng, "aol", "identity", activation, [64] * 6, inputs=4000, slope=0.5)
    law = profile("aol", "identity", activation, [64] * 6, slope=0.5)
    # 256,000 Gaussian entries: 0.3 % on a mean square, 5 standard errors 0.008 in log10.
    np.testing.assert_allclose(np.log10(mean[0]), law.log10_second_moment, atol=0.008)
    np.testing.assert_allclose(np.log10(mean[1]), law.log10_gradient_second_moment, atol=0.008)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "abs", "maxmin", "identity"])
def test_a_loss_meets_the_mask_of_identity_layers_before_it_enters(activation):
    rng = np.random.default_rng(10)
    options = {"slope": 0.5}
    mean = feedforward(
        rng, "aol", "identity", activation, [64] * 6, inputs=4000, masked=True, **options
    )
    law = profile("aol", "identity", activation, [64] * 6, cotangent="loss", **options)
    # 256,000 Gaussian entries: 0.3 % on a mean square, 5 standard errors 0.008 in log10.
    np.testing.assert_allclose(np.log10(mean[1]), law.log10_gradient_second_moment, atol=0.008)
    assert law.log10_gradient_second_moment[-1] == 0
    np.testing.assert_array_equal(
        law.typical_log10_gradient_second_moment, law.log10_gradient_second_moment
    )


def test_a_loss_loses_nothing_in_identity_relu_layers_and_leaky_ones_start_one_mask_later():
    relu = profile("aol", "identity", "relu", [8] * 5, cotangent="loss")
    np.testing.assert_array_equal(relu.log10_gradient_second_moment, 0)
    leaky = profile("aol", "identity", "leaky_relu", [8] * 4, cotangent="loss", slope=0.5)
    kept = [(1 + 0.5 ** (2 * (k + 1))) / (1 + 0.5**2) for k in (2, 2, 1, 0)]
    np.testing.assert_allclose(10**leaky.log10_gradient_second_moment, kept)
    plain = profile("aol", "identity", "leaky_relu", [8] * 4, slope=0.5)
    np.testing.assert_array_equal(leaky.log10_second_moment, plain.log10_second_moment)


@pytest.mark.parametrize(("model", "init", "activation"), LAWFUL[:9])
def test_other_weights_do_not_see_where_the_cotangent_comes_from(model, init, activation):
    gaussian, *others = (
        profile(model, init, activation, [16] * 4, cotangent=name)
        for name in ("gaussian", "ones", "loss")
    )
    for law in others:
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(law, name), getattr(gaussian, name))


@pytest.mark.parametrize("init", ["kaiming_uniform", "laplace", "gnd"])
def test_linear_layers_that_are_not_gaussian_have_a_law_but_no_typical_profile(init):
    law = profile("linear", init, "relu", [16] * 4)
    assert np.isfinite(law.log10_second_moment).all()
    assert np.isfinite(law.log10_gradient_second_moment).all()
    assert np.isnan(law.typical_log10_second_moment[2:]).all()
    assert np.isnan(law.typical_log10_gradient_second_moment[:-1]).all()
    assert "no closed form for a typical network" in law.law


def test_an_identity_network_may_widen_at_its_first_layer_and_is_square_behind_it():
    law = profile("aol", "identity", "relu", (16, 64, 64, 64))
    expected = [0, math.log10(1 / 4), math.log10(1 / 8), math.log10(1 / 8)]
    np.testing.assert_allclose(law.log10_second_moment, expected)
    np.testing.assert_array_equal(law.log10_gradient_second_moment[:-1], np.nan)
    for widths in [(64, 16, 16), (16, 16, 64), (16, 64, 32)]:
        law = profile("aol", "identity", "relu", widths)
        np.testing.assert_array_equal(law.log10_second_moment[1:], np.nan)
        assert law.law.startswith("no law")


@pytest.mark.parametrize(("activation", "known"), [("maxmin", True), ("relu", False)])
def test_a_bias_on_identity_layers_has_a_law_where_norms_are_kept(activation, known):
    law = profile("aol", "identity", activation, [16] * 4, bias="normal").log10_second_moment
    if known:
        np.testing.assert_allclose(10**law, [1, 2, 3, 4])
    else:
        np.testing.assert_allclose(10**law, [1, np.nan, np.nan, np.nan])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("somebody's", "normal", "relu"), {}),
        (("aol", "somebody's", "relu"), {}),
        (("aol", "normal", "somebody's"), {}),
        (("aol", "normal", "tanh"), {"bias": "normal"}),
        (("aol", "orthogonal", "tanh"), {}),
        (("aol", "identity", "tanh"), {}),
        (("spectral", "gnd", "relu"), {}),
        (("linear", "gnd", "relu"), {"init_keys": {"alpha": 1e-200}}),
        (("aol", "gnd", "relu"), {"init_keys": {"beta": 0.1}}),
        (("sll", "normal", "relu"), {"bias": "default"}),
        (("sll", "normal", "relu"), {"between": "relu"}),
        (("sll", "identity", "leaky_relu"), {"between": "maxmin"}),
    ],
)
def test_without_a_law_there_is_nan_behind_the_input_and_a_line_that_says_so(arguments, options):
    law = profile(*arguments, [8] * 4, input_second_moment=10.0, **options)
    assert law.law.startswith(f"no law is known for model={arguments[0]}")
    for name in COLUMNS[:6]:
        column = getattr(law, name)
        at, value = (-1, 0.0) if "gradient" in name else (0, 1.0)
        assert column[at] == value
        rest = np.delete(column, at)
        assert np.isnan(rest).all(), name


def test_a_bias_of_somebody_elses_leaves_the_gradient_its_law():
    law = profile("aol", "normal", "relu", [8] * 4, bias="somebody's")
    assert np.isnan(law.log10_second_moment[1:]).all()
    assert np.isfinite(law.log10_gradient_second_moment).all()


def test_weights_have_a_law_where_the_network_has_none():
    law = profile("sll", "normal", "relu", [8] * 3, hidden=20, bias="normal")
    q = gaussian_weight_variance(fan_in=20, fan_out=8)
    np.testing.assert_allclose(law.log10_weight_variance, [np.nan, *[math.log10(q)] * 2])
    tanh = profile("aol", "orthogonal", "tanh", [8, 8, 16])
    np.testing.assert_allclose(10**tanh.log10_weight_variance, [np.nan, 1 / 8, 1 / 16])


def test_the_law_line_names_what_is_used():
    assert profile("aol", "normal", "relu", [8, 8]).law == "Gaussian law, in expectation"
    assert "init's shape" in profile("aol", "gnd", "relu", [8, 8]).law
    gnd = profile("sll_feedforward", "gnd", "relu", [8, 8], q="normal").law
    assert "any iid symmetric init" in gnd
    assert "5 % for gnd beta=0.5, more for heavier tails" in gnd
    assert "random q" in profile("sll_feedforward", "normal", "relu", [8, 8], q="normal").law
    assert "small signals" in profile("aol", "normal", "tanh", [8, 8]).law
    assert "symmetric about 0" in profile("aol", "identity", "relu", [8, 8]).law
    assert "Haar" in profile("aol", "orthogonal", "relu", [8, 8]).law


def test_an_input_of_zero_stays_zero_until_a_bias_comes():
    law = profile("aol", "normal", "relu", [8] * 3, input_second_moment=0.0)
    np.testing.assert_array_equal(law.log10_second_moment, -np.inf)
    law = profile("aol", "normal", "relu", [8] * 3, input_second_moment=0.0, bias="normal")
    assert law.log10_second_moment[1] == pytest.approx(0, abs=1e-12)
    law = profile("aol", "normal", "relu", [8] * 3, input_variance=0.01, bias="normal")
    assert law.log10_input_variance[0] == -2


def test_requests_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 2 sizes"):
        profile("aol", "normal", "relu", [8])
    with pytest.raises(ValueError, match="width must be an int"):
        profile("aol", "normal", "relu", [8, 0])
    with pytest.raises(ValueError, match="must be equal"):
        profile("sll", "normal", "relu", [8, 9])
    with pytest.raises(ValueError, match="input_second_moment"):
        profile("aol", "normal", "relu", [8, 8], input_second_moment=-1)
    with pytest.raises(ValueError, match="cotangent must be one of gaussian, ones, loss"):
        profile("aol", "normal", "relu", [8, 8], cotangent="somebody's")
    with pytest.raises(ValueError, match="input_variance"):
        profile("aol", "normal", "relu", [8, 8], input_variance=math.nan)


def loaded_after(code: str) -> set[str]:
    line = f"import sys; {code}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", line], **RUN).stdout.split())


RUN = {"capture_output": True, "text": True, "check": True}


def test_the_room_imports_scipy_at_first_use_and_nothing_heavy_ever():
    room = "import lipexp.theory; dir(lipexp.theory)"
    assert not any(name.split(".")[0] == "scipy" for name in loaded_after(room))
    used = loaded_after(
        "from lipexp.theory import profile; profile('aol', 'normal', 'relu', [4, 4])"
    )
    assert "scipy.special" in used  # so the check above can fail
    assert not used & {"torch", "pandas", "scipy.stats", "scipy.integrate", "matplotlib"}


def test_every_public_name_is_listed_and_no_other_is_found():
    import lipexp.theory

    assert len(dir(lipexp.theory)) > 10
    for name in dir(lipexp.theory):
        assert getattr(lipexp.theory, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'q'"):
        _ = lipexp.theory.q
