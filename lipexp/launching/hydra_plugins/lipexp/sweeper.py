"""Hydra's door to a sweep of ours: `lipexp run -m` goes through it."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


class LipexpSweeper(Sweeper):
    """Hands the words that were typed to the task function's ``sweep``, with Hydra's context."""

    def setup(self, *, hydra_context, task_function, config) -> None:
        self._given = hydra_context, config
        self._task = task_function

    def sweep(self, arguments: list[str]):
        return self._task.sweep(*self._given, arguments)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="lipexp",
    node={"_target_": f"{LipexpSweeper.__module__}.{LipexpSweeper.__name__}"},
    provider="lipexp",
)
