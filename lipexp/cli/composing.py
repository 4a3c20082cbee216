"""From typed words to checked requests, by way of Hydra."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lipexp import config, launching, plugins
from lipexp.cli import requests
from lipexp.cli.explaining import explain
from lipexp.cli.progress import progress_bar
from lipexp.errors import RunError, UserError
from lipexp.runs.outcome import Outcome

if TYPE_CHECKING:
    from omegaconf import DictConfig


def execute(composed: DictConfig, *, bar: bool) -> Outcome:
    """The outcome of one composed configuration; never raises what a run can raise."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from lipexp.runs.execute import execute as execute_request

    try:
        request = config.read(OmegaConf.to_container(composed, resolve=True))
    except UserError as error:
        return Outcome(error=error)
    except OmegaConfBaseException as error:
        return Outcome(error=UserError(explain(error, [])))
    with progress_bar(shown=bar) as progress:
        return execute_request(request, progress)


def compose(flags: list[str], overrides: list[str], task: Callable[[DictConfig], None]) -> None:
    """Composes by Hydra and hands the configuration to ``task``, which must not raise.

    With -m among the flags, what was typed goes to ``task.sweep`` instead.
    """
    for name in requests.plugins_of(flags, overrides):
        plugins.load(name)
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    _store_plugins()
    find_launchers()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions arrive whole
    saved = sys.argv
    sys.argv = ["lipexp run", *flags, *overrides]
    try:
        decorate = hydra.main(
            version_base="1.3", config_path=str(config.conf_folder()), config_name="config"
        )
        decorate(task)()
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise UserError(explain(error, overrides)) from error
    except OSError as error:
        raise UserError(f"outputs: cannot be written ({error.strerror})") from error
    except SystemExit as error:
        if error.code:
            raise RunError("Hydra stopped") from error
    finally:
        sys.argv = saved


def find_launchers() -> None:
    """Shows Hydra the sweeper and the launchers of this package, however it is installed."""
    from hydra.core.plugins import Plugins

    folder = str(Path(launching.__file__).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    for module, name in (("sweeper", "LipexpSweeper"), ("gpus", "GpusLauncher")):
        home = import_module(f"hydra_plugins.lipexp.{module}")
        Plugins.instance().register(getattr(home, name))


def _store_plugins() -> None:
    """Makes what plugins registered choosable: a node of Hydra's for each name."""
    from hydra.core.config_store import ConfigStore

    for group, registry in config.GROUPS.items():
        for name in registry:
            if not registry.is_builtin(name):
                node = {"name": name, **registry.fact(name, "keys", {})}
                ConfigStore.instance().store(group=group, name=name, node=node)
