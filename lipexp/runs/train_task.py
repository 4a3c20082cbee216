"""Training as a task: epochs with a checkpoint each, probes on the way, certificates at the end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lipexp import data
from lipexp.certification import certify, margin_constants
from lipexp.config import Request
from lipexp.errors import RunError
from lipexp.layers import frozen
from lipexp.probing.probe import probe
from lipexp.rationals import parse_eps
from lipexp.runs.device import choose_device, device_name, threads_for
from lipexp.runs.digest import plural
from lipexp.runs.epoch_tables import EpochTable
from lipexp.runs.headlines import warning
from lipexp.runs.job import CHECKPOINT, Progress, Result
from lipexp.runs.layer_table import layer_table
from lipexp.runs.plan import build, check_plan, describe
from lipexp.runs.provenance import provenance
from lipexp.runs.size import check_size
from lipexp.streams import stream
from lipexp.training import checkpoint
from lipexp.training.examples import Examples, hold_out
from lipexp.training.loop import Diverged, EpochMetrics, Training, evaluate
from lipexp.training.recipe import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROBE_INPUTS = 1000
PROBE_INPUTS_OF_IMAGES = 100  # through convolutions, where a layer's signals are large
EVALUATION_BATCH = 1000


def prepare(request: Request) -> TrainJob:
    """Checks what needs torch and the data; raises UserError before anything is left on disk."""
    device = choose_device(request.device)
    dataset = data.load(request.dataset["name"], **request.group_keys("dataset"))
    check_plan(request)
    check_size(request, math.prod(dataset.shape))
    train, validation = dataset.train, None
    if request.task["validation"]:
        train, validation = hold_out(train, request.task["validation"], request.seed)
    path = request.folder / CHECKPOINT
    if path.exists() and not request.force:
        checkpoint.peek(path, request.identity())
    return TrainJob(request, device, dataset, train, validation)


def recipe_of(request: Request) -> Recipe:
    task = request.task
    return Recipe(
        epochs=task["epochs"],
        batch=request.batch,
        optimizer=task["optimizer"],
        lr=task["lr"],
        weight_decay=task["weight_decay"],
        schedule=task["schedule"],
        offset=task["loss"]["offset"],
        temperature=task["loss"]["temperature"],
        augment=task["augment"],
    )


def probe_epochs(wanted: str | list[int], epochs: int) -> set[int]:
    """The epochs after which layers are probed: 0, 1, 2, 5, 10, ... and the last."""
    if wanted != "auto":
        return set(wanted)
    round_numbers = {digit * 10**power for power in range(7) for digit in (1, 2, 5)}
    return {0, *(number for number in round_numbers if number < epochs), epochs}


@dataclass
class TrainJob:
    """A training that is ready to run."""

    request: Request
    device: torch.device
    dataset: data.Dataset
    train: data.Split
    validation: data.Split | None
    unit = "steps"
    log: list[str] = field(default_factory=list)

    def run(self, folder: Path, progress: Progress) -> Result:
        request, began = self.request, time.perf_counter()
        training = self._start(folder)
        resumed = training.epoch
        if resumed:
            self._say(progress, f"goes on after epoch {resumed}, from {folder / CHECKPOINT}")
        try:
            warned = self._epochs(training, folder, progress)
        except Diverged as error:
            raise RunError(f"{error}; {_last_good(folder)}") from error
        except KeyboardInterrupt as error:
            if not error.args and (folder / CHECKPOINT).exists():
                error.args = (f"{training.epoch} epochs are kept; the same command goes on",)
            raise
        network = training.network.eval()
        certificates = self._certify(network)
        metrics = pd.read_csv(folder / "metrics.csv")
        summary = {
            "name": request.name,
            "task": "train",
            **certificate_numbers(certificates, request),
            "epochs": training.epoch,
            "train_loss": float(metrics["train_loss"].iloc[-1]),
            "images_per_second": float(metrics["images_per_second"].median()),
            "training_seconds": float(metrics["seconds"].sum()),
            "parameters": sum(p.numel() for p in network.parameters()),
            "train_images": len(self.train),
            "warning": warned,
            **provenance(self.dataset, request.dtype, self.device),
            "seconds": round(time.perf_counter() - began, 3),
        }
        layers = pd.read_csv(folder / "layers.csv") if (folder / "layers.csv").exists() else None
        figures = _figures(request, metrics, certificates, layers, self.device)
        return Result({"certificates.csv": certificates}, figures, summary, self.log)

    def _say(self, progress: Progress, line: str) -> None:
        self.log.append(line)
        progress.line(line)

    def _start(self, folder: Path) -> Training:
        """The training as it begins, or where its checkpoint left it."""
        request = self.request
        network = build(request, dtype=getattr(torch, request.dtype)).to(self.device)
        if self.device.type == "cuda" and request.network["name"] != "mlp":
            network = network.to(memory_format=torch.channels_last)
        examples = Examples.of(self.train, self.device)
        training = Training(network, recipe_of(request), examples, request.seed)
        path = folder / CHECKPOINT
        if path.exists():
            checkpoint.load(path, training, request.identity())
        return training

    def _epochs(self, training: Training, folder: Path, progress: Progress) -> str | None:
        """Trains to the end; returns the warning that goes with the network's start."""
        request = self.request
        resumed = training.epoch
        metrics = EpochTable(folder / "metrics.csv", epoch=resumed or -1)
        layers = EpochTable(folder / "layers.csv", epoch=resumed or -1)
        wanted = probe_epochs(request.task["probe_epochs"], request.task["epochs"])
        splits = {"test": Examples.of(self.dataset.test, self.device)}
        if self.validation is not None:
            splits["validation"] = Examples.of(self.validation, self.device)
        table = self._probe(training.network, epoch=0) if not resumed else None
        warned = self._warning(table, folder)
        if warned and not resumed:
            self._say(progress, f"warning: {warned}")
        if 0 in wanted and table is not None:
            layers.add(table)

        def note(done: int, total: int, loss: float | None) -> None:
            said = "" if loss is None else f"loss {loss:.4f}"
            progress(done, total, f"{said}{latest[0]}")

        latest = [" "]
        while training.epoch < request.task["epochs"]:
            found = training.run_epoch(note)
            row = self._row(training.network, found, splits)
            metrics.add(pd.DataFrame([row]))
            if training.epoch in wanted:
                layers.add(self._probe(training.network, epoch=training.epoch))
            checkpoint.save(folder / CHECKPOINT, training, request.identity())
            line, latest[0] = _line(row, request.task["epochs"]), _short(row)
            self._say(progress, line)
        return warned

    def _row(
        self, network: nn.Module, found: EpochMetrics, splits: dict[str, Examples]
    ) -> dict[str, Any]:
        """One row of metrics.csv."""
        request = self.request
        dtype = getattr(torch, request.dtype)
        eps = [parse_eps(name) for name in request.task["eps"]]
        constants, still = self._constants(network), frozen(network)
        row: dict[str, Any] = {
            "epoch": found.epoch,
            "step": found.step,
            "lr": found.lr,
            "train_loss": found.train_loss,
            "train_accuracy": found.train_accuracy,
        }
        for name, examples in splits.items():
            result = evaluate(still, examples, constants, eps, EVALUATION_BATCH, dtype)
            prefix = "" if name == "test" else f"{name}_"
            row[f"{name}_accuracy"] = result.accuracy
            row |= {f"{prefix}estimated_cra_{e}": s for e, s in result.estimated_cra.items()}
        return row | {
            "seconds": found.seconds,
            "images_per_second": found.images_per_second,
        }

    def _constants(self, network: nn.Module) -> torch.Tensor:
        return margin_constants(network, int(self.dataset.classes))

    def _probe(self, network: nn.Module, *, epoch: int) -> pd.DataFrame:
        """Rows of layers.csv: a float64 copy of the network, a Gaussian cotangent."""
        request = self.request
        few = PROBE_INPUTS if request.network["name"] == "mlp" else PROBE_INPUTS_OF_IMAGES
        inputs, _ = data.draw_inputs(self.dataset, min(few, len(self.dataset.train)), request.seed)
        copied = build(request, dtype=torch.float64)
        copied.load_state_dict(network.state_dict())
        with threads_for(few * request.width):
            statistics = probe(
                [copied.to(self.device).eval()],
                torch.from_numpy(inputs).to(self.device),
                cotangent="gaussian",
                generators=[stream(request.seed, "cotangent", 0)],
                operator_norms=request.width <= PROBE_INPUTS,
            )
            return layer_table(statistics, request, cotangent="gaussian", epoch=epoch)[0]

    def _warning(self, table: pd.DataFrame | None, folder: Path) -> str | None:
        """What is to be known of the start: of its probe, or of the one in layers.csv."""
        if table is None:
            try:
                table = pd.read_csv(folder / "layers.csv")
            except (OSError, ValueError):
                return None
            table = table[table["epoch"] == 0]
        if table.empty:
            return None
        return warning(table, self.request)

    def _certify(self, network: nn.Module) -> pd.DataFrame:
        test, task = self.dataset.test, self.request.task
        return certify(
            network,
            test.inputs,
            test.labels,
            task["eps"],
            scale=test.scale,
            box=len(self.dataset.shape) == 3,
        )


