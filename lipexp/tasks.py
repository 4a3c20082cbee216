"""What a run can do: tasks by name.

A task is a function ``prepare(request) -> job``: it imports torch, reads the data and checks what
needs them, raising UserError before anything is on disk.  ``job.run(folder, progress)`` does the
work and returns a `lipexp.runs.job.Result`.
"""

from __future__ import annotations

from lipexp.registry import Entry, Registry

TASKS = Registry(
    "task",
    {
        "probe": Entry(
            "lipexp.runs.probe.task:prepare",
            "forward and backward statistics of every layer at initialisation",
            # what is printed of a finished run, the tables that it is printed of, and how requests
            # that differ in their seeds alone are prepared for one measurement
            {
                "digest": "lipexp.runs.probe.digest:digest",
                "tables": ("layers.csv",),
                "together": "lipexp.runs.probe.task:prepare_together",
            },
        ),
        "train": Entry(
            "lipexp.runs.train.task:prepare",
            "trains, probes at chosen epochs, certifies the whole test set",
            {
                "digest": "lipexp.runs.train.digest:digest",
                "tables": ("metrics.csv", "certificates.csv"),
            },
        ),
    },
)
