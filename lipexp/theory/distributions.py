"""The generalised normal distribution (GND), its square (SGND) and the product of two (PGND)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, gammainc, gammaincc, kv, sici

from lipexp.theory.contour import one_minus_transform


def _check(**scales: float) -> None:
    for name, value in scales.items():
        if not 0 < value < math.inf and not (name == "beta" and value == math.inf):
            raise ValueError(f"{name} must be a positive float. Got {value} instead.")


def _gamma_ratio(power: float, beta: float) -> float:
    """Gamma((power + 1) / beta) / Gamma(1 / beta); 1 / (power + 1) for beta = inf."""
    if math.isinf(beta):
        return 1 / (power + 1)
    return math.exp(math.lgamma((power + 1) / beta) - math.lgamma(1 / beta))


@dataclass(frozen=True)
class GND:
    """X with density beta / (2 alpha Gamma(1/beta)) exp(-(|x|/alpha)^beta), x real.

    beta = 1 is Laplace with scale alpha, 2 normal with variance alpha^2 / 2, inf uniform on
    (-alpha, alpha).  E |X|^s = alpha^s Gamma((s+1)/beta) / Gamma(1/beta).  Methods take arrays of x
    or t.  Raises ValueError for alpha or beta that is not positive, or infinite (beta may be).
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _check(alpha=self.alpha, beta=self.beta)

    @classmethod
    def unit_variance(cls, beta: float) -> GND:
        _check(beta=beta)
        return cls(1 / math.sqrt(_gamma_ratio(2, beta)), beta)

    def pdf(self, x):
        u = np.abs(x) / self.alpha
        if math.isinf(self.beta):
            return np.where(u < 1, 1 / (2 * self.alpha), 0.0)
        return np.exp(-(u**self.beta)) / (2 * self.alpha * math.gamma(1 + 1 / self.beta))

    def cdf(self, x):
        """1/2 + sign(x) P(1/beta, (|x|/alpha)^beta) / 2, P the regularised incomplete gamma."""
        outside = self.tail(x) / 2
        return np.where(np.asarray(x) < 0, outside, 1 - outside)

    def tail(self, x):
        """P(|X| > |x|)."""
        u = np.abs(x) / self.alpha
        if math.isinf(self.beta):
            return np.maximum(1 - u, 0.0)
        return gammaincc(1 / self.beta, u**self.beta)

    def absolute_moment(self, power: float) -> float:
        """E |X|^power, power > -1."""
        return self.alpha**power * _gamma_ratio(power, self.beta)

    def moment(self, order: int) -> float:
        """E X^order: 0 for odd orders."""
        return 0.0 if order % 2 else self.absolute_moment(order)

    @property
    def variance(self) -> float:
        return self.absolute_moment(2)

    @property
    def kurtosis(self) -> float:
        """E X^4 / (E X^2)^2: 3 for the normal (not the excess over it)."""
        return _gamma_ratio(4, self.beta) / _gamma_ratio(2, self.beta) ** 2

    def characteristic_function(self, t):
        """E exp(i t X), real.  Normal, Laplace and uniform in closed form, else by quadrature."""
        s = self.alpha * np.abs(np.asarray(t, dtype=float))
        if self.beta == 1:
            return 1 / (1 + s * s)
        if self.beta == 2:
            return np.exp(-s * s / 4)
        if math.isinf(self.beta):
            return np.sinc(s / np.pi)
        missing = one_minus_transform(
            lambda w: np.exp(-(w**self.beta)) / math.gamma(1 + 1 / self.beta),
            s,
            sector=math.pi / (2 * self.beta),
            low=-40,
            high=math.log(60) / self.beta,
        )
        return 1 - missing.real

    def sample(self, generator: np.random.Generator, size) -> np.ndarray:
        """alpha sign Gamma(1/beta, 1)^(1/beta), or uniform."""
        if math.isinf(self.beta):
            return generator.uniform(-self.alpha, self.alpha, size)
        sign = np.where(generator.random(size) < 0.5, -1.0, 1.0)
        return self.alpha * sign * generator.standard_gamma(1 / self.beta, size) ** (1 / self.beta)


