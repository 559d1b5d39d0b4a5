"""How far a download is, on standard error: a bar where a person watches, nothing elsewhere.

Owns the bar. It does not know where the bytes come from; hub.py reports to it.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn


class DownloadBar:
    """Bytes of one model; use it in a `with`."""

    def __init__(self, name: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(name, total=None)
        self._name = name

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def of(self, total: int, files: int) -> None:
        """So many bytes in so many files are wanted."""
        self._progress.update(self._task, total=total, description=f"{self._name} ({files} files)")

    def at(self, done: int) -> None:
        """So many are here."""
        self._progress.update(self._task, completed=done)
