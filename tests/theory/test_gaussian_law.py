"""q(d, n), d = fan_out, n = fan_in: 20-digit tables, independent quadratures, closed cases."""

import math
import time

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfcx, gammaln

from lipexp.theory import gaussian_weight_variance, random_q_weight_variance

# (d, n): 32-digit quadrature with half the steps and a wider range.
TABLE = {
    (1, 1): 1.0,
    (2, 2): 0.31161262007011525670,
    (3, 3): 0.17109092358996931075,
    (8, 8): 0.042104706126830553764,
    (10, 10): 0.030670419244398451410,
    (32, 32): 0.0058376117303258688007,
    (64, 64): 0.0021506517274135519918,
    (100, 100): 0.0011257889135774030747,
    (256, 256): 0.00028504287887770008657,
    (300, 3000): 2.3939086612301822476e-5,
    (3000, 300): 6.2312765344687475643e-5,
    (1024, 1024): 3.6850904474561743573e-5,
    (2024, 2024): 1.3399257467970149833e-5,
    (8192, 8192): 1.6675189771757435427e-6,
    (64, 784): 1.9691271861148710371e-4,
    (784, 64): 4.5786579586463831179e-4,
    (256, 3072): 2.5321321177174091739e-5,
    (1, 100000): 1e-5,
    (100000, 1): 1e-5,
    (2, 100000): 7.8539479243790877132e-6,
    (100000, 2): 9.9748679858776415247e-6,
    (100000, 100000): 3.9477331140555530586e-8,
}

sizes = st.integers(1, 100_000)


def q(d: int, n: int) -> float:
    return gaussian_weight_variance(fan_in=n, fan_out=d)


def by_parabolic_cylinder(d: int, n: int) -> mp.mpf:
    """(1/d) int A(t) phi(t)^(n-1) dt, both factors as Tricomi functions, 20 digits."""
    with mp.workdps(20):
        half = mp.mpf(1) / 2
        constant = mp.gamma(d + 1) / mp.gamma(half * d) / mp.mpf(2) ** (d - half)

        def integrand(t):
            tilted = constant * mp.hyperu(half * (d + 1), half, t * t / 2)
            return tilted * (mp.hyperu(half, half, t * t / 2) / mp.sqrt(mp.pi)) ** (n - 1)

        m = 1 / (mp.sqrt(d) + (n - 1) * mp.sqrt(2 / mp.pi))
        edges = [0, m, *(5 * m * 10**k for k in range(7))]
        return mp.quad(integrand, edges, maxdegree=5, method="gauss-legendre") / d


