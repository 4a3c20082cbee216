"""Laws of signal decay at initialisation: numpy and scipy.special only, imported at first use.

NOTES.md beside this file derives what is implemented.  All logarithms are base 10.
"""

from lipexp.lazy import lazy

_HOMES = {
    "LEAKY_SLOPE": "activations",
    "Profile": "profiles",
    "bias_variance": "bias",
    "carrying": "rates",
    "decay_per_layer": "rates",
    "free_weight_variance": "inits",
    "gaussian_weight_variance": "gaussian",
    "orthogonal_weight_variance": "orthogonal",
    "profile": "profiles",
    "random_q_weight_variance": "gaussian",
    "residual_gain": "residual",
}

__getattr__, __dir__ = lazy(__name__, {name: f"{__name__}.{at}" for name, at in _HOMES.items()})
