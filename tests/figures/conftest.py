"""Every figure at a tiny setting, in place of its sizes."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest

from lipexp.figures import FIGURES
from lipexp.figures.trainings import Data

_SIGNALS = {
    "width": 16,
    "depth": 15,
    "inputs": 12,
    "networks": 3,
    "dtype": "float64",
    "seed": 0,
    "histograms": [1, 15],
}
_GRADIENTS = {**_SIGNALS, "histograms": [2, 15]}
TINY = {
    "weight_variance": {"sizes": [1, 2, 5], "matrices": 20, "seed": 0},
    "gnd_bounds": {"matrices": 60, "matrices_also": 20, "seed": 0},
    "product_density": {"samples": 2_000, "seed": 0},
    "forward_variance": {**_SIGNALS, "bias": "zero"},
    "forward_histograms": {**_SIGNALS, "bias": "zero"},
    "forward_variance_bias": {**_SIGNALS, "bias": "normal"},
    "forward_histograms_bias": {**_SIGNALS, "bias": "normal"},
    "input_variance_bias": {
        "width": 16,
        "depth": 30,
        "networks": 2,
        "inputs": 6,
        "seed": 0,
        "later": {"width": 32, "depth": 8, "networks": 3},
    },
    "gradient_variance": {**_GRADIENTS, "bias": "zero", "networks": 8},
    "gradient_variance_bias": {**_GRADIENTS, "bias": "normal", "networks": 8},
    "gradient_variance_group": {**_GRADIENTS, "bias": "zero", "networks": 8},
    "gradient_histograms": {**_GRADIENTS, "bias": "zero", "networks": 8},
    "residual_law": {"widths": [16, 32], "depth": 10, "networks": 3, "inputs": 5, "seed": 0},
    "ldlt_variance": {"widths": [1, 4, 16], "entries": 4_000, "least": 20, "seed": 0},
    "ldlt_series": {
        "width": 16,
        "matrices": 20,
        "points": 9,
        "low": 0.01,
        "high": 4.0,
        "seed": 0,
    },
    "aolk_decay": {"matrices": {"16": 5, "24": 3}, "most": 5, "seed": 0},
    "typical_rate": {
        "layers": {"16": 120, "64": 40},
        "networks": 2,
        "inputs": 4,
        "other_width": 64,
        "seed": 0,
    },
    "decay_atlas": {
        "widths": {"16": [10, 4]},
        "biases": ["zero", "normal"],
        "head": 2,
        "deep": [],
        "deep_below": 0.05,
        "seed": 0,
    },
}
_TRAINING = {"epochs": 1, "seeds": [0]}
TRAINED = {
    "covertype": {**_TRAINING, "depths": [2], "width": 8, "batch": 64},
    "cifar10_feedforward": {
        **_TRAINING,
        "cases": ["AOL, zero bias", "AOL, orthogonal, maxmin"],
        "depths": [2, 6],
        "width": 8,
        "batch": 64,
    },
    "residual_sll": {
        "dense": {"width": 8, "depth": 2, "epochs": 1, "batch": 64},
        "convolutional": {"width": 2, "depth": 5, "epochs": 1, "batch": 256},
        "biases": ["default", "corrected"],
        "seeds": [0],
    },
    "cures": {**_TRAINING, "datasets": ["mnist"], "depths": [2], "width": 8},
}


@pytest.fixture
def tiny(monkeypatch, tmp_path_factory):
    """All figures measure at their tiny setting, whatever the size; there is no data set."""
    monkeypatch.setenv("LIPEXP_DATA_DIR", str(tmp_path_factory.mktemp("no_data")))
    monkeypatch.setattr("lipexp.figures.atlas_rates.INITS", ("normal", "orthogonal"))
    _shrink(monkeypatch, TINY)


@pytest.fixture
def tiny_trainings(monkeypatch):
    """Figures that train do so on digits, in place of their data set, for an epoch."""
    digits = Data("digits", {}, "digits, not the published files: a test")
    for name in TRAINED:
        monkeypatch.setattr(f"lipexp.figures.{name}.data_of", lambda asked: digits)
    _shrink(monkeypatch, TRAINED)


def _shrink(monkeypatch, settings_of):
    for name, setting in settings_of.items():
        module = import_module(f"lipexp.figures.{name}")
        settings = {"small": setting, "paper": {**setting, "seed": 1}}
        monkeypatch.setattr(module, "FIGURE", replace(FIGURES[name], settings=settings))
