#!/usr/bin/env python
"""The seconds that commands take as whole processes, and where those of a default run go.

    python scripts/bench_start.py --runs 9

The first table: wall time from the start of a process to its end, files warm in the cache, the
commands in turn.  The second: one such run seen from inside, by a clock around imports and steps; a
step's seconds are its own, without those of steps within it.  Everything is written to a temporary
folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

DEFAULT = ["run", "model=sll", "depth=100", "init=gnd"]
# Words, exit status, seconds wanted on two quiet cores.
COMMANDS = (
    (["--help"], 0, 0.2),
    (["list"], 0, 0.5),
    (["run", "--help"], 0, None),
    (["data", "--help"], 0, None),
    (["run", "model=sl"], 2, None),
    ([*DEFAULT, "force=true"], 0, 7.0),
    (DEFAULT, 0, 1.5),  # done by the one before: shown again
)
IMPORTS = (
    ("import the command line", ("lipexp.cli.run",)),
    ("import hydra", ("hydra", "hydra.main", "hydra._internal.hydra")),
    ("import torch", ("torch",)),
    ("import the probe (pandas, scipy, ...)", ("lipexp.runs.probe.task",)),
    ("import matplotlib", ("lipexp.plots.layers",)),
)
STEPS = (
    ("compose the configuration", "lipexp.cli.composing", ("compose",)),
    ("read and draw the inputs", "lipexp.runs.probe.task", ("prepare",)),
    ("build the network", "lipexp.networks.mlp", ("mlp",)),
    ("probe", "lipexp.runs.probe.task", ("probe",)),
    ("table and law", "lipexp.runs.probe.task", ("layer_table",)),
    ("draw figures", "lipexp.plots.layers", ("forward", "backward", "histograms")),
    ("save figures", "lipexp.plots.style", ("save",)),
    ("the rest (check, claim, write, print)", "lipexp.cli.composing", ("execute",)),
)


class Clock:
    """Seconds by step; a step inside another counts for the inner one alone."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        self._inner.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - began
            own = taken - self._inner.pop()
            self.seconds[label] = self.seconds.get(label, 0.0) + own
            if self._inner:
                self._inner[-1] += taken

    def around(self, label: str, function: Callable) -> Callable:
        def timed(*arguments, **keywords):
            with self.step(label):
                return function(*arguments, **keywords)

        return timed


def inside(started: float) -> None:
    """The default run in this process; the last line printed is its steps as JSON.

    ``started``: the parent's perf_counter, one clock for all processes of a machine.
    """
    clock = Clock()
    clock.seconds["start Python"] = time.perf_counter() - started
    for label, modules in IMPORTS:
        with clock.step(label):
            for module in modules:
                import_module(module)
    for label, module, names in STEPS:
        home = import_module(module)
        for name in names:
            setattr(home, name, clock.around(label, getattr(home, name)))
    sys.argv = ["lipexp", *DEFAULT, "force=true"]
    with clock.step("everything else"), suppress(SystemExit):
        import_module("lipexp.cli").entry()
    print(json.dumps({"steps": clock.seconds, "ended": time.perf_counter()}))


def process(words: list[str], folder: str, status: int) -> tuple[float, str]:
    """(wall seconds, output) of one process; raises RuntimeError for another exit status."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - began
    if done.returncode != status:
        raise RuntimeError(f"{words}: status {done.returncode}, not {status}\n{done.stderr}")
    return taken, done.stdout


def one_inside(folder: str) -> dict[str, float]:
    began = time.perf_counter()
    _, output = process([os.path.abspath(__file__), "--inside", repr(began)], folder, 0)
    ended = time.perf_counter()
    found = json.loads(output.splitlines()[-1])
    return found["steps"] | {"end Python": ended - found["ended"], "together": ended - began}


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):8.3f}  {min(values):.3f}-{max(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside is not None:
        inside(asked.inside)
        return

    taken: list[list[float]] = [[] for _ in COMMANDS]
    inner: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(asked.runs + 1):
            for column, (words, status, _) in zip(taken, COMMANDS, strict=True):
                seconds, _ = process(["-m", "lipexp", *words], folder, status)
                if turn:  # the first warms the files
                    column.append(seconds)
            if turn:
                for label, seconds in one_inside(folder).items():
                    inner.setdefault(label, []).append(seconds)

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {load}")
    print(f"seconds of whole processes, n = {asked.runs}")
    print(f"{'command':50}{'median':>8}  min-max      wanted")
    for column, (words, _, wanted) in zip(taken, COMMANDS, strict=True):
        limit = "" if wanted is None else f"  {wanted:g}"
        print(f"{'lipexp ' + ' '.join(words):50}{spread(column)}{limit}")
    print(f"\nwhere they go: lipexp {' '.join(DEFAULT)} force=true, n = {asked.runs}")
    print(f"{'step':50}{'median':>8}  min-max")
    for label, values in inner.items():
        print(f"{label:50}{spread(values)}")


if __name__ == "__main__":
    main()
