"""The theory stands alone, so it writes some facts again: they are the registries' own."""

from __future__ import annotations

import pytest

from lipexp.activations import ACTIVATIONS
from lipexp.config import BIASES
from lipexp.inits import INITS
from lipexp.layers import LAYERS, AOLLinear
from lipexp.theory import LEAKY_SLOPE, decay_per_layer
from lipexp.theory.activations import activation_law
from lipexp.theory.bias import BIAS_MODES
from lipexp.theory.weights import FEEDFORWARD_MODELS, IID_INITS, rescales_rows


def test_the_theory_knows_the_names_of_the_registries():
    assert {*IID_INITS, "orthogonal", "identity"} == set(INITS)
    assert {*FEEDFORWARD_MODELS, "sll"} == set(LAYERS)
    assert set(BIAS_MODES) == set(BIASES)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_theory_and_the_registry_agree_on_what_is_sound_inside_a_residual_layer(name):
    law = activation_law(name, LEAKY_SLOPE)
    assert law is not None
    sound = ACTIVATIONS.fact(name, "slope_restricted")
    assert sound or decay_per_layer("sll", "normal", name, fan_in=8, fan_out=8) is None


def test_the_slope_of_leaky_relu_is_one_number():
    assert ACTIVATIONS["leaky_relu"].negative_slope == LEAKY_SLOPE


@pytest.mark.parametrize("rows", [True, False, "auto"])
@pytest.mark.parametrize("sizes", [(3, 4), (4, 3), (3, 3)])
def test_rows_are_rescaled_where_the_theory_thinks_so(rows, sizes):
    layer = AOLLinear(*sizes, rows=rows)
    assert layer.rows == rescales_rows(rows, fan_in=sizes[0], fan_out=sizes[1])