@dataclass(frozen=True)
class SGND:
    """Y = X^2 with X a GND(alpha, beta): a generalised gamma distribution on y > 0.

    Density beta / (2 alpha Gamma(1/beta)) y^(-1/2) exp(-(sqrt y/alpha)^beta); E Y^k =
    alpha^(2k) Gamma((2k+1)/beta) / Gamma(1/beta).  It is scipy's
    ``gengamma(a=1/beta, c=beta/2, scale=alpha^2)``.  Raises ValueError as `GND`.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        _check(alpha=self.alpha, beta=self.beta)

    @property
    def root(self) -> GND:
        """The distribution of X."""
        return GND(self.alpha, self.beta)

    def pdf(self, y):
        y = np.asarray(y, dtype=float)
        with np.errstate(divide="ignore"):
            density = self.root.pdf(np.sqrt(np.maximum(y, 0))) / np.sqrt(np.abs(y))
        return np.where(y >= 0, density, 0.0)

    def cdf(self, y):
        """P(1/beta, (y/alpha^2)^(beta/2)), P the regularised incomplete gamma."""
        v = np.maximum(y, 0.0) / self.alpha**2
        if math.isinf(self.beta):
            return np.minimum(np.sqrt(v), 1.0)
        return gammainc(1 / self.beta, v ** (self.beta / 2))

    def moment(self, order: float) -> float:
        """E Y^order, order > -1/2."""
        return self.root.absolute_moment(2 * order)

    @property
    def variance(self) -> float:
        return self.moment(2) - self.moment(1) ** 2

    @property
    def kurtosis(self) -> float:
        """E (Y - E Y)^4 / Var(Y)^2."""
        m1, m2, m3, m4 = (self.moment(k) for k in (1, 2, 3, 4))
        return (m4 - 4 * m3 * m1 + 6 * m2 * m1**2 - 3 * m1**4) / self.variance**2

    def characteristic_function(self, t):
        """E exp(i t Y), complex.  Normal and uniform roots in closed form, else by quadrature."""
        t = np.asarray(t, dtype=float)
        s = self.alpha**2 * t
        if self.beta == 2:
            return (1 - 1j * s) ** -0.5
        if math.isinf(self.beta):  # int_0^1 exp(i s u^2) du
            root = np.sqrt(-1j * np.where(s == 0, 1.0, s))
            return np.where(s == 0, 1.0, math.sqrt(math.pi) / 2 * erf(root) / root)
        half = self.beta / 2
        missing = one_minus_transform(
            lambda w: np.exp(-(w**half)) / np.sqrt(w) / (2 * math.gamma(1 + 1 / self.beta)),
            s,
            sector=math.pi / self.beta,
            low=-75,
            high=math.log(60) / half,
        )
        value = 1 - missing
        return np.where(s < 0, value.conj(), value)

    def sample(self, generator: np.random.Generator, size) -> np.ndarray:
        return self.root.sample(generator, size) ** 2


@dataclass(frozen=True)
class PGND:
    """Z = X X' with independent X ~ GND(alpha, beta), X' ~ GND(alpha2, beta); A = alpha alpha2.

    Density beta / (A Gamma(1/beta)^2) K_0(2 (|z|/A)^(beta/2)), infinite at 0; for beta = inf
    ln(A/|z|) / (2 A).  E |Z|^s = A^s (Gamma((s+1)/beta) / Gamma(1/beta))^2.  Raises ValueError as
    `GND`.
    """

    alpha: float
    beta: float
    alpha2: float = 1.0

    def __post_init__(self) -> None:
        _check(alpha=self.alpha, beta=self.beta, alpha2=self.alpha2)

    @classmethod
    def unit_variance(cls, beta: float) -> PGND:
        _check(beta=beta)
        return cls(1 / _gamma_ratio(2, beta), beta)

    @property
    def scale(self) -> float:
        """A."""
        return self.alpha * self.alpha2

    def _unscaled_pdf(self, w):
        """Density of |Z| / A on the right half plane, beta finite."""
        front = 2 * self.beta / math.gamma(1 / self.beta) ** 2
        argument = 2 * w ** (self.beta / 2)
        tiny = np.abs(argument) < 1e-100  # K_0(x) = -ln(x/2) - gamma there, and x may underflow
        with np.errstate(divide="ignore"):
            near = -self.beta / 2 * np.log(w) - np.euler_gamma
        return front * np.where(tiny, near, kv(0, np.where(tiny, 1.0, argument)))

    def pdf(self, z):
        w = np.abs(np.asarray(z, dtype=float)) / self.scale
        if not math.isinf(self.beta):
            return self._unscaled_pdf(w) / (2 * self.scale)
        with np.errstate(divide="ignore"):
            return np.maximum(-np.log(w), 0.0) / (2 * self.scale)

    def cdf(self, z):
        """By the trapezoid rule in ln |X'| over the tails of X."""
        z = np.asarray(z, dtype=float)
        w = np.abs(z) / self.scale
        if math.isinf(self.beta):
            safe = np.clip(w, 1e-300, 1.0)
            outside = 1 - safe * (1 - np.log(safe))
        else:
            step = 0.1 / max(1.0, self.beta)
            y = np.arange(-40, math.log(60) / self.beta, step)
            weights = np.exp(y - np.exp(self.beta * y))
            tails = GND(1.0, self.beta).tail(np.multiply.outer(w, np.exp(-y)))
            outside = tails @ (weights / weights.sum())
        return np.where(z < 0, outside / 2, 1 - outside / 2)

    def absolute_moment(self, power: float) -> float:
        """E |Z|^power, power > -1."""
        return self.scale**power * _gamma_ratio(power, self.beta) ** 2

    def moment(self, order: int) -> float:
        """E Z^order: 0 for odd orders."""
        return 0.0 if order % 2 else self.absolute_moment(order)

    @property
    def variance(self) -> float:
        return self.absolute_moment(2)

    @property
    def kurtosis(self) -> float:
        """E Z^4 / (E Z^2)^2, the square of the factors'."""
        return GND(1.0, self.beta).kurtosis ** 2

    def one_minus_characteristic_function(self, t):
        """1 - E exp(i t Z), real, to about 1e-15 min(1, t) where there is no closed form.

        Closed forms: normal, Laplace and uniform factors.
        """
        s = self.scale * np.abs(np.asarray(t, dtype=float))
        if self.beta == 2:  # 1 - (1 + s^2/4)^(-1/2)
            return -np.expm1(-np.log1p(s * s / 4) / 2)
        if math.isinf(self.beta):
            with np.errstate(invalid="ignore"):
                return np.where(s < 0.01, _uniform_series(s), 1 - sici(s)[0] / s)
        missing = one_minus_transform(
            self._unscaled_pdf,
            s,
            sector=math.pi / self.beta,
            low=-45,
            high=2 * math.log(40) / self.beta,
        )
        return missing.real

    def characteristic_function(self, t):
        """E exp(i t Z), real.

        With s = A |t|: (1 + s^2/4)^(-1/2) for normal factors, Si(s)/s for uniform ones,
        x (Ci(x) sin x + (pi/2 - Si(x)) cos x) with x = 1/s for Laplace; else by quadrature.
        """
        if self.beta != 1:
            return 1 - self.one_minus_characteristic_function(t)
        s = self.scale * np.abs(np.asarray(t, dtype=float))
        x = 1 / np.maximum(s, 1e-6)  # below 1e-6 the function is 1 - 4 s^2
        si, ci = sici(x)
        value = x * (ci * np.sin(x) + (np.pi / 2 - si) * np.cos(x))
        return np.where(s < 1e-3, 1 - self.one_minus_characteristic_function(t), value)

    def sample(self, generator: np.random.Generator, size) -> np.ndarray:
        first = GND(self.alpha, self.beta).sample(generator, size)
        return first * GND(self.alpha2, self.beta).sample(generator, size)


def _uniform_series(s: np.ndarray) -> np.ndarray:
    """1 - Si(s)/s near 0."""
    return s * s / 18 * (1 - 3 * s * s / 100 * (1 - 25 * s * s / 1470))
