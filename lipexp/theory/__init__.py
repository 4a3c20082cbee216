"""Laws of signal decay at initialisation: numpy and scipy.special only, imported at first use.

NOTES.md beside this file derives what is implemented.  All logarithms are base 10.
"""

from lipexp.lazy import lazy

_HOMES = {
    "GND": "distributions",
    "ImageLayer": "image_layers",
    "LEAKY_SLOPE": "activations",
    "PGND": "distributions",
    "Profile": "profiles",
    "SGND": "distributions",
    "aol_k": "aolk",
    "bias_variance": "bias",
    "carrying": "rates",
    "convolution_weight_variance": "convolution",
    "decay_per_layer": "rates",
    "delta_corrected_weight_variance": "mean_field",
    "free_weight_variance": "inits",
    "gaussian_weight_variance": "gaussian",
    "image_profile": "images",
    "ldlt_limit_variance": "ldlt",
    "ldlt_series": "ldlt",
    "ldlt_variance": "ldlt",
    "mean_absolute_overlap": "overlaps",
    "mean_field_convolution_weight_variance": "convolution",
    "mean_field_residual_gain": "mean_field",
    "mean_field_weight_variance": "mean_field",
    "mean_norm": "overlaps",
    "orthogonal_weight_variance": "orthogonal",
    "output_sum_factor": "cotangent",
    "printed_bounds": "mean_field",
    "profile": "profiles",
    "random_q_residual_gain": "residual_random_q",
    "random_q_weight_variance": "gaussian",
    "residual_convolution_gain": "residual_convolution",
    "residual_gain": "residual",
    "sample_aol_k_variance": "aolk",
    "sample_ldlt_variance": "ldlt",
    "spectral_weight_variance": "spectral",
    "square_asymptote": "mean_field",
    "weight_variance_bound": "mean_field",
}

__getattr__, __dir__ = lazy(__name__, {name: f"{__name__}.{at}" for name, at in _HOMES.items()})