def certificate_numbers(certificates: pd.DataFrame, request: Request) -> dict[str, Any]:
    """The headline numbers of certificates.csv."""
    right = certificates["prediction"] == certificates["label"]
    of_right = certificates["radius"][right]
    numbers: dict[str, Any] = {
        "test_images": len(certificates),
        "test_accuracy": float(right.mean()),
    }
    for name in request.task["eps"]:
        numbers[f"cra_{name}"] = float(certificates[f"certified_{name}"].mean())
    numbers |= {
        "median_radius": float(np.median(of_right)) if len(of_right) else None,
        "lipschitz_upper_bound": certificates.attrs["lipschitz_upper_bound"],
        "largest_slack": float(certificates["slack"].max()),
        "inside_slack": int((certificates["margin"].abs() <= certificates["slack"]).sum()),
    }
    return numbers


def _last_good(folder: Path) -> str:
    if (folder / CHECKPOINT).exists():
        return f"the last good checkpoint is {folder / CHECKPOINT}; a smaller task.lr may help"
    return "there is no checkpoint yet; a smaller task.lr may help"


def _shares(row: dict[str, Any]) -> str:
    cra = {k.removeprefix("estimated_cra_"): v for k, v in row.items() if k.startswith("estimated")}
    return "".join(f", CRA@{eps} ~{100 * share:.2f} %" for eps, share in cra.items())


