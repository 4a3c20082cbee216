"""Laws of signal decay at initialisation: numpy and scipy.special only, imported at first use.

NOTES.md beside this file derives what is implemented.  All logarithms are base 10.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipexp.theory.activations import LEAKY_SLOPE
    from lipexp.theory.bias import bias_variance
    from lipexp.theory.gaussian import gaussian_weight_variance, random_q_weight_variance
    from lipexp.theory.orthogonal import orthogonal_weight_variance
    from lipexp.theory.profiles import Profile, profile
    from lipexp.theory.rates import carrying, decay_per_layer
    from lipexp.theory.residual import residual_gain

__all__ = [
    "LEAKY_SLOPE",
    "Profile",
    "bias_variance",
    "carrying",
    "decay_per_layer",
    "gaussian_weight_variance",
    "orthogonal_weight_variance",
    "profile",
    "random_q_weight_variance",
    "residual_gain",
]

_HOMES = {
    "LEAKY_SLOPE": "activations",
    "Profile": "profiles",
    "bias_variance": "bias",
    "carrying": "rates",
    "decay_per_layer": "rates",
    "gaussian_weight_variance": "gaussian",
    "orthogonal_weight_variance": "orthogonal",
    "profile": "profiles",
    "random_q_weight_variance": "gaussian",
    "residual_gain": "residual",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
