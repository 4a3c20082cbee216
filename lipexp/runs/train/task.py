"""Training as a task: epochs with a checkpoint each, probes on the way, certificates at the end."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

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
from lipexp.runs.device import choose_device, threads_for
from lipexp.runs.headlines import certificate_numbers, warning
from lipexp.runs.job import CHECKPOINT, Progress, Result
from lipexp.runs.layer_table import layer_table
from lipexp.runs.plan import build, check_plan, convolves, entries_of_a_signal
from lipexp.runs.provenance import provenance
from lipexp.runs.size import check_size
from lipexp.runs.summary import plural, round_numbers
from lipexp.runs.train.epoch_tables import EpochTable
from lipexp.runs.train.report import (
    chance_warning,
    epoch_line,
    epoch_note,
    training_figures,
)
from lipexp.streams import stream
from lipexp.training import AUGMENTATIONS, checkpoint
from lipexp.training.examples import Examples, hold_out
from lipexp.training.loop import Diverged, EpochMetrics, Training, evaluate
from lipexp.training.recipe import Recipe

PROBE_INPUTS = 1000
WIDEST_DECOMPOSED = 1024  # of wider matrices the operator norm would cost more than the epoch
PROBE_INPUTS_OF_IMAGES = 100  # through convolutions, where a layer's signals are large
EVALUATION_BATCH = 1000


def prepare(request: Request) -> TrainJob:
    """Checks what needs torch and the data; raises UserError before anything is left on disk."""
    device = choose_device(request.device)
    dataset = data.load(request.dataset["name"], **request.group_keys("dataset"))
    check_plan(request)
    check_size(request, math.prod(dataset.shape))
    train, validation = dataset.train, None
    AUGMENTATIONS[request.task["augment"]](dataset.shape)  # raises for a table
    if request.task["validation"]:
        train, validation = hold_out(train, request.task["validation"], request.seed)
    path = request.folder / CHECKPOINT
    if path.exists() and not request.force:
        checkpoint.check(path, request.identity())
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
    return {0, *round_numbers(epochs)}


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
        request = self.request
        training, changed = self._start(folder)
        if training.epoch:
            line = f"goes on after epoch {training.epoch}, from {folder / CHECKPOINT}"
            if changed:
                line += f"; last digits may differ: {', '.join(changed)}"
            self._say(progress, line)
        try:
            warned = self._epochs(training, folder, progress)
            network = training.network.eval()
            certificates = self._certify(network)
        except Diverged as error:
            raise RunError(f"{error}; {_last_good(folder)}") from error
        except KeyboardInterrupt as error:
            if not error.args and (folder / CHECKPOINT).exists():
                kept = plural(training.epoch, "epoch")
                how = "without force=true the same command" if request.force else "the same command"
                error.args = (f"{kept} kept; {how} goes on",)
            raise
        numbers = certificate_numbers(certificates, request.task["eps"])
        warned = warned or chance_warning(numbers["test_accuracy"], certificates["label"])
        metrics = pd.read_csv(folder / "metrics.csv")
        summary = {
            "name": request.name,
            "task": "train",
            **numbers,
            "epochs": training.epoch,
            "train_loss": float(metrics["train_loss"].iloc[-1]),
            "images_per_second": float(metrics["images_per_second"].median()),
            "training_seconds": float(metrics["seconds"].sum()),
            "parameters": sum(p.numel() for p in network.parameters()),
            "train_images": len(self.train),
            "warning": warned,
            **provenance(self.dataset, request.dtype, self.device),
        }
        layers = pd.read_csv(folder / "layers.csv") if (folder / "layers.csv").exists() else None
        figures = training_figures(request, metrics, certificates, layers, self.device)
        return Result({"certificates.csv": certificates}, figures, summary, self.log)

    def _say(self, progress: Progress, line: str) -> None:
        self.log.append(line)
        progress.line(line)

    def _start(self, folder: Path) -> tuple[Training, list[str]]:
        """The training as it begins, or where its checkpoint left it, and what changed since."""
        request = self.request
        network = build(request).to(self.device)
        if self.device.type == "cuda" and convolves(request):
            network = network.to(memory_format=torch.channels_last)
        examples = Examples.of(self.train, self.device)
        training = Training(network, recipe_of(request), examples, request.seed)
        path, changed = folder / CHECKPOINT, []
        if path.exists():
            changed = checkpoint.load(path, training, request.identity())
            if training.epoch and not (folder / "metrics.csv").exists():
                raise RunError(
                    f"{folder / 'metrics.csv'}, the record of {training.epoch} epochs, is gone; "
                    "force=true starts again"
                )
        return training, changed

    def _epochs(self, training: Training, folder: Path, progress: Progress) -> str | None:
        """Trains to the end; returns the warning that goes with the network's start."""
        request, resumed = self.request, training.epoch
        epochs = request.task["epochs"]
        metrics = EpochTable(folder / "metrics.csv", resumed=resumed)
        layers = EpochTable(folder / "layers.csv", resumed=resumed)
        wanted = probe_epochs(request.task["probe_epochs"], epochs)
        splits = {"test": Examples.of(self.dataset.test, self.device)}
        if self.validation is not None:
            splits["validation"] = Examples.of(self.validation, self.device)
        start = self._probe(build(request), epoch=0)
        warned = warning(start, request)
        if not resumed:
            if warned:
                self._say(progress, f"warning: {warned}")
            if 0 in wanted:
                layers.add(start)

        def note(done: int, total: int, loss: float) -> None:
            progress(done, total, f"loss {loss:.4f}{latest}")

        latest, word = "", data.input_word(self.dataset.name)
        while training.epoch < epochs:
            found = training.run_epoch(note)
            row = self._row(training.network, found, splits)
            metrics.add(pd.DataFrame([row]))
            if training.epoch in wanted:
                layers.add(self._probe(training.network, epoch=training.epoch))
            checkpoint.save(folder / CHECKPOINT, training, request.identity())
            latest = epoch_note(row, word)
            self._say(progress, epoch_line(row, epochs, word))
        return warned

    def _row(
        self, network: nn.Module, found: EpochMetrics, splits: dict[str, Examples]
    ) -> dict[str, Any]:
        """One row of metrics.csv."""
        eps = [parse_eps(name) for name in self.request.task["eps"]]
        constants = margin_constants(network, self.dataset.classes)
        unmoved = frozen(network)
        row = asdict(found)
        times = {key: row.pop(key) for key in ("seconds", "images_per_second")}
        for name, examples in splits.items():
            result = evaluate(unmoved, examples, constants, eps, EVALUATION_BATCH)
            prefix = "" if name == "test" else f"{name}_"
            row[f"{name}_accuracy"] = result.accuracy
            row |= {f"{prefix}estimated_cra_{e}": s for e, s in result.estimated_cra.items()}
        return row | times

    @cached_property
    def _probe_inputs(self) -> torch.Tensor:
        most = PROBE_INPUTS_OF_IMAGES if convolves(self.request) else PROBE_INPUTS
        count = min(most, len(self.dataset.train))
        inputs, _ = data.draw_inputs(self.dataset, count, self.request.seed)
        return torch.from_numpy(inputs).to(self.device)

    def _probe(self, network: nn.Module, *, epoch: int) -> pd.DataFrame:
        """Rows of layers.csv: a float64 copy of the network, a Gaussian cotangent."""
        request, inputs = self.request, self._probe_inputs
        copied = copy.deepcopy(network).double().to(self.device).eval()
        with threads_for(len(inputs) * entries_of_a_signal(request)):
            statistics = probe(
                [copied],
                inputs,
                cotangent="gaussian",
                generators=[stream(request.seed, "cotangent", 0)],
                operator_norms=request.width <= WIDEST_DECOMPOSED,
            )
            return layer_table(statistics, request, cotangent="gaussian", epoch=epoch)[0]

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


def _last_good(folder: Path) -> str:
    if (folder / CHECKPOINT).exists():
        return f"the last good checkpoint is {folder / CHECKPOINT}; a smaller task.lr may help"
    return "there is no checkpoint yet; a smaller task.lr may help"
