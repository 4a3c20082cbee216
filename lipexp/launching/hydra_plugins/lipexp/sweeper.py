"""Hydra's door to a sweep of ours: `lipexp run -m` goes through it."""

from __future__ import annotations

from collections.abc import Mapping

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper

from lipexp.errors import UserError


class LipexpSweeper(Sweeper):
    """Hands the words that were typed to the task function's ``sweep``, with Hydra's context.

    ``params``: a recipe's own, values by key, before those that are typed.  ``seeds``: together,
    points that differ in nothing else are one computation; apart; or auto, together on a GPU.
    """

    def __init__(self, params: Mapping[str, object] | None = None, seeds: str = "auto"):
        self._params, self._seeds = params or {}, seeds

    def setup(self, *, hydra_context, task_function, config) -> None:
        self._given = hydra_context, config
        self._task = task_function

    def sweep(self, arguments: list[str]):
        if not isinstance(self._params, Mapping):
            given = f"hydra.sweeper.params={self._params}"
            raise UserError(f"{given}: must be keys with their values, such as depth: 3,4")
        own = [f"{key}={'null' if v is None else v}" for key, v in self._params.items()]
        return self._task.sweep(*self._given, [*own, *arguments], self._seeds)


ConfigStore.instance().store(
    group="hydra/sweeper",
    name="lipexp",
    node={
        "_target_": f"{LipexpSweeper.__module__}.{LipexpSweeper.__name__}",
        "params": {},
        "seeds": "auto",
    },
    provider="lipexp",
)
