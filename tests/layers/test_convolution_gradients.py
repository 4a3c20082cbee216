"""Gradients of convolutions, and that the fast sums are the defined ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipexp.layers import CONVOLUTIONS
from lipexp.layers.gram import (
    KernelOverlaps,
    inverse_root,
    overlaps,
    rescaling_sums,
    weighted_sums,
)
from tests.strategies import CONVOLUTION_CHOICES, describe, make_convolution, seeds

every_convolution = pytest.mark.parametrize("choice", CONVOLUTION_CHOICES, ids=describe)
WEIGHED = [c for c in CONVOLUTION_CHOICES if "q" in c[1]]


def by_hand(kernel):
    """The overlaps by their definition, with loops over channels and displacements."""
    _, channels, side, _ = kernel.shape
    wide = np.pad(kernel, ((0, 0), (0, 0), (side - 1, side - 1), (side - 1, side - 1)))
    result = np.zeros((channels, channels))
    for a in range(2 * side - 1):
        for b in range(2 * side - 1):
            shifted = wide[:, :, a : a + side, b : b + side]
            result += np.abs(np.einsum("miab,mjab->ij", kernel, shifted))
    return result


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    side=st.sampled_from((1, 2, 3, 4, 5)),
    outputs=st.integers(1, 6),
    inputs=st.integers(1, 6),
)
def test_fast_overlaps_equal_the_definition_forward_and_backward(seed, side, outputs, inputs):
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal((outputs, inputs, side, side))
    kernel = torch.from_numpy(drawn).requires_grad_()
    plain, fast = overlaps(kernel), KernelOverlaps.apply(kernel)
    np.testing.assert_allclose(plain.detach().numpy(), by_hand(drawn), rtol=1e-12)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=0)
    # Any cotangent, not only symmetric ones: q makes them so.
    cotangent = torch.from_numpy(generator.standard_normal((inputs, inputs)))
    (expected,) = torch.autograd.grad(plain, kernel, cotangent)
    (found,) = torch.autograd.grad(fast, kernel, cotangent)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_channel_is_divided_by_the_overlaps_weighed_by_the_quotients_of_q():
    generator = np.random.default_rng(0)
    kernel, log_q = generator.standard_normal((3, 4, 3, 3)), generator.standard_normal(4)
    q = np.exp(log_q)
    sums = (by_hand(kernel) * q[:, None] / q).sum(0)
    layer = make_convolution("sll_feedforward", {}, 4, 3, kernel)
    layer.log_q.data.copy_(torch.from_numpy(log_q))
    expected = kernel / np.sqrt(sums)[:, None, None]
    np.testing.assert_allclose(layer.effective_weight().detach().numpy(), expected, rtol=1e-13)
    block = make_convolution("sll", {}, 3, 4, kernel.swapaxes(0, 1))  # hidden channels are rescaled
    block.log_q.data.copy_(torch.from_numpy(log_q))
    np.testing.assert_allclose(block.effective_weight().detach().numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("weighed", [False, True])
def test_rescaling_sums_of_kernels_are_the_defined_ones(side, weighed):
    torch.manual_seed(side)
    kernel = torch.randn(3, 4, side, side).double().requires_grad_()
    log_q = torch.randn(4).double().requires_grad_() if weighed else None
    of = (kernel, log_q) if weighed else (kernel,)
    plain, fast = weighted_sums(overlaps(kernel), log_q), rescaling_sums(*of)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=0)
    u = torch.randn(4).double()
    expected, found = (torch.autograd.grad(sums, of, u) for sums in (plain, fast))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *given: inverse_root(rescaling_sums(*given)), of)


def functional(layer, x):
    """The layer as a function of its parameters, and these."""
    names = [key for key, _ in layer.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def output(*given):
        return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (x,))

    return output, values


@every_convolution
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("side", [1, 2, 3])
def test_gradients_of_convolutions_agree_with_differences(choice, mode, side):
    name, keys = choice
    torch.manual_seed(5)
    layer = CONVOLUTIONS[name](
        2, 3, kernel_size=side, padding_mode=mode, **keys, init="normal", dtype=torch.float64
    )
    with torch.no_grad():
        layer.bias.normal_()
    output, values = functional(layer, torch.randn(1, 2, 2, 3).double())
    assert torch.autograd.gradcheck(output, values, atol=1e-6)


@pytest.mark.parametrize("choice", WEIGHED, ids=describe)
def test_q_is_alive_and_adding_a_constant_to_it_changes_nothing(choice):
    name, keys = choice
    kernel = np.random.default_rng(0).standard_normal((3, 3, 3, 3))
    layer = make_convolution(name, keys, 3, 3, kernel, np.zeros(3))
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5).double()
    layer(x).square().sum().backward()
    gradient = layer.log_q.grad
    assert float(gradient.abs().min()) > 0.1
    # Sums that depend on differences of log q alone have derivatives that add up to zero.
    assert abs(float(gradient.sum())) <= 1e-12 * float(gradient.abs().sum())


@every_convolution
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kill", ["outputs", "inputs", "all", "small"])
def test_zero_channels_have_finite_gradients_and_rescaled_ones_zero(choice, dtype, kill):
    name, keys = choice
    kernel = np.random.default_rng(1).standard_normal((4, 3, 3, 3))
    bias = np.ones(4)
    if kill == "small":
        tiny = 1e-30 if dtype == torch.float32 else 1e-250
        kernel, bias = kernel * tiny, bias * tiny
    if kill in ("outputs", "all"):
        kernel[[0, 2]] = 0
    if kill in ("inputs", "all"):
        kernel[:, 1] = 0
    if kill == "all":
        kernel[:] = 0
    layer = make_convolution(name, keys, 3, 4, kernel, bias, dtype=dtype)
    layer(torch.ones(2, 3, 4, 4, dtype=dtype)).square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all())
    rescales_outputs = name == "sll" or getattr(layer, "rows", False)
    if name != "linear" and kill == ("outputs" if rescales_outputs else "inputs"):
        dead = (lambda k: k[[0, 2]]) if rescales_outputs else (lambda k: k[:, 1])
        assert not bool(dead(layer.weight.grad).any())
        effective = layer.effective_weight()
        effective = effective.transpose(0, 1) if name == "sll" else effective
        assert not bool(dead(effective).any())


@every_convolution
@settings(max_examples=12, deadline=None)
@given(seed=seeds, side=st.sampled_from((1, 2, 3, 5)), exponent=st.integers(-480, 480))
def test_a_power_of_two_leaves_the_effective_kernel_to_the_bit(choice, seed, side, exponent):
    name, keys = choice
    generator = np.random.default_rng(seed)
    kernel = generator.standard_normal((3, 4, side, side))
    plain = make_convolution(name, keys, 4, 3, kernel)
    scaled = make_convolution(name, keys, 4, 3, np.ldexp(kernel, exponent))
    if plain.draws_own:
        scaled.log_q.data.copy_(plain.log_q)
    if name == "linear":
        kernel = torch.ldexp(plain.effective_weight(), torch.tensor(exponent))
        assert torch.equal(kernel, scaled.effective_weight())
        return
    assert torch.equal(plain.effective_weight(), scaled.effective_weight())
    x = torch.from_numpy(generator.standard_normal((1, 4, 4, 4)))
    assert torch.equal(plain(x), scaled(x))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, side=st.sampled_from((1, 3)), exponent=st.integers(-140, 140))
def test_a_residual_block_is_invariant_under_scaling_kernel_and_bias(seed, side, exponent):
    generator = np.random.default_rng(seed)
    kernel, bias = generator.standard_normal((3, 2, side, side)), generator.standard_normal(3)
    x = torch.from_numpy(generator.standard_normal((4, 2, 3, 3)))
    factor = 10.0**exponent
    plain = make_convolution("sll", {}, 2, 3, kernel, bias)(x)
    scaled = make_convolution("sll", {}, 2, 3, factor * kernel, factor * bias)(x)
    torch.testing.assert_close(plain, scaled, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [False, True])
@settings(max_examples=15, deadline=None)
@given(seed=seeds, outputs=st.integers(1, 5), inputs=st.integers(1, 5))
def test_the_free_kernel_is_orthogonal_to_its_gradient(rows, seed, outputs, inputs):
    # <K, dL/dK> = 0 because the effective kernel of c K is that of K (Euler).
    generator = np.random.default_rng(seed)
    kernel = generator.standard_normal((outputs, inputs, 3, 3))
    layer = make_convolution("aol", {"rows": rows}, inputs, outputs, kernel)
    target = torch.from_numpy(generator.standard_normal(kernel.shape))
    (layer.effective_weight() * target).sum().backward()
    inner = float((layer.weight.detach() * layer.weight.grad).sum())
    size = float(layer.weight.detach().norm() * layer.weight.grad.norm())
    assert abs(inner) <= 1e-13 * max(size, 1.0)
