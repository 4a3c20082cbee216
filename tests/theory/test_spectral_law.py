"""V / sigma of a Gaussian V: simulation of its mean square and of a layer's gains."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh_tridiagonal

from lipexp.theory import decay_per_layer, spectral_weight_variance
from tests.theory.small_networks import activate, mean_and_error


def largest_squares(rng, d, n, matrices):
    """sigma^2 of Gaussian d x n matrices, by their tridiagonal form (Dumitriu and Edelman)."""
    n, d = min(n, d), max(n, d)
    a = np.array([rng.chisquare(d - i, matrices) for i in range(n)]).T
    b = np.array([rng.chisquare(n - 1 - i, matrices) for i in range(n - 1)]).T
    diagonal, off = a.copy(), np.sqrt(a[:, :-1] * b)
    diagonal[:, 1:] += b
    last = {"select": "i", "select_range": (n - 1, n - 1)}
    return np.array(
        [eigvalsh_tridiagonal(*pair, **last)[0] for pair in zip(diagonal, off, strict=True)]
    )


@pytest.mark.parametrize(
    ("d", "n", "matrices", "off"),
    [
        (8, 8, 20_000, 0.009),
        (8, 32, 20_000, 0.002),
        (16, 16, 30_000, 0.001),
        (48, 48, 10_000, 2e-4),
        (256, 32, 10_000, 2e-4),
    ],
)
def test_the_mean_square_agrees_with_simulation(d, n, matrices, off):
    rng = np.random.default_rng(d + n)
    # (1 - 2/(dn)) E 1/sigma^2 = E |V|^2 / (d n sigma^2) exactly
    samples = (1 - 2 / (d * n)) / largest_squares(rng, d, n, matrices)
    mean, error = mean_and_error(samples)
    ours = spectral_weight_variance(fan_in=n, fan_out=d)
    assert error < 2e-3 * mean
    assert abs(ours - mean) < 4 * error + off * mean
    assert ours == spectral_weight_variance(fan_in=d, fan_out=n)


def test_dense_matrices_have_the_same_mean_square():
    rng = np.random.default_rng(20)
    v = rng.standard_normal((6000, 20, 30))
    sigma = np.linalg.svd(v, compute_uv=False)[:, 0]
    mean, error = mean_and_error((v**2).mean((1, 2)) / sigma**2)
    ours = spectral_weight_variance(fan_in=30, fan_out=20)
    assert error < 2e-3 * mean
    assert abs(ours - mean) < 4 * error


@pytest.mark.parametrize(("activation", "d", "n"), [("relu", 24, 24), ("maxmin", 16, 32)])
def test_one_layer_shows_the_law_in_its_mean_and_the_typical_rate_in_its_logarithm(
    activation, d, n
):
    rng = np.random.default_rng(d)
    v = rng.standard_normal((6000, d, n))
    weights = v / np.linalg.svd(v, compute_uv=False)[:, :1, None]
    z = rng.standard_normal((6000, 8, n))
    out = activate(activation, z, 0.0) @ weights.transpose(0, 2, 1)
    gains = (out**2).mean(2) / (z**2).mean(2)
    options = {"fan_in": n, "fan_out": d}
    mean, error = mean_and_error(gains.mean(1))
    law = decay_per_layer("spectral", "normal", activation, **options)
    assert error < 0.005 * mean
    assert abs(mean - 10**law) < 4 * error
    mean, error = mean_and_error(np.log10(gains).mean(1))
    typical = decay_per_layer("spectral", "kaiming_normal", activation, typical=True, **options)
    assert error < 2e-3
    assert abs(mean - typical) < 4 * error
    assert typical < law - 5 * error


def test_uniform_entries_have_the_law_to_the_stated_share_and_no_typical_rate():
    rng = np.random.default_rng(64)
    samples = []
    for _ in range(200):
        v = rng.uniform(-1, 1, (64, 64))
        samples.append((v**2).mean() / np.linalg.norm(v, 2) ** 2)
    mean, error = mean_and_error(samples)
    ours = spectral_weight_variance(fan_in=64, fan_out=64)
    assert error < 0.004 * mean
    assert 0.003 < mean / ours - 1 < 0.025
    sizes = {"fan_in": 64, "fan_out": 64}
    rate = decay_per_layer("spectral", "uniform", "relu", **sizes)
    assert rate == pytest.approx(math.log10(32 * ours))
    assert decay_per_layer("spectral", "uniform", "relu", typical=True, **sizes) is None
    for n, d in ((47, 64), (64, 47), (8, 8)):  # 6 % at 8 units
        assert decay_per_layer("spectral", "uniform", "relu", fan_in=n, fan_out=d) is None
        assert decay_per_layer("spectral", "normal", "relu", fan_in=n, fan_out=d) is not None


@given(d=st.integers(1, 10_000), n=st.integers(1, 10_000))
@settings(deadline=None, max_examples=60)
def test_the_bound_of_every_1_lipschitz_matrix_holds(d, n):
    q = spectral_weight_variance(fan_in=n, fan_out=d)
    if min(d, n) == 1 or min(d, n) >= 8:
        assert 0 < q * max(d, n) <= 1


def test_wide_layers_tend_to_an_eighth_under_relu():
    rates = [
        decay_per_layer("spectral", "normal", "relu", fan_in=w, fan_out=w)
        for w in (64, 1024, 10**6)
    ]
    assert rates[0] > rates[1] > rates[2] > math.log10(1 / 8)
    assert rates[2] == pytest.approx(math.log10(1 / 8), abs=1e-4)


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="fan_in must be an int"):
        spectral_weight_variance(fan_in=0, fan_out=3)
