"""What a training tells: a line per epoch, its headline numbers, its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from lipexp.config import Request
from lipexp.data import input_word
from lipexp.runs.device import device_name
from lipexp.runs.plan import describe
from lipexp.runs.summary import measured_over, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def epoch_line(row: dict[str, Any], epochs: int, word: str) -> str:
    """One row of metrics.csv, in a line that stays; ``word``: what an input is called."""
    return (
        f"epoch {row['epoch']} of {epochs}: loss {row['train_loss']:.4f}, "
        f"accuracy {100 * row['test_accuracy']:.2f} %{_validation(row)}"
        f"{_shares_and_speed(row, word)}"
    )


def epoch_note(row: dict[str, Any], word: str) -> str:
    """What the bar says of the last epoch."""
    return f", accuracy {100 * row['test_accuracy']:.1f} %{_shares_and_speed(row, word)}"


def _validation(row: dict[str, Any]) -> str:
    held_out = row.get("validation_accuracy")
    return "" if held_out is None else f", validation {100 * held_out:.2f} %"


def _shares_and_speed(row: dict[str, Any], word: str) -> str:
    cra = {k.removeprefix("estimated_cra_"): v for k, v in row.items() if k.startswith("estimated")}
    shares = "".join(f", CRA@{eps} ~{100 * share:.2f} %" for eps, share in cra.items())
    return f"{shares}, {row['images_per_second']:,.0f} {word}s/s"


def chance_warning(accuracy: float, labels: pd.Series) -> str | None:
    """Where a trained network is right no more often than one that always names one class."""
    share = float(labels.value_counts(normalize=True).max())
    if accuracy > share:
        return None
    return (
        f"the accuracy is at chance: always naming the most frequent class gives "
        f"{100 * share:.2f} %; another task.lr, init or depth may learn"
    )


def training_figures(
    request: Request,
    metrics: pd.DataFrame,
    certificates: pd.DataFrame,
    layers: pd.DataFrame | None,
    device: torch.device,
) -> dict[str, Figure]:
    """By name, of the tables of a training; ``layers``: None where none was probed."""
    from lipexp.plots import certificates as of_certificates
    from lipexp.plots import training as of_training

    title, eps = describe(request), request.task["eps"]
    dataset = request.dataset["name"]
    word, over = input_word(dataset), measured_over(dataset)
    trained = f"{plural(request.task['epochs'], 'epoch')}, {request.dtype}, {device_name(device)}"
    tested = f"{plural(len(certificates), f'test {word}')}, certified in float64; {trained}"
    figures = {"learning_curves": of_training.learning_curves(metrics, title, trained)}
    for draw in (of_certificates.certified_accuracy, of_certificates.radius_histogram):
        figures[draw.__name__] = draw(certificates, eps, title, over, tested, word)
    if layers is not None and not layers.empty:
        figures["layers_over_training"] = of_training.layers_over_training(layers, title, trained)
    return figures
