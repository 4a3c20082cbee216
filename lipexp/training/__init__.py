"""Training: what can be chosen by name, and the classes and functions, imported at first use."""

from __future__ import annotations

from lipexp.lazy import lazy
from lipexp.registry import Entry, Registry

SCHEDULES = Registry(
    "schedule",
    {
        "onecycle": Entry(
            "lipexp.training.schedules:onecycle",
            "cosine from 1/25 up to the learning rate in the first 30 %, cosine down to 0",
        ),
        "cosine": Entry("lipexp.training.schedules:cosine", "cosine from the learning rate to 0"),
        "constant": Entry("lipexp.training.schedules:constant", "the learning rate throughout"),
    },
)

# What torch keeps of each parameter: a checkpoint has these and nothing else.
_MOMENTS = {"state": ("step", "exp_avg", "exp_avg_sq")}

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adam": Entry("lipexp.training.optimizers:adam", "Adam, betas 0.9 and 0.999", _MOMENTS),
        "adamw": Entry(
            "lipexp.training.optimizers:adamw",
            "Adam with weight decay apart from the gradient",
            _MOMENTS,
        ),
        "sgd": Entry(
            "lipexp.training.optimizers:sgd",
            "Nesterov momentum 0.9",
            {"state": ("momentum_buffer",)},
        ),
    },
)

AUGMENTATIONS = Registry(
    "augmentation",
    {
        "none": Entry("lipexp.training.augmentation:none", "images as they are"),
        "shift": Entry(
            "lipexp.training.augmentation:shift", "a random crop of the zero-padded image"
        ),
        "crop_flip": Entry(
            "lipexp.training.augmentation:crop_flip", "the same, and mirrored every other time"
        ),
    },
)

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Diverged": "lipexp.training.loop",
        "EpochMetrics": "lipexp.training.loop",
        "Evaluation": "lipexp.training.loop",
        "Examples": "lipexp.training.examples",
        "Recipe": "lipexp.training.recipe",
        "Training": "lipexp.training.loop",
        "evaluate": "lipexp.training.loop",
        "hold_out": "lipexp.training.examples",
        "offset_cross_entropy": "lipexp.training.losses",
    },
    ("AUGMENTATIONS", "OPTIMIZERS", "SCHEDULES"),
)