def gauss_legendre(low: float, high: float, panels: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(40)
    edges = np.linspace(low, high, panels + 1)
    half = (edges[1] - edges[0]) / 2
    x = ((edges[:-1] + half)[:, None] + half * nodes).ravel()
    return x, np.tile(half * weights, panels)


def by_double_integral(d: int, n: int) -> float:
    """The same expectation from the normalised density of R itself; sizes of at least 20."""
    r, wr = gauss_legendre(max(math.sqrt(d) - 13, 1e-9), math.sqrt(d) + 10, 8)
    log_density = (d - 1) * np.log(r) - r * r / 2 - (d / 2 - 1) * math.log(2) - gammaln(d / 2)
    centre = -math.log(math.sqrt(d) + n)
    s, ws = gauss_legendre(centre - 34, centre + 6, 12)
    t = np.exp(s)
    tilted = np.exp(log_density - np.outer(t, r)) @ (wr * r)
    return float(np.sum(ws * t * tilted * erfcx(t / math.sqrt(2)) ** (n - 1)) / d)


@pytest.mark.parametrize(("d", "n"), sorted(TABLE))
def test_the_table_is_met_to_1e_11_and_at_100000_to_1e_10(d, n):
    tolerance = 1e-10 if max(d, n) == 100_000 else 1e-11
    assert q(d, n) == pytest.approx(TABLE[d, n], rel=tolerance)


@pytest.mark.parametrize(("d", "n"), [(2, 2), (2, 7), (7, 2), (3, 12), (12, 5), (5, 60), (30, 4)])
def test_small_sizes_agree_with_the_parabolic_cylinder_integral(d, n):
    assert q(d, n) == pytest.approx(float(by_parabolic_cylinder(d, n)), rel=1e-10)


def test_twenty_random_sizes_agree_with_a_direct_double_integral():
    rng = np.random.default_rng(20)
    for d, n in np.exp(rng.uniform(np.log(20), np.log(1e5), (20, 2))).astype(int).tolist():
        # erfcx(t)^(n-1) by plain powers rounds at n * 1e-16.
        assert q(d, n) == pytest.approx(by_double_integral(d, n), rel=1e-10 + 1e-15 * n), (d, n)


@given(size=sizes)
@settings(deadline=None, max_examples=30)
def test_one_input_or_one_output_is_exact(size):
    assert q(size, 1) == 1 / size
    assert q(1, size) == 1 / size


def test_two_by_two_is_the_closed_form():
    exact = math.log(1 + math.sqrt(2)) / (2 * math.sqrt(2))
    assert q(2, 2) == pytest.approx(exact, rel=1e-12)


@given(d=sizes, n=sizes)
@settings(deadline=None, max_examples=60)
def test_no_law_exceeds_the_bound_of_every_1_lipschitz_matrix(d, n):
    assert 0 < q(d, n) * max(d, n) <= 1
    assert random_q_weight_variance(fan_in=n, fan_out=d) * max(d, n) <= 1 + 1e-12


@given(d=st.integers(2, 3000), n=st.integers(2, 3000))
@settings(deadline=None, max_examples=30)
def test_more_inputs_or_outputs_shrink_every_entry(d, n):
    assert q(d + 1, n) < q(d, n)
    assert q(d, n + 1) < q(d, n)


@pytest.mark.parametrize(
    ("width", "log10_relu_gain"),
    [
        (16, -0.900441),
        (32, -1.029645),
        (64, -1.162280),
        (128, -1.298468),
        (256, -1.437880),
        (512, -1.579999),
        (1024, -1.724282),
        (2024, -1.867739),
        (4096, -2.017437),
        (8192, -2.165569),
    ],
)
def test_square_relu_gains_are_the_known_ones(width, log10_relu_gain):
    assert math.log10(width * q(width, width) / 2) == pytest.approx(log10_relu_gain, abs=6e-7)


@pytest.mark.parametrize(("width", "value"), [(64, 0.00192455925406), (256, 0.000263158153817)])
def test_random_q_has_the_known_values(width, value):
    assert random_q_weight_variance(fan_in=width, fan_out=width) == pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize(("d", "n"), [(2, 2), (5, 40), (40, 5), (64, 64)])
def test_random_q_of_little_spread_approaches_fixed_q(d, n):
    narrow = random_q_weight_variance(fan_in=n, fan_out=d, sigma=1e-4)
    assert narrow == pytest.approx(q(d, n), rel=1e-7)
    assert random_q_weight_variance(fan_in=n, fan_out=d, sigma=0) == q(d, n)


def test_random_q_of_rectangular_layers_agrees_with_simulation():
    rng = np.random.default_rng(5)
    for d, n, matrices in [(10, 40, 2000), (40, 10, 4000)]:
        v = rng.standard_normal((matrices, d, n))
        weigh = np.exp(rng.standard_normal((matrices, n)))
        gram = np.abs(v.transpose(0, 2, 1) @ v)
        sums = (gram * weigh[:, :, None]).sum(1) / weigh
        means = (v**2 / sums[:, None, :]).mean((1, 2))
        error = means.std() / math.sqrt(matrices)  # 0.2 %
        expected = random_q_weight_variance(fan_in=n, fan_out=d)
        assert abs(means.mean() - expected) < 5 * error
        assert error < 0.005 * expected


@pytest.mark.parametrize("function", [gaussian_weight_variance, random_q_weight_variance])
def test_sizes_below_one_are_refused_by_name(function):
    with pytest.raises(ValueError, match=r"fan_in must be an int .* Got 0 instead"):
        function(fan_in=0, fan_out=3)
    with pytest.raises(ValueError, match=r"fan_out must be an int .* Got -1 instead"):
        function(fan_in=3, fan_out=-1)


@pytest.mark.parametrize("sigma", [-1.0, math.inf, math.nan])
def test_a_spread_that_is_no_spread_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma"):
        random_q_weight_variance(fan_in=3, fan_out=3, sigma=sigma)


def test_the_quadrature_takes_less_than_5_ms():
    seconds = []
    for n in range(1000, 1021):
        start = time.perf_counter()
        gaussian_weight_variance.__wrapped__(fan_in=n, fan_out=2 * n)
        seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[10] < 5e-3
