"""Certificates of a network's whole test set, attacks on them, and a bound from below beside K."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lipexp import __version__, data
from lipexp.certification.arithmetic import check_arithmetic
from lipexp.certification.certificate import certificates_of, exceeds
from lipexp.certification.chain import Step, steps_of
from lipexp.certification.constants import product
from lipexp.certification.inputs import Points
from lipexp.certification.passage import BATCH_NUMBERS, shapes_through
from lipexp.config import Request
from lipexp.layers.base import FreeWeightModule
from lipexp.rationals import value
from lipexp.runs.certify.attacks import attack_batch, joined
from lipexp.runs.certify.foreign_weights import load_weights
from lipexp.runs.certify.parts import Parts
from lipexp.runs.certify.request import EVERY, Asked
from lipexp.runs.device import choose_device
from lipexp.runs.job import Progress
from lipexp.runs.load import load
from lipexp.runs.plan import build, check_plan
from lipexp.runs.size import check_size
from lipexp.runs.summary import plural
from lipexp.training.checkpoint import digest

POINTS_ON_CPU = 1000
# Numbers of all signals of a batch, which an attack keeps for its gradient.
ATTACK_NUMBERS = {"cpu": 2**22, "cuda": 2**28}
MOST_POINTS = {"cpu": 100, "cuda": 1000}  # of a part on disk, and a step of the bar
MOST_CERTIFIED = 1000  # the same, of certificates
LIPSCHITZ_POINTS = 200  # at which the Lipschitz constant is bounded from below
LIPSCHITZ_STEPS = 30
BACKWARD = 3  # forward passes that a step with its gradient costs, for the time left


@dataclass
class Found:
    """What a certification finds.

    ``table``: rows of certificates.csv, with its totals in ``attrs``; ``attacked``: what attacks
    found of its first ``count`` rows, see `attacks.attack_batch`; ``lipschitz``: lower
    bounds of the Lipschitz constant, a point each.
    """

    table: pd.DataFrame
    attacked: dict[str, Tensor]
    lipschitz: Tensor
    count: int
    log: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """Work on consecutive points, cut into parts: ``work`` makes the one of a slice.

    ``cost``: of a point, in forward passes of one input; ``done``: the parts that are there, by the
    name of their file.
    """

    name: str
    note: str
    slices: Sequence[slice]
    cost: int
    work: Callable[[slice], dict[str, Tensor]]
    done: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def part(self, rows: slice) -> str:
        """The name of a part's file."""
        return f"{self.name}-{rows.start:07d}-{rows.stop:07d}"

    def left(self) -> list[slice]:
        return [rows for rows in self.slices if self.part(rows) not in self.done]

    def result(self) -> dict[str, Tensor]:
        """All parts as one, when none is left."""
        return joined([self.done[self.part(rows)] for rows in self.slices])


def prepare(asked: Asked) -> Certification:
    """Checks what needs torch and the data; raises UserError before anything is left on disk."""
    device = choose_device(asked.attacks.device)
    request = asked.request
    dataset = data.load(request.dataset["name"], **request.group_keys("dataset"))
    check_plan(request)
    check_size(request, math.prod(dataset.shape))
    network = _network(asked, request).to(device)
    test, box = dataset.test, len(dataset.shape) == 3
    points = Points(test.inputs, test.labels, scale=test.scale, box=box)
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        steps = steps_of(network)
        check_arithmetic(device)
        *shapes, (classes,) = shapes_through(steps, points, device)
        points.check_labels(classes)
        for step, shape in zip(steps, shapes, strict=True):
            step.check_range(shape)
    wanted = asked.attacks.points or (POINTS_ON_CPU if device.type == "cpu" else EVERY)
    count = len(points) if wanted == EVERY else min(int(wanted), len(points))
    parameters = sum(p.numel() for p in network.parameters())
    return Certification(asked, device, dataset, points, steps, shapes, count, parameters)


def _network(asked: Asked, request: Request) -> nn.Module:
    """The network with its weights; those from elsewhere in float64, which holds any float."""
    if not asked.foreign:
        return load(asked.folder)
    network = build(request).double()
    load_weights(asked.weights, network)
    return network.eval()


