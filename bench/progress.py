"""How far a measurement is, on standard error: a bar where a person watches, notes in any case.

`rich`'s own progress, with the columns and the words of `bench`. It does not know what runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bar(Progress):
    """Use it in a `with`. One bar at a time."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        super().__init__(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._shown: TaskID | None = None

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self.console.print(text, markup=False)

    def begin(self, what: str, jobs: int) -> None:
        """Start a bar of `jobs` steps."""
        self._shown = self.add_task(what, total=jobs)

    def ended(self, jobs: int) -> None:
        """Advance it."""
        if self._shown is not None:
            self.advance(self._shown, jobs)

    def end(self) -> None:
        """Remove it."""
        if self._shown is not None:
            self.remove_task(self._shown)
            self._shown = None

    @contextmanager
    def steps(self, what: str, jobs: int) -> Iterator[Callable[[int], None]]:
        """A bar of `jobs` steps while the block lasts; gives what advances it."""
        self.begin(what, jobs)
        try:
            yield self.ended
        finally:
            self.end()
