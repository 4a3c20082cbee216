"""What the laws need to know of an activation: moments of phi(z) for z standard normal."""

from __future__ import annotations

from dataclasses import dataclass

LEAKY_SLOPE = 0.01
"""Slope of ``leaky_relu`` for negative arguments; also torch's default."""


@dataclass(frozen=True)
class ActivationLaw:
    """phi with slope 1 for z > 0 and ``slope`` for z < 0, or a norm-preserving map of its moments.

    ``residual`` is whether it may stand inside a residual SLL block (elementwise, slopes in
    [0, 1]); ``small_signals`` whether it is what it is said to be only where |z| is small.
    """

    slope: float
    residual: bool
    elementwise: bool = True
    small_signals: bool = False

    @property
    def second_moment(self) -> float:
        """c_phi = E phi(z)^2 / E z^2: the share of the second moment that passes."""
        return (1 + self.slope**2) / 2

    @property
    def fourth_moment(self) -> float:
        """E phi(z)^4 / (E phi(z)^2)^2: 6 for relu, 3 where norms are preserved."""
        return 6 * (1 + self.slope**4) / (1 + self.slope**2) ** 2

    @property
    def sixth_moment(self) -> float:
        """E phi(z)^6 / (E phi(z)^2)^3: 60 for relu, 15 where norms are preserved."""
        return 60 * (1 + self.slope**6) / (1 + self.slope**2) ** 3

    @property
    def overlap(self) -> float:
        """E z phi(z) / E z^2: what a residual block takes off along its own direction."""
        return (1 + self.slope) / 2

    @property
    def preserves_norm(self) -> bool:
        return self.slope**2 == 1

    @property
    def linear(self) -> bool:
        return self.slope == 1 and self.elementwise

    @property
    def iterates(self) -> bool:
        """Whether phi applied k times has slopes +-1 and slope^k, as identity layers apply it."""
        return not self.small_signals and (0 <= self.slope <= 1 or self.slope == -1)

    def iterated_second_moment(self, times: float) -> float:
        """c of phi applied so many times, on a symmetric z."""
        return (1 + abs(self.slope) ** (2 * times)) / 2


def activation_law(name: str, slope: float = LEAKY_SLOPE) -> ActivationLaw | None:
    """The law of an activation by name; None for a name without one.

    maxmin permutes the entries of each pair, so all its moments are those of the identity; tanh is
    the identity where the signal is small.
    """
    laws = {
        "relu": ActivationLaw(0.0, residual=True),
        "leaky_relu": ActivationLaw(slope, residual=0 <= slope <= 1),
        "abs": ActivationLaw(-1.0, residual=False),
        "maxmin": ActivationLaw(1.0, residual=False, elementwise=False),
        "identity": ActivationLaw(1.0, residual=True),
        "tanh": ActivationLaw(1.0, residual=True, small_signals=True),
    }
    return laws.get(name)


def residual_activation_law(name: str, slope: float = LEAKY_SLOPE) -> ActivationLaw:
    """`activation_law` of one inside a residual SLL block; ValueError where it has no place."""
    law = activation_law(name, slope)
    if law is None or not law.residual:
        raise ValueError(
            f"activation must be elementwise with slopes in [0, 1]. Got {name!r} instead."
        )
    return law
