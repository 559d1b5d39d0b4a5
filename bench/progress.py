"""How far a measurement is, on standard error: a bar where a person watches, notes in any case.

Owns the bar. It does not know what runs; live runs and the demo report to it.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bar:
    """A `live.Reporter` for the terminal; use it in a `with`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(text, markup=False)

    def begin(self, what: str, jobs: int) -> None:
        """Start a bar of `jobs` steps."""
        self._task = self._progress.add_task(what, total=jobs)

    def ended(self, jobs: int) -> None:
        """Advance it."""
        if self._task is not None:
            self._progress.advance(self._task, jobs)

    def end(self) -> None:
        """Remove it."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
