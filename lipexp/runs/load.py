"""The network of a finished training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lipexp.config import Request, read
from lipexp.errors import UserError
from lipexp.runs.job import CHECKPOINT

if TYPE_CHECKING:
    from torch import nn

# Settings that decide what the weights compute; other keys tell how they were found.
OF_NETWORK = ("model.", "network.", "depth", "width", "bias", "activation", "dtype", "dataset.name")


def request_of(folder: str | Path) -> Request:
    """The request that made a run's folder.  Raises UserError for a folder that is none."""
    path = Path(folder) / "config.yaml"
    try:
        return read(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{folder} is not the folder of a run: no {path.name} to read") from error


def load(run: str | Path) -> nn.Module:
    """The trained network of a run's folder, on the CPU, in evaluation mode.

    It maps pixels in [0, 1], (batch, channels, height, width), or rows of a table to class scores.
    Raises UserError for a folder without a checkpoint, or with that of another network.
    """
    folder = Path(run)
    request = request_of(folder)
    path = folder / CHECKPOINT
    if not path.exists():
        raise UserError(f"{folder} has no {CHECKPOINT}, where a training keeps its network")
    from lipexp.runs.plan import build
    from lipexp.training.checkpoint import load_network

    network = build(request)
    trained = load_network(path, network)
    for key, now in request.identity().items():
        if key.startswith(OF_NETWORK) and str(was := trained.get(key, now)) != str(now):
            edited = f"and its config.yaml says {key}={now}"
            raise UserError(f"{folder} was trained with {key}={was}, {edited}")
    return network.eval()
