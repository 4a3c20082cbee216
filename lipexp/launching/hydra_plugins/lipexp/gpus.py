"""`hydra/launcher=gpus`: one long-lived worker per slot, of GPUs or, without any, of cores."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher


class GpusLauncher(Launcher):
    """The keys of the choice; the work is `lipexp.launching.pool`'s.

    ``runs_per_gpu``: runs that share a GPU; ``slots``: how many workers, by default as many as
    there are GPUs, times the runs that share one, or cores.
    """

    def __init__(self, runs_per_gpu: int = 1, slots: int | None = None):
        self.runs_per_gpu, self.slots = runs_per_gpu, slots

    def setup(self, *, hydra_context, task_function, config) -> None:
        pass

    def launch(self, job_overrides, initial_job_idx):
        raise NotImplementedError("hydra/launcher=gpus works with hydra/sweeper=lipexp alone")


ConfigStore.instance().store(
    group="hydra/launcher",
    name="gpus",
    node={
        "_target_": f"{GpusLauncher.__module__}.{GpusLauncher.__name__}",
        "runs_per_gpu": 1,
        "slots": None,
    },
    provider="lipexp",
)
