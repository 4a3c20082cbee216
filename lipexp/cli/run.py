"""`lipexp run [KEY=VALUE ...]`: one run, or with -m every point of a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from lipexp.cli import composing, requests
from lipexp.errors import UserError
from lipexp.runs.outcome import Outcome

HELP = """\
usage: lipexp run [KEY=VALUE ...] [-m [--dry-run]] [-q] [--cfg job] [--config-dir DIR]

One run.  task=probe: forward and backward statistics of every layer, with the law beside the
measurement.  task=train: training, then a certificate of every test input.
The same request is the same folder under outputs/runs/; done is done and is shown again, and a
training that was stopped goes on after its last epoch.

keys:
  task, model, network, init, dataset, experiment   choices; `lipexp list` names them
  depth, width, bias, activation                    of the network
  seed, replicates, batch, dtype, device            of the measurement
  init.alpha, model.rows, task.cotangent, ...       keys of a choice
  task.epochs, task.lr, task.loss.offset, ...       of a training
  task.eps=[0.3,36/255]                             l2 radii to certify, pixels in [0, 1]
  force=true                                        run again although it is done
  outputs=FOLDER                                    where runs go (default: outputs)
  hydra/launcher=gpus                               a sweep's points on all GPUs, or all cores
  plugins=[mine]                                    modules of your own, imported first

options:
  -m, --multirun    a sweep: every combination of KEY=V1,V2,...; skips what is done
  -q, --quiet       prints the folder alone
  --dry-run         with -m: lists the points, which are done, and the time left
  --cfg job         prints the configuration and runs nothing
  --config-dir DIR  a folder of choices of your own, beside the shipped ones

examples:
  lipexp run model=sll depth=100 init=gnd
  lipexp run task=train model=aol depth=3 width=256
  lipexp run -m model=aol,sll depth=10,30 seed=0,1
"""


def main(argv: list[str]) -> int:
    if any(word in ("-h", "--help") for word in argv):
        print(HELP, end="")
        return 0
    quiet = [word for word in argv if word in ("-q", "--quiet")]
    dry = "--dry-run" in argv
    words = [word for word in argv if word not in (*quiet, "--dry-run")]
    flags, overrides = requests.split(words)
    if "--cfg" in flags or "-c" in flags or any(f.startswith("--cfg=") for f in flags):
        composing.compose(flags, overrides, lambda composed: None)
        return 0
    if "-m" in flags or "--multirun" in flags:
        from lipexp.cli.sweep import sweep

        return sweep(flags, overrides, quiet=bool(quiet), dry=dry)
    if dry:
        raise UserError("--dry-run lists the points of a sweep; it needs -m")
    outcome = _single(flags, overrides, bar=not quiet)
    print(outcome.folder if quiet else outcome.text)
    return 0


def run(overrides: Sequence[str]) -> Path:
    """One run, as ``lipexp run`` does it; returns its folder.

    Raises UserError for a wrong request and RunError for a run that broke.
    """
    flags, words = requests.split(list(overrides))
    if flags:
        raise UserError(f"lipexp.run takes KEY=VALUE alone; got {flags[0]}")
    return _single([], words, bar=False).folder


def _single(flags: list[str], overrides: list[str], *, bar: bool) -> Outcome:
    outcomes: list[Outcome] = []

    def task(composed) -> None:
        from hydra.core.hydra_config import HydraConfig

        if HydraConfig.get().sweeper.params:
            line = f"this is a sweep's recipe: {shlex.join(['lipexp', 'run', '-m', *overrides])}"
            outcomes.append(Outcome(error=UserError(line)))
        else:
            outcomes.append(composing.execute(composed, bar=bar))

    composing.compose(flags, overrides, task)
    (outcome,) = outcomes
    if outcome.error:
        raise outcome.error
    return outcome
