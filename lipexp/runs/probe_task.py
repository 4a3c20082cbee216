"""The probe as a task: a request in, tables, figures and headline numbers out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lipexp import data
from lipexp.config import Request
from lipexp.probing.probe import Statistics, probe
from lipexp.runs.device import choose_device, device_name, threads_for
from lipexp.runs.headlines import rates, warning
from lipexp.runs.job import Progress, Result
from lipexp.runs.layer_table import layer_table
from lipexp.runs.plan import build, check_plan, describe, entries_of_a_signal
from lipexp.runs.provenance import provenance
from lipexp.runs.size import check_size
from lipexp.runs.summary import plural
from lipexp.streams import stream

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def prepare(request: Request) -> ProbeJob:
    """Checks what needs torch and the data; raises UserError before anything is left on disk."""
    device = choose_device(request.device)
    dataset = data.load(request.dataset["name"], **request.group_keys("dataset"))
    check_plan(request)
    check_size(request, math.prod(dataset.shape))
    inputs, labels = data.draw_inputs(dataset, request.batch, request.seed)
    return ProbeJob(request, device, dataset, inputs, labels)


@dataclass
class ProbeJob:
    """A probe that is ready to run.  inputs: (batch, *shape), labels: (batch,)."""

    request: Request
    device: torch.device
    dataset: data.Dataset
    inputs: np.ndarray
    labels: np.ndarray
    unit = "layers"

    def run(self, folder: Path, progress: Progress) -> Result:
        request, began = self.request, time.perf_counter()
        with threads_for(request.replicates * request.batch * entries_of_a_signal(request)):
            statistics = self._measure(progress)
            table, law = layer_table(statistics, request, cotangent=request.task["cotangent"])
            summary: dict[str, Any] = {
                "name": request.name,
                "task": "probe",
                "depth": request.depth,
                "replicates": request.replicates,
                "batch": request.batch,
                **rates(table, request.depth),
                "law": law,
                "warning": warning(table, request),
                **provenance(self.dataset, request.dtype, self.device),
                "seconds": round(time.perf_counter() - began, 3),
            }
        figures = _figures(request, table, statistics, self.device)
        return Result({"layers.csv": table}, figures, summary)

    def _measure(self, progress: Progress) -> Statistics:
        request, dtype = self.request, getattr(torch, self.request.dtype)
        replicates = range(request.replicates)
        return probe(
            [build(request, replicate=r).to(self.device).eval() for r in replicates],
            torch.from_numpy(self.inputs).to(self.device, dtype),
            cotangent=request.task["cotangent"],
            generators=[stream(request.seed, "cotangent", r) for r in replicates],
            labels=torch.from_numpy(self.labels).to(self.device),
            histograms=_histogram_layers(request),
            operator_norms=request.task["operator_norms"],
            progress=progress,
        )


def _histogram_layers(request: Request) -> list[int]:
    wanted, depth = request.task["histograms"], request.depth
    if wanted != "auto":
        return wanted
    return sorted({1, 2, round(math.sqrt(depth)), depth // 2, depth} & set(range(1, depth + 1)))


def _figures(
    request: Request, table: pd.DataFrame, statistics: Statistics, device: torch.device
) -> dict[str, Figure]:
    from lipexp.plots import layers

    title = describe(request)
    note = (
        f"{plural(request.replicates, 'network')}, {plural(request.batch, 'input')}, "
        f"{request.dtype}, {device_name(device)}"
    )
    figures = {
        "forward": layers.forward(table, title, note),
        "backward": layers.backward(table, title, note),
    }
    if statistics.histograms:
        figures["histograms"] = layers.histograms(statistics.histograms, title, note)
    return figures
