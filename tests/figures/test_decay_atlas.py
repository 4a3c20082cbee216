"""The atlas: every combination of the registries, beside its law, in one picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lipexp.activations import ACTIVATIONS
from lipexp.figures import FIGURES
from lipexp.figures.atlas_picture import heat_map, panels, rate_text, rows_of
from lipexp.figures.atlas_rates import DEEP, Group, groups, laws, rates
from lipexp.figures.decay_atlas import SETTINGS, checks, compared, words
from lipexp.figures.figure import Context
from lipexp.figures.probes import (
    probe_of,
    probed,
    put_activation,
    put_effective_weights,
    square_networks,
)
from lipexp.inits import INITS
from lipexp.layers import LAYERS
from lipexp.theory import decay_per_layer
from lipexp.theory.weights import IID_INITS
from tests.figures.conftest import TINY

CONTEXT = Context(lambda done, total: None, lambda name: {}, Path())


def test_every_layer_init_and_allowed_activation_is_in_it_once():
    found = [
        (group.model, tuple(group.keys), group.init, name)
        for group in groups(SETTINGS["small"])
        for name in group.activations
    ]
    assert len(found) == len(set(found))
    plain = {(model, init, name) for model, keys, init, name in found if not keys}
    assert plain == {
        (model, init, name)
        for model in LAYERS
        for init in INITS
        for name in ACTIVATIONS
        if model != "sll" or name not in ("abs", "maxmin")
    }


def test_at_the_papers_size_there_are_three_widths_and_every_bias():
    found = {(group.width, group.bias) for group in groups(SETTINGS["paper"])}
    biases = ("zero", "default", "normal", "corrected", "none")
    assert found == {(width, bias) for width in (64, 256, 1024) for bias in biases}


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize(("model", "init"), [("aol", "normal"), ("linear", "kaiming_normal")])
def test_laws_at_zero_bias_are_those_of_decay_per_layer(model, init, activation):
    found = laws(Group(model, {}, init, "zero", 64), activation)
    for way in ("forward", "backward"):
        for kind in ("law", "typical"):
            expected = decay_per_layer(
                model,
                init,
                activation,
                fan_in=64,
                fan_out=64,
                backward=way == "backward",
                typical=kind == "typical",
            )
            value = found[f"{way}_{kind}"]
            assert math.isnan(value) if expected is None else value == pytest.approx(expected)


@pytest.mark.parametrize(("model", "name"), [("aol", "maxmin"), ("sll", "identity")])
def test_an_activation_put_into_a_network_is_as_if_built_with_it(model, name):
    size = {"model": model, "width": 8, "depth": 5, "networks": 2, "seed": 3}
    made = square_networks(**size)
    put_activation(made, name)
    pd.testing.assert_frame_equal(
        probe_of(made, inputs=3, seed=3), probed(**size, inputs=3, activation=name)
    )


@pytest.mark.parametrize("bias", ["zero", "normal"])
@pytest.mark.parametrize("model", [name for name in LAYERS if name != "sll"])
def test_a_probe_of_effective_weights_is_that_of_the_layers_to_rounding(model, bias):
    size = {"model": model, "width": 8, "depth": 5, "networks": 2, "seed": 3, "bias": bias}
    made = square_networks(**size)
    put_effective_weights(made)
    found, expected = probe_of(made, inputs=3, seed=3), probed(**size, inputs=3)
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-12)
    first = next(made[0].hidden_layers()).layer
    assert type(first) is LAYERS["linear"]


def test_rates_are_of_the_steps_away_from_both_ends(tiny):
    setting = {**TINY["decay_atlas"], "biases": ["zero"]}
    table = rates(setting, CONTEXT)
    row = table.set_index(["layer", "init", "activation"]).loc[("aol", "normal", "maxmin")]
    raw = probed(
        model="aol", activation="maxmin", width=16, depth=14, networks=4, inputs=1, seed=0
    ).set_index(["network", "layer"])
    up = raw["log10_second_moment"].unstack("layer")
    down = raw["log10_gradient_second_moment"].unstack("layer")
    assert row["forward"] == pytest.approx(((up[12] - up[2]) / 10).mean(), abs=1e-12)
    assert row["backward"] == pytest.approx(((down[2] - down[12]) / 10).mean(), abs=1e-12)
    steps = np.diff(up.loc[:, 2:12], axis=1).ravel()
    assert row["forward_error"] == pytest.approx(steps.std(ddof=1) / math.sqrt(40))
    assert row["forward_deep"] == pytest.approx(DEEP * row["forward"])
    assert row["half_life"] == pytest.approx(math.log10(2) / abs(row["forward"]))
    assert not row["carries"]


def test_what_is_slow_but_not_lossless_is_sent_through_a_thousand_layers(tiny, monkeypatch):
    monkeypatch.setattr("lipexp.figures.atlas_rates.LAYERS", {"sll": None})
    monkeypatch.setattr("lipexp.figures.atlas_rates.INITS", ("orthogonal",))
    monkeypatch.setattr(Group, "activations", ["relu", "leaky_relu"])
    setting = {**TINY["decay_atlas"], "widths": {"8": [4, 2]}, "biases": ["zero"], "deep": [8]}
    table = rates(setting, CONTEXT).set_index(["layer", "activation"])
    assert not table.loc[("sll", "relu"), "measured_deep"]
    leaky = table.loc[("sll", "leaky_relu")]
    assert leaky["measured_deep"]
    # 2 a (1 - a) of a block is lost, a = 0.01: -0.00869 decades
    assert leaky["forward_deep"] == pytest.approx(-8.69, abs=0.5)
    assert leaky["backward_deep"] == pytest.approx(-8.69, abs=0.5)
    assert leaky["forward_deep"] != DEEP * leaky["forward"]
    assert table["carries"].all()


def _rates_table(**columns) -> pd.DataFrame:
    row = {
        "layer": "aol",
        "init": "gnd",
        "activation": "relu",
        "bias": "zero",
        "width": 64,
        "steps": 600,
        "weight": -2.6,
        "weight_law": -2.7,
        "carries": False,
    }
    for way in ("forward", "backward"):
        row |= {way: -1.0, f"{way}_error": 0.01, f"{way}_gain": -0.9, f"{way}_gain_error": 0.02}
        row |= {f"{way}_law": -0.95, f"{way}_typical": -1.0}
    return pd.DataFrame([row | columns])


def test_a_rate_is_compared_with_the_typical_law_and_the_mean_gain_with_the_other():
    table = compared(_rates_table(forward_typical=-1.03, backward_typical=np.nan))
    up, down = table.iloc[0], table.iloc[1]
    assert (up["ours"], up["law"]) == (-1.0, -1.03)
    assert up["deviation"] == pytest.approx(3.0)
    assert (down["ours"], down["law"]) == (-0.9, -0.95)
    assert down["deviation"] == pytest.approx(2.5)


def test_exact_rates_that_miss_their_law_by_anything_are_beyond_all_errors():
    exact = {"forward": 0.0, "forward_error": 1e-17, "backward": 0.0, "backward_error": 0.0}
    table = compared(_rates_table(**exact, forward_typical=0.0, backward_typical=1e-6))
    assert list(table["deviation"]) == [0.0, math.inf]


def test_what_is_beyond_five_standard_errors_stands_in_the_report_with_its_cause():
    table = _rates_table(forward=-0.9, forward_typical=-1.0, weight_law=-2.68)
    (check,) = checks({"rates": table}, {})
    assert check.agrees is False
    assert "CONTRADICTS THE LAW (+10.0 standard errors)" in check.verdict
    # 0.08 of the 0.1 are the weights', which are 10^0.08 times what the law takes
    assert "+20.2% off the one the law takes; with the measured one, +2.0 standard" in check.verdict
    text = "\n".join(words({"rates": table}, {}))
    assert "Largest deviation from a law: +10.0 standard errors" in text
    assert "Beyond 5: 1 rates" in text


def test_inits_of_one_law_share_a_row():
    parts = []
    for layer in ("aol", "orthogonal"):
        for init in INITS:
            law = laws(Group(layer, {}, init, "zero", 64), "relu")
            about = {"layer": layer, "init": init, "activation": "relu", "width": 64}
            parts.append({**about, "bias": "zero", **law})
    rows = rows_of(pd.DataFrame(parts))
    assert [(row.layer, row.label) for row in rows] == [
        ("aol", f"any iid ({len(IID_INITS)})"),
        ("aol", "orthogonal"),
        ("aol", "identity"),
        ("orthogonal", "any (9)"),
        ("orthogonal", "identity"),
    ]


def test_inits_without_a_law_have_a_row_each():
    table = pd.concat([_rates_table(init=init) for init in ("gnd", "laplace")])
    laws_ = [column for column in table if column.endswith(("_law", "_typical"))]
    table[laws_] = np.nan
    assert [row.inits for row in rows_of(table)] == [("gnd",), ("laplace",)]


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (-1.1792, "−1.18"),
        (-0.3116, "−.31"),
        (-0.00869, "−.009"),
        (-1e-15, "0"),
        (0.294, "+.29"),
        (math.nan, ""),
    ],
)
def test_a_rate_is_written_short(rate, text):
    assert rate_text(rate) == text


def test_small_shows_both_ways_and_paper_every_width_and_every_bias():
    table = pd.DataFrame({"width": [64], "bias": ["zero"]})
    assert [panel.way for panel in panels(table)[0]] == ["forward", "backward"]
    table = pd.DataFrame(
        [(w, b) for w in (64, 256) for b in ("zero", "normal", "none")], columns=["width", "bias"]
    )
    first, second = panels(table)
    assert [(p.width, p.bias) for p in first] == [(64, "zero"), (256, "zero")]
    assert [(p.width, p.bias) for p in second] == [(64, "normal")]


def test_combinations_that_carry_are_drawn_apart():
    other = _rates_table(init="orthogonal", carries=True, forward_law=0.0)
    figure = heat_map(pd.concat([_rates_table(), other]), "title", "note")
    texts = [text for axes in figure.axes for text in axes.texts]
    rates_ = [text for text in texts if text.get_text() == "−1.00"]
    assert [text.get_fontweight() for text in rates_] == ["normal", "bold"] * 2


def test_the_report_names_what_carries(tiny):
    setting = {**TINY["decay_atlas"], "biases": ["zero"]}
    text = "\n".join(FIGURES["decay_atlas"].words({"rates": rates(setting, CONTEXT)}, setting))
    assert "- aol: orthogonal with abs, maxmin, identity." in text
    assert "*Residual layers?*" in text
