"""The head of unit rows: its map, its bound, and certificates by pairs of classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lipexp
from lipexp.layers import NormalisedLinear, SpectralLinear
from lipexp.networks import NETWORKS
from lipexp.networks.blueprint import Blueprint
from tests.strategies import exponents, seeds, sizes


def head_of(weight) -> NormalisedLinear:
    rows, columns = np.shape(weight)
    head = NormalisedLinear(columns, rows, bias=False, init=None, dtype=torch.float64)
    head.fill(np.asarray(weight, dtype=np.float64))
    return head


@settings(max_examples=50, deadline=None)
@given(rows=sizes, columns=sizes, exponent=exponents, seed=seeds, apart=st.integers(0, 150))
def test_rows_have_norm_one_at_any_scale_and_the_bound_holds(rows, columns, exponent, seed, apart):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((rows, columns)) * 10.0**exponent
    weight[0] *= 10.0 ** (-apart if exponent > 0 else apart)
    head = head_of(weight)
    effective = head.effective_weight().detach()
    np.testing.assert_allclose(effective.norm(dim=1), 1, rtol=1e-14)
    exact = float(torch.linalg.matrix_norm(effective, 2))
    assert exact <= head.lipschitz_bound() * (1 + 1e-14)
    assert head.lipschitz_bound() <= math.sqrt(rows) * (1 + 1e-8)


def test_a_zero_row_stays_zero_with_a_finite_gradient():
    head = head_of([[0.0, 0.0], [3.0, 4.0]])
    assert head.effective_weight().tolist() == [[0, 0], [0.6, 0.8]]
    head(torch.ones(1, 2, dtype=torch.float64)).square().sum().backward()
    assert head.weight.grad[0].tolist() == [0, 0]
    assert bool(torch.isfinite(head.weight.grad).all())


def test_a_spectral_layer_of_nothing_has_no_gradient():
    layer = SpectralLinear(3, 2, init=None)
    layer(torch.ones(1, 3)).sum().backward()
    assert not layer.weight.grad.any()


def test_it_is_no_one_lipschitz_map_and_certificates_do_not_say_so():
    """Rows w and -w: scores move apart at speed 2, so the radius is half the margin."""
    head = head_of([[0.6, 0.8], [-0.6, -0.8]])
    table = lipexp.certify(head, np.array([[0.3, 0.4]]), [0], "0.1")
    assert head.lipschitz_bound() == pytest.approx(math.sqrt(2))
    assert table["margin"][0] == pytest.approx(1.0)
    assert table["radius"][0] == pytest.approx(0.5)
    assert table["radius"][0] < 0.5


@pytest.mark.parametrize(
    ("network", "depth", "shape"), [("mlp", 2, (16,)), ("lipconvnet", 5, (1, 8, 8))]
)
@pytest.mark.parametrize("model", ["aol", "sll"])
def test_a_network_takes_it_as_its_head(network, depth, shape, model):
    plan = Blueprint(model, depth, 8, shape, classes=3, head="normalised", init="orthogonal")
    built = NETWORKS[network](plan, seed=0)
    assert isinstance(built.head_layer, NormalisedLinear)
    assert built(torch.rand(2, *shape, dtype=torch.float64)).shape == (2, 3)
    constants = lipexp.certification.margin_constants(built, 3)
    rows = built.head_layer.effective_weight().detach()
    np.testing.assert_allclose(constants, torch.cdist(rows, rows), rtol=1e-6, atol=1e-12)
