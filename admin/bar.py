"""Progress of long work, for a person at a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar on standard error, where that is a terminal; made at the first sign of progress."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._progress: Progress | None = None
        self._shown = sys.stderr.isatty()

    def show(self, done: int, total: int) -> None:
        if not self._shown:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )
            self._progress.start()
            self._progress.add_task(self._label, total=total or None)
        self._progress.update(self._progress.task_ids[0], completed=done, total=total or None)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
