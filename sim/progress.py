"""How far a study is, on standard error: a bar where a person watches, nothing but notes where not.

Owns the only figure of the simulator that depends on the machine it runs on: how many times faster
than real time a run went, by processor time, which the neighbours do not change. It does not know
what runs; the command hands a `Bar` to `study.answer`.
"""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..core.clock import thread_cpu_ns

NS = 1e9


class Bar:
    """A `study.Reporter` for the terminal; use it in a `with`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("jobs"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None
        self._what = ""
        self._begun_ns = 0
        self._pending = 0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(text)

    def begin(self, what: str, jobs: int) -> None:
        """Start a bar of `jobs` jobs."""
        self._what, self._begun_ns, self._pending = what, thread_cpu_ns(), 0
        self._task = self._progress.add_task(what, total=jobs)

    def ended(self, jobs: int) -> None:
        """Advance the bar, in steps large enough not to slow the run."""
        self._pending += jobs
        if self._pending >= 100 and self._task is not None:
            self._progress.advance(self._task, self._pending)
            self._pending = 0

    def end(self, virtual_ns: int | None = None) -> None:
        """Remove the bar and say how fast the run went."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        cpu_ns = max(thread_cpu_ns() - self._begun_ns, 1)
        if virtual_ns is not None:
            self._console.print(
                f"{self._what}: {virtual_ns / NS:.0f} s in {cpu_ns / NS:.1f} s of processor time, "
                f"{virtual_ns / cpu_ns:.0f}x real time"
            )
