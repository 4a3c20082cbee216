"""The probe as a task: a request in, tables, figures and headline numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
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


def prepare_together(requests: Sequence[Request]) -> list[ProbeJob]:
    """The same for requests that differ in nothing but their seeds: one measurement for all.

    It is carried out by whichever job runs first.  Each has its own inputs, networks and cotangents
    as if it ran alone, so its numbers are the same up to rounding.  Raises UserError as `prepare`.
    """
    jobs = [prepare(request) for request in requests]
    for job in jobs:
        job.together = jobs
    return jobs


@dataclass
class ProbeJob:
    """A probe that is ready to run.  inputs: (batch, *shape), labels: (batch,).

    ``together``: the jobs that are measured at once, this one among them; ``measured``: what one of
    them has measured for this one.
    """

    request: Request
    device: torch.device
    dataset: data.Dataset
    inputs: np.ndarray
    labels: np.ndarray
    together: list[ProbeJob] = field(default_factory=list)
    measured: Statistics | None = None
    unit = "layers"

    def run(self, folder: Path, progress: Progress) -> Result:
        request = self.request
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
            }
        figures = _figures(request, table, statistics, self.device)
        return Result({"layers.csv": table}, figures, summary)

    def _measure(self, progress: Progress) -> Statistics:
        if self.measured is None:
            jobs, count = self.together or [self], self.request.replicates
            statistics = _measure(jobs, progress)
            for place, job in enumerate(jobs):
                job.measured = statistics.of(slice(place * count, (place + 1) * count))
        statistics, self.measured = self.measured, None
        return statistics


def _measure(jobs: Sequence[ProbeJob], progress: Progress) -> Statistics:
    """Of the networks of all jobs, one job's replicates after another's."""
    request, device = jobs[0].request, jobs[0].device
    dtype = getattr(torch, request.dtype)
    each = [(job, r) for job in jobs for r in range(request.replicates)]
    inputs = {id(job): torch.from_numpy(job.inputs).to(device, dtype) for job in jobs}
    labels = {id(job): torch.from_numpy(job.labels).to(device) for job in jobs}
    return probe(
        [build(job.request, replicate=r).to(device).eval() for job, r in each],
        [inputs[id(job)] for job, _ in each],
        cotangent=request.task["cotangent"],
        generators=[stream(job.request.seed, "cotangent", r) for job, r in each],
        labels=[labels[id(job)] for job, _ in each],
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
