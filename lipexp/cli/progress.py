"""The progress bar of a run: on a terminal alone, and gone when the run has ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def layers_bar(shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Yields ``progress(done, total)``; rate and time left where stderr is a terminal."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} layers/s" if task.speed else "")

    err = Console(stderr=True)
    count = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
    with Progress(BarColumn(), count, Rate(), TimeLeft(), transient=True, console=err) as bar:
        task = None

        def progress(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("layers", total=total)
            bar.update(task, completed=done)

        yield progress
