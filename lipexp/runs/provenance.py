"""Where a run's numbers come from: versions, device, data, the code's commit."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lipexp import __version__
from lipexp.data import Dataset
from lipexp.runs.device import device_name


def provenance(dataset: Dataset, dtype: str, device: torch.device) -> dict[str, Any]:
    """The part of summary.json that says how its numbers were obtained."""
    train, test = dataset.count
    return {
        "dataset": dataset.name,
        "dataset_train": train,
        "dataset_test": test,
        "dataset_fingerprint": dataset.fingerprint,
        "dataset_verified": dataset.verified,
        "dtype": dtype,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "version": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def commit() -> str | None:
    """The commit of the clone this code runs from, 12 digits; None outside a clone."""
    git = Path(__file__).resolve().parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head[:12]
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()[:12]
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(reference):
                return line[:12]
    except OSError:
        return None
    return None