def _line(row: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {row['epoch']} of {epochs}: loss {row['train_loss']:.4f}, accuracy "
        f"{100 * row['test_accuracy']:.2f} %{_shares(row)}, "
        f"{row['images_per_second']:,.0f} images/s"
    )


def _short(row: dict[str, Any]) -> str:
    """What the bar says of the last epoch."""
    return (
        f", accuracy {100 * row['test_accuracy']:.1f} %{_shares(row)}, "
        f"{row['images_per_second']:,.0f} images/s"
    )


def _figures(
    request: Request,
    metrics: pd.DataFrame,
    certificates: pd.DataFrame,
    layers: pd.DataFrame | None,
    device: torch.device,
) -> dict[str, Figure]:
    from lipexp.plots import certificates as of_certificates
    from lipexp.plots import training as of_training

    title, eps = describe(request), request.task["eps"]
    trained = f"{plural(request.task['epochs'], 'epoch')}, {request.dtype}, {device_name(device)}"
    tested = f"{plural(len(certificates), 'test image')}, certified in float64; {trained}"
    figures = {
        "learning_curves": of_training.learning_curves(metrics, title, trained),
        "certified_accuracy": of_certificates.certified_accuracy(certificates, eps, title, tested),
        "radius_histogram": of_certificates.radius_histogram(certificates, eps, title, tested),
    }
    if layers is not None and not layers.empty:
        figures["layers_over_training"] = of_training.layers_over_training(layers, title, trained)
    return figures
