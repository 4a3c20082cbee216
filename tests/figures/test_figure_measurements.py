"""What the figures measure by themselves, against the plain way of computing it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lipexp.figures.figure import Context
from lipexp.figures.gradients import descended, log10_law_of_variance, rate
from lipexp.figures.matrices import aol_weights, blocks, draw, mean_square_weights
from lipexp.figures.probes import probed, slopes
from lipexp.figures.product_density import normal_density
from lipexp.figures.signals import climbed
from lipexp.figures.weight_variance import pooled_error
from lipexp.layers import AOLLinear
from lipexp.networks.blueprint import Blueprint
from lipexp.networks.mlp import mlp
from lipexp.streams import stream
from lipexp.theory import PGND, gaussian_weight_variance
from tests.figures.conftest import TINY

NOWHERE = Context(tick=lambda done, total: None, tables=None, folder=None)


@pytest.mark.parametrize(("d", "n"), [(1, 1), (3, 5), (7, 2)])
def test_stacked_aol_weights_are_the_layers(d, n):
    v = stream(0, "test", d, n).standard_normal((4, d, n))
    for each, weight in zip(v, aol_weights(v), strict=True):
        layer = AOLLinear(n, d, init=None, dtype=torch.float64)
        layer.fill(each)
        assert np.allclose(layer.effective_weight().detach(), weight, rtol=1e-13, atol=0)


@pytest.mark.parametrize("shape", ["laplace", "normal", "uniform"])
def test_draws_have_unit_variance_and_their_shapes_kurtosis(shape):
    x = draw(shape, (200_000,), stream(0, "test"))
    kurtosis = {"laplace": 6.0, "normal": 3.0, "uniform": 1.8}[shape]
    # standard errors: sqrt((k - 1) / n) and, for Laplace, sqrt(E x^8) / sqrt n = 0.11
    assert abs(np.mean(x**2) - 1) < 5 * math.sqrt((kurtosis - 1) / x.size)
    assert abs(np.mean(x**4) - kurtosis) < 5 * 0.12


def test_mean_square_weights_agree_with_the_law():
    values = mean_square_weights("normal", 4, 3, 20_000, stream(0, "test"))
    law = gaussian_weight_variance(fan_in=3, fan_out=4)
    assert values.shape == (20_000,)
    assert abs(values.mean() - law) < 5 * values.std() / math.sqrt(values.size)


def test_blocks_add_up_and_stay_small():
    assert sum(blocks(1_000, 100_000)) == 1_000
    assert max(blocks(1_000, 100_000)) <= 20
    assert list(blocks(3, 10**9)) == [1, 1, 1]


@pytest.mark.parametrize("bias", ["zero", "normal"])
def test_signals_are_those_of_the_whole_network(bias):
    setting = {**TINY["forward_variance"], "bias": bias, "networks": 2}
    table = climbed(setting, NOWHERE)["variance"]
    width, depth = setting["width"], setting["depth"]
    plan = Blueprint("aol", depth, width, (width,), bias=bias)
    for replicate in range(2):
        network = mlp(plan, seed=setting["seed"], replicate=replicate)
        x = stream(setting["seed"], "inputs", replicate).standard_normal((setting["inputs"], width))
        z = torch.from_numpy(x)
        rows = table[table["network"] == replicate].set_index("layer")
        for hidden in network.hidden_layers():
            z = hidden.layer(z).detach()
            expected = math.log10(float(z.var(correction=0)))
            assert rows.loc[hidden.number, "log10_variance"] == pytest.approx(expected, abs=1e-12)
            z = z.relu()


@pytest.mark.parametrize("bias", ["zero", "normal"])
@pytest.mark.parametrize("matrices", ["fresh", "shared"])
def test_gradients_are_autograds(bias, matrices):
    setting = {**TINY["gradient_variance"], "bias": bias, "networks": 1}
    table = descended(setting, NOWHERE)["variance"]
    rows = table[(table["matrices"] == matrices) & (table["cotangent"] == "ones")]
    width, depth = setting["width"], setting["depth"]
    network = mlp(Blueprint("aol", depth, width, (width,), bias=bias), seed=setting["seed"])
    layers = [hidden.layer for hidden in network.hidden_layers()]
    if matrices == "shared":
        layers = [layers[0]] * depth
    x = stream(setting["seed"], "inputs", 0).standard_normal((1, setting["inputs"], width))[0]
    entering, signal = [], torch.from_numpy(x)
    for layer in layers:
        entering.append(signal.requires_grad_() if not entering else signal)
        signal = layer(signal).relu()
    gradients = torch.autograd.grad(signal.sum(), entering)
    for label in range(2, depth + 1):
        expected = math.log10(float(gradients[label - 1].var(correction=0)))
        ours = rows.set_index("label").loc[label, "log10_variance"]
        assert ours == pytest.approx(expected, abs=1e-11)


def test_the_cotangent_of_ones_has_its_law_after_one_step():
    """1 + 1/pi less the mean's square 1/pi^2, one layer back; n = 24 networks of width 64."""
    setting = {**TINY["gradient_variance"], "width": 64, "networks": 24, "depth": 3}
    setting["histograms"] = [2]
    setting["bias"] = "zero"
    table = descended(setting, NOWHERE)["variance"]
    of = table[(table["matrices"] == "fresh") & (table["label"] == 3)]
    for cotangent, rows in of.groupby("cotangent"):
        ratio = 10 ** rows["log10_variance"] / rate(64)
        law = 10 ** log10_law_of_variance(64, 1, cotangent) / rate(64)
        assert abs(ratio.mean() - law) < 5 * ratio.std() / math.sqrt(24)


def test_the_density_of_sums_of_products_integrates_to_one_and_meets_the_product():
    x = np.exp(np.linspace(-30, 4, 20_001))
    for n in (1, 2, 5, 10):
        mass = 2 * np.trapezoid(normal_density(n, x) * x, np.log(x))
        assert mass == pytest.approx(1, abs=1e-6)
        second = 2 * np.trapezoid(normal_density(n, x) * x**3, np.log(x))
        assert second == pytest.approx(n, rel=1e-6)
    points = np.array([0.1, 1.0, 3.0])
    assert np.allclose(normal_density(1, points), PGND.unit_variance(2).pdf(points), rtol=1e-12)


def test_errors_of_few_matrices_are_pooled_over_sizes():
    """400 sizes of two matrices each, relative standard deviation 0.7 / n: a to 3.5 %."""
    n = np.arange(10, 410)
    spread = 0.7 / n
    draws = 1 + spread[:, None] * stream(0, "test").standard_normal((n.size, 2))
    own = draws.std(axis=1, ddof=1) / math.sqrt(2)
    table = pd.DataFrame({"n": n, "matrices": 2, "variance": draws.mean(axis=1), "error": own})
    pooled = pooled_error(table)
    assert np.allclose(pooled / (spread / math.sqrt(2)), 1, atol=5 * 0.035 + 0.15)
    assert abs(np.mean(pooled * math.sqrt(2) / spread) - 1) < 5 * 0.035
    many = table.assign(matrices=30)
    assert pooled_error(many).equals(table["error"])


def test_slopes_are_between_their_layers():
    table = probed(width=16, depth=6, networks=2, inputs=3, seed=0)
    at = table.set_index(["network", "layer"])["log10_second_moment"]
    found = slopes(table, "log10_second_moment", 2, 6)
    assert found[1] == pytest.approx((at[1, 6] - at[1, 2]) / 4, abs=1e-14)
