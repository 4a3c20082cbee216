"""`lipexp run [KEY=VALUE ...]`: one run, or with -m every point of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lipexp import config, plugins
from lipexp.cli import requests
from lipexp.errors import RunError, UserError
from lipexp.runs.outcome import Outcome

HELP = """\
usage: lipexp run [KEY=VALUE ...] [-m] [-q] [--cfg job] [--config-dir DIR]

One run: forward and backward statistics of every layer, with the law beside the measurement.
The same request is the same folder under outputs/runs/; done is done and is shown again.

keys:
  task, model, network, init, dataset, experiment   choices; `lipexp list` names them
  depth, width, bias, activation                    of the network
  seed, replicates, batch, dtype, device            of the measurement
  init.alpha, model.rows, task.cotangent, ...       keys of a choice
  force=true                                        run again although it is done
  outputs=FOLDER                                    where runs go (default: outputs)
  plugins=[mine]                                    modules of your own, imported first

options:
  -m, --multirun    a sweep: every combination of KEY=V1,V2,...; skips what is done
  -q, --quiet       prints the folder alone
  --cfg job         prints the configuration and runs nothing
  --config-dir DIR  a folder of choices of your own, beside the shipped ones

examples:
  lipexp run model=sll depth=100 init=gnd
  lipexp run -m model=aol,sll depth=10,30 seed=0,1
"""


def main(argv: list[str]) -> int:
    if any(word in ("-h", "--help") for word in argv):
        print(HELP, end="")
        return 0
    quiet = [word for word in argv if word in ("-q", "--quiet")]
    flags, overrides = requests.split([word for word in argv if word not in quiet])
    if "--cfg" in flags or "-c" in flags or any(f.startswith("--cfg=") for f in flags):
        compose(flags, overrides, lambda request: None)
        return 0
    if "-m" in flags or "--multirun" in flags:
        from lipexp.cli.sweep import sweep

        return sweep(flags, overrides, quiet=bool(quiet))
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
    compose(flags, overrides, lambda composed: outcomes.append(execute(composed, bar=bar)))
    outcome = outcomes[0]
    outcome.raise_for_status()
    return outcome


def execute(composed, *, bar: bool) -> Outcome:
    """The outcome of one composed configuration; never raises what a run can raise."""
    from omegaconf import OmegaConf

    from lipexp.cli.progress import layers_bar
    from lipexp.runs import execute as runs

    try:
        plain = OmegaConf.to_container(composed, resolve=True)
        request = config.read(plain)
    except UserError as error:
        return Outcome(2, str(error))
    except Exception as error:
        return Outcome(2, requests.explain(error, []))
    with layers_bar(shown=bar) as progress:
        return runs.execute(request, progress)


def compose(flags: list[str], overrides: list[str], task) -> None:
    """Composes by Hydra and hands the configuration(s) to ``task``, which must not raise."""
    for name in requests.plugins_of(overrides):
        plugins.load(name)
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    _store_plugins()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions arrive whole
    saved = sys.argv
    sys.argv = ["lipexp run", *flags, *overrides]
    try:
        decorate = hydra.main(
            version_base="1.3", config_path=str(config.conf_folder()), config_name="config"
        )
        decorate(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(requests.explain(error, overrides)) from error
    except OSError as error:
        raise UserError(f"outputs: cannot be written: {error}") from error
    except SystemExit as error:
        if error.code:
            raise RunError("Hydra stopped") from error
    finally:
        sys.argv = saved


def _store_plugins() -> None:
    """Makes what plugins registered choosable: a node of Hydra's for each name."""
    from hydra.core.config_store import ConfigStore

    for group, registry in config.GROUPS.items():
        for name in registry or ():
            if not registry.is_builtin(name):
                node = {"name": name, **registry.fact(name, "keys", {})}
                ConfigStore.instance().store(group=group, name=name, node=node)
