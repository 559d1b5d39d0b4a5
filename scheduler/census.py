"""How many jobs of each level run, and who waits longest.

Owns the numbers behind the queue metrics. It knows neither places nor quanta; the MLFQ policies keep it beside their queues.
"""

from __future__ import annotations

from ..core.ids import Handle
from .calendar import Calendar


class Census:
    """Running jobs and waits by level; a level appears when it is first used."""

    def __init__(self) -> None:
        self._waits: list[Calendar] = []
        self._running: list[int] = []

    def waits(self, handle: Handle, level: int, since_ns: int) -> None:
        """A job of `level` waits since `since_ns`."""
        self._cover(level)
        self._waits[level - 1].set(handle, since_ns)

    def waits_no_more(self, handle: Handle, level: int) -> None:
        """It does not, or not on this level."""
        self._waits[level - 1].discard(handle)

    def runs(self, level: int, change: int) -> None:
        """`change` more jobs of `level` run."""
        self._cover(level)
        self._running[level - 1] += change

    def running(self, level: int) -> int:
        """Running jobs of `level`."""
        self._cover(level)
        return self._running[level - 1]

    def longest_wait_ns(self, level: int, now_ns: int) -> int:
        """The longest current wait on `level`; 0 when nobody waits."""
        self._cover(level)
        since = self._waits[level - 1].next_ns
        return 0 if since is None else now_ns - since

    def levels_waiting(self, handle: Handle) -> list[int]:
        """The levels on which a job counts as waiting."""
        return [at + 1 for at, calendar in enumerate(self._waits) if handle in calendar]

    def _cover(self, level: int) -> None:
        while len(self._waits) < level:
            self._waits.append(Calendar())
            self._running.append(0)
