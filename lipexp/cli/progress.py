"""The progress of a run: a bar on a terminal, gone when the run has ended; else plain lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lipexp.cli import interrupts
from lipexp.cli.output import tell
from lipexp.runs.job import Progress, Silent


class _Checked(Silent):
    """Nobody is told, but a signal that was swallowed is raised."""

    def __call__(self, done, total, note=""):
        interrupts.check()


class _Lines(_Checked):
    """What stays is written to stderr, without control characters."""

    def line(self, text: str) -> None:
        tell(text, sys.stderr)


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress]:
    """Rate and time left where stderr is a terminal; nothing but signals if not ``shown``."""
    if not shown:
        yield _Checked()
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} {task.description}/s" if task.speed else "")

    err = Console(stderr=True)
    count = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
    said = TextColumn("{task.fields[note]}")
    columns = (BarColumn(bar_width=20), count, Rate(), TimeLeft(), said)
    with Bars(*columns, transient=True, console=err) as bars:

        class Bar(_Checked):
            task = None

            def __call__(self, done, total, note=""):
                super().__call__(done, total)
                if self.task is None:
                    self.task = bars.add_task(self.unit, total=total, note=note)
                bars.update(self.task, completed=done, note=note)

            def line(self, text):
                err.print(text, highlight=False, soft_wrap=True)

        yield Bar()
