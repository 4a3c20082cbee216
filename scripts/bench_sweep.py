#!/usr/bin/env python
"""The seconds that a sweep of small probes takes, and where those of one point go, as tables.

    python scripts/bench_sweep.py --seeds 5 --rounds 3

The sweep: 2 models x 4 depths x 6 inits x SEEDS, width 32, 100 inputs, whole processes:

basic     ``lipexp run -m``, every point in one process
gpus      ``hydra/launcher=gpus``: a worker per GPU, or per core
again     the same command when every point is done
straight  ``lipexp run`` once for each point, of which a sample is run

The second table: the sweep with the basic launcher seen from inside, after a point of each model
that loads what is loaded once; a step's seconds are its own, without those of steps within it.  The
probe is what was asked for, the figures are three pictures, all else is overhead.  Everything is
written to a temporary folder; each round has a new one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import sys
import tempfile
from importlib import import_module

from bench_start import STEPS, Clock, process

MODELS, DEPTHS = ("aol", "sll"), (5, 10, 20, 40)
INITS = ("normal", "uniform", "laplace", "gnd", "kaiming_normal", "orthogonal")
SIZE = ["width=32", "batch=100"]
SAMPLE = 10  # points that are run alone
NO_OVERHEAD = ("probe", "draw figures", "save figures")
REST = "the rest (compose, check, claim, write, print)"


def sweep(seeds: int) -> list[str]:
    lists = {"model": MODELS, "depth": DEPTHS, "init": INITS}
    words = [f"{key}={','.join(map(str, values))}" for key, values in lists.items()]
    return ["run", "-m", *words, f"seed=range(0,{seeds})", *SIZE]


def alone(seeds: int) -> list[str]:
    """One point, drawn."""
    lists = {"model": MODELS, "depth": DEPTHS, "init": INITS, "seed": range(seeds)}
    return ["run", *(f"{key}={random.choice(values)}" for key, values in lists.items()), *SIZE]


def inside(seeds: int) -> None:
    """The sweep in this process; prints the seconds of its steps as JSON."""
    clock = Clock()
    for label, module, names in STEPS:
        if "lipexp.cli" not in module:  # a sweep's points run within its composing
            home = import_module(module)
            for name in names:
                setattr(home, name, clock.around(label, getattr(home, name)))
    main = import_module("lipexp.cli").main
    with contextlib.redirect_stdout(io.StringIO()):
        main(["run", "-m", f"model={','.join(MODELS)}", *SIZE, "outputs=first"])
        clock.seconds.clear()
        with clock.step(REST):
            main(sweep(seeds))
    print(json.dumps(clock.seconds))


def spread(values: list[float], digits: int = 3) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{statistics.median(values):9.{digits}f}  {low}-{high}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        inside(asked.seeds)
        return

    points = len(MODELS) * len(DEPTHS) * len(INITS) * asked.seeds
    words = ["-m", "lipexp", *sweep(asked.seeds)]
    taken: dict[str, list[float]] = {}
    steps: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            gpus = [*words, "outputs=gpus", "hydra/launcher=gpus"]
            for name, command in (("basic", words), ("again", words), ("gpus", gpus)):
                taken.setdefault(name, []).append(process(command, folder, 0)[0])
            each = [
                process(["-m", "lipexp", *alone(asked.seeds), f"outputs=alone{n}"], folder, 0)[0]
                for n in range(SAMPLE)
            ]
            taken.setdefault("straight", []).append(statistics.mean(each) * points)
        with tempfile.TemporaryDirectory() as folder:
            call = [os.path.abspath(__file__), "--inside", "--seeds", str(asked.seeds)]
            found = json.loads(process(call, folder, 0)[1].splitlines()[-1])
            for label, seconds in found.items():
                steps.setdefault(label, []).append(seconds / points)

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {load}")
    print(f"{points} points, n = {asked.rounds}; seconds: median, least and most")
    print(f"{'':10}{'in all':>9}  {'':18}{'a point':>9}")
    for name, values in taken.items():
        print(f"{name:10}{spread(values, 1):30}{spread([v / points for v in values], 4)}")
    print(f"\n{'step of a point':50}{'median':>9}  least-most")
    for label, values in steps.items():
        print(f"{label:50}{spread(values, 4)}")
    other = zip(*(v for label, v in steps.items() if label not in NO_OVERHEAD), strict=True)
    print(f"{'overhead: all but probe and figures':50}{spread([sum(r) for r in other], 4)}")


if __name__ == "__main__":
    main()
