"""Layers against numbers worked out by hand or in exact arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipexp.errors import UserError
from lipexp.layers import LAYERS, AOLLinear, SLLLinear
from lipexp.layers.gram import GramSums, gram_sums
from tests.exact import exact_constant, exact_norm
from tests.strategies import make_layer

V = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]])


def effective(name, keys, weight=V):
    rows, columns = weight.shape
    return make_layer(name, keys, columns, rows, weight).effective_weight().detach().numpy()


def test_aol_columns_of_a_small_matrix():
    expected = V / np.sqrt([11.25, 22.0])  # V^T V = [[10.25, 1], [1, 21]]
    np.testing.assert_allclose(effective("aol", {"rows": False}), expected, rtol=1e-15)
    assert exact_norm(torch.from_numpy(expected)) == pytest.approx(1, abs=1e-14)


def test_aol_rows_of_a_small_matrix():
    expected = V / np.sqrt([[14.5], [13.5], [27.25]])
    found = effective("aol", {"rows": True})
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert exact_norm(torch.from_numpy(found)) == pytest.approx(0.968353057469698, abs=1e-14)


def test_aol_of_ones_a_column_a_row_and_a_diagonal():
    np.testing.assert_allclose(effective("aol", {}, np.ones((3, 5))), 1 / np.sqrt(15))
    column = V[:, :1]
    np.testing.assert_allclose(effective("aol", {}, column), column / np.linalg.norm(column))
    row = np.array([[3.0, -1.0, 4.0]])
    expected = row / np.sqrt(np.abs(row) * np.abs(row).sum())
    np.testing.assert_allclose(effective("aol", {}, row), expected)
    np.testing.assert_allclose(effective("aol", {}, np.diag([2.0, -3.0])), np.diag([1.0, -1.0]))


def sll(q=None):
    layer = make_layer("sll", {}, 3, 2, V.T)  # W = V: 3 features, 2 hidden units
    if q is not None:
        with torch.no_grad():
            layer.log_q.copy_(torch.tensor(q, dtype=torch.float64).log())
    return layer


@pytest.mark.parametrize(
    ("q", "expected"),
    [(None, (-1 / 11, -16 / 11, -37 / 22)), ((1.0, 3.0), (-0.125, -1.4375, -1.75))],
)
def test_residual_sll_of_a_small_matrix(q, expected):
    y = sll(q)(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-14)


def test_feedforward_sll_with_two_columns_touches_its_bound_for_every_q():
    layer = make_layer("sll_feedforward", {}, 2, 3, V)
    for q in ((0.0, 1.0), (3.0, -5.0), (-40.0, 40.0)):
        with torch.no_grad():
            layer.log_q.copy_(torch.tensor(q))
        assert exact_norm(layer.effective_weight()) == pytest.approx(1, abs=1e-12)
        assert exact_norm(layer.effective_weight()) <= layer.lipschitz_bound()


def test_q_of_700_either_way_overflows_nothing():
    weight = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    for name, keys in (("sll", {}), ("sll_feedforward", {})):
        layer = make_layer(name, keys, 3, 3, weight)
        with torch.no_grad():
            layer.log_q.copy_(torch.tensor([700.0, -700.0, 0.0]))
        assert bool(torch.isfinite(layer.effective_weight()).all())
        assert exact_constant(layer) <= layer.lipschitz_bound() * (1 + 1e-14)


def test_residual_sll_with_abs_inside_would_stretch_three_times_and_is_refused():
    with pytest.raises(UserError, match="activation=abs inside a residual layer"):
        SLLLinear(4, activation="abs")
    branch = SLLLinear(3, init="identity", dtype=torch.float64).branch()
    stretch = torch.eye(3).double() - branch.outer @ (-1.0 * branch.inner)  # all slopes -1
    assert exact_norm(stretch) == pytest.approx(3)


def test_spectral_of_equal_singular_values_and_of_zero():
    layer = make_layer("spectral", {}, 4, 4, 5 * np.eye(4))
    torch.testing.assert_close(layer.effective_weight(), torch.eye(4).double())
    zero = make_layer("spectral", {}, 3, 2, np.zeros((2, 3)))
    assert not bool(zero.effective_weight().any())


@pytest.mark.parametrize("shape", [(5, 40), (64, 64), (70, 530), (600, 513)])
def test_fast_gram_sums_equal_the_definition_forward_and_backward(shape):
    torch.manual_seed(0)
    v = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    u = torch.randn(shape[1], dtype=torch.float64)
    plain, fast = gram_sums(v), GramSums.apply(v)
    torch.testing.assert_close(fast, plain, rtol=1e-13, atol=0)
    (expected,) = torch.autograd.grad(plain, v, u)
    (found,) = torch.autograd.grad(fast, v, u)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


def test_gradients_of_every_layer_agree_with_differences():
    torch.manual_seed(1)
    for name in LAYERS:
        # Not at the orthogonal start: there every overlap is at the kink of its absolute value.
        shape = (4,) if name == "sll" else (4, 3)
        layer = LAYERS[name](*shape, init="normal", dtype=torch.float64)
        names = [key for key, _ in layer.named_parameters()]

        def effective_of(*values, layer=layer, names=names):
            class Effective(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.layer = layer

                def forward(self):
                    return self.layer.effective_weight()

            state = {f"layer.{key}": value for key, value in zip(names, values, strict=True)}
            return torch.func.functional_call(Effective(), state, ())

        values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
        if name != "orthogonal":  # torch's own parametrisation, tested there
            assert torch.autograd.gradcheck(effective_of, values, atol=1e-6)


def test_a_wrong_rows_or_q_names_what_is_allowed():
    with pytest.raises(ValueError, match="Got 'maybe' instead"):
        AOLLinear(3, 4, rows="maybe")
    with pytest.raises(ValueError, match="Got 'two' instead"):
        SLLLinear(3, q="two")


def test_a_layer_is_seeded_by_torch_and_starts_orthogonal():
    torch.manual_seed(5)
    first = AOLLinear(6, 6)
    torch.manual_seed(5)
    assert torch.equal(first.weight, AOLLinear(6, 6).weight)
    assert exact_norm(first.effective_weight()) == pytest.approx(1, abs=1e-6)