@dataclass
class Certification:
    """A certification that is ready to run.

    ``shapes``: of one input of each step; ``count``: how many points are attacked.
    """

    asked: Asked
    device: torch.device
    dataset: data.Dataset
    points: Points
    steps: list[Step]
    shapes: list[tuple[int, ...]]
    count: int
    parameters: int
    unit = "passes"

    @property
    def box(self) -> bool:
        return len(self.dataset.shape) == 3

    def run(self, folder: Path, progress: Progress, identity: str) -> Found:
        """Certifies, attacks, and bounds the constant from below, from the parts on disk on."""
        same = (identity, __version__, self.dataset.fingerprint, self.device.type, self._in_use())
        parts = Parts(folder, " ".join(same))
        try:
            with torch.backends.cudnn.flags(enabled=False):
                return self._run(parts, progress)
        except KeyboardInterrupt as error:
            if not error.args and len(parts):
                how = "without --force the same command" if self.asked.force else "the same command"
                error.args = (f"{plural(len(parts), 'part')} kept; {how} goes on",)
            raise

    def _in_use(self) -> str:
        """A hash of the weights in use: parts made with other last digits are of another function.

        Other threads, another torch or another machine rescale the same parameters differently.
        """
        numbers: list[Tensor] = []
        for module in (part for step in self.steps for part in step.module.modules()):
            numbers += [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            if isinstance(module, FreeWeightModule):
                used = module.in_use()
                numbers += [used] if isinstance(used, Tensor) else filter(torch.is_tensor, used)
        return digest({f"{k:05d}": tensor.detach().cpu() for k, tensor in enumerate(numbers)})

    def _run(self, parts: Parts, progress: Progress) -> Found:
        eps, attacks, log = self.asked.eps, self.asked.attacks, []
        certify = self._stage("certificates", "certifying", len(self.points), 1, self._certify)
        lipschitz = self._stage(
            "lipschitz",
            "bounding the constant from below",
            min(self.count, LIPSCHITZ_POINTS),
            4 * LIPSCHITZ_STEPS,
            self._lipschitz,
        )
        attack = self._stage(
            "attacks",
            "attacking",
            self.count,
            BACKWARD * attacks.steps * attacks.restarts * (1 + len(eps)),
            lambda rows: self._attack(rows, table),
        )
        stages = (certify, lipschitz, attack)
        for stage in stages:
            for name in map(stage.part, stage.slices):
                if (part := parts.read(name)) is not None:
                    stage.done[name] = part
        if kept := len(parts):
            log.append(
                f"goes on from {plural(kept, 'part')} that {'is' if kept == 1 else 'are'} done"
            )
            progress.line(log[-1])
        tally = _Tally(progress, stages)
        table = self._table(_finished(certify, parts, tally))
        bounds = _finished(lipschitz, parts, tally)["bound"]
        return Found(table, _finished(attack, parts, tally), bounds, self.count, log)

    def _stage(self, name: str, note: str, count: int, cost: int, work) -> Stage:
        size = self._part_size(attacking=name != "certificates")
        slices = [slice(a, min(a + size, count)) for a in range(0, count, size)]
        return Stage(name, note, slices, cost, work)

    def _part_size(self, *, attacking: bool) -> int:
        """Points of a part; what is certified together in a training is so here, to the bit."""
        kind = self.device.type
        if attacking:
            numbers = sum(math.prod(shape) for shape in self.shapes)
            return max(1, min(ATTACK_NUMBERS[kind] // numbers, MOST_POINTS[kind]))
        batch = max(1, BATCH_NUMBERS[kind] // max(math.prod(shape) for shape in self.shapes))
        return batch * max(1, MOST_CERTIFIED // batch)

    def _certify(self, rows: slice) -> dict[str, Tensor]:
        some = Points(
            self.points.images[rows],
            self.points.labels[rows],
            scale=self.points.scale,
            box=self.box,
        )
        with torch.no_grad():
            table = certificates_of(self.steps, some, self.device, box=self.box)
        columns = ("prediction", "margin", "slack", "radius", "radius_tight")
        return {name: torch.from_numpy(np.array(table[name])) for name in columns}

    def _table(self, columns: dict[str, Tensor]) -> pd.DataFrame:
        count = len(self.points)
        table = pd.DataFrame({"index": np.arange(count), "label": self.points.labels})
        for name, column in columns.items():
            table[name] = column.numpy()
        table = table[["index", "label", "prediction", "margin", "slack", "radius", "radius_tight"]]
        for name in self.asked.certified_eps:
            table[f"certified_{name}"] = exceeds(table["radius"], value(name))
        table.attrs.update(
            lipschitz_upper_bound=product([step.bound for step in self.steps]),
            lipschitz_upper_bound_tight=product([step.tight for step in self.steps]),
            largest_slack=float(table["slack"].max()),
            points_inside_slack=int((table["margin"].abs() <= table["slack"]).sum()),
        )
        return table

    def _attack(self, rows: slice, table: pd.DataFrame) -> dict[str, Tensor]:
        attacks = self.asked.attacks
        return attack_batch(
            self.steps,
            self.points.batch(rows.start, rows.stop, self.device),
            table.iloc[rows],
            self.asked.eps,
            box=self.box,
            iterations=attacks.steps,
            restarts=attacks.restarts,
            seed=attacks.seed,
        )

    def _lipschitz(self, rows: slice) -> dict[str, Tensor]:
        from lipexp.certification.lower_bounds import lipschitz_lower_bound

        inputs = self.points.batch(rows.start, rows.stop, self.device)
        seed = self.asked.attacks.seed
        found = lipschitz_lower_bound(
            self.steps, inputs, iterations=LIPSCHITZ_STEPS, seed=seed, first=rows.start
        )
        return {"bound": found}

    def scores(self, inputs: Tensor) -> Tensor:
        """The network's scores of some inputs, (n, classes), on the CPU."""
        x = inputs.to(self.device)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
            for step in self.steps:
                x = step.module(x)
        return x.cpu()


def _finished(stage: Stage, parts: Parts, tally: _Tally) -> dict[str, Tensor]:
    """A stage's result; what is left of it is made, and every part is kept on disk at once."""
    for rows in stage.left():
        tally.note(stage)
        name, part = stage.part(rows), stage.work(rows)
        parts.write(name, part)
        stage.done[name] = part
        tally.add(stage, rows)
    return stage.result()


class _Tally:
    """How much of the work that was left is done, for the bar."""

    def __init__(self, progress: Progress, stages: Sequence[Stage]):
        self._progress, self._done = progress, 0
        self._total = sum(
            stage.cost * (rows.stop - rows.start) for stage in stages for rows in stage.left()
        )

    def note(self, stage: Stage) -> None:
        self._progress(self._done, self._total, stage.note)

    def add(self, stage: Stage, rows: slice) -> None:
        self._done += stage.cost * (rows.stop - rows.start)
        self.note(stage)
