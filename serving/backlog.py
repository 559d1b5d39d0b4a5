"""How many jobs wait or run, and when to come back if that is too many.

Owns the count of unfinished jobs and the rate at which they end. It knows no job; jobs.py asks before it stores one, the journal tells of ends,
the sweep sets it right.
"""

from __future__ import annotations

from ..core.clock import Clock
from ..core.errors import Overloaded

_MEMORY_S = 10.0
_MIN_RETRY_S = 0.5
_MAX_RETRY_S = 60.0


class Backlog:
    """A bounded count."""

    def __init__(self, limit: int, open_jobs: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._decayed_ends = 0.0
        self._last_ns = clock.now_ns()
        self.open_jobs = open_jobs
        self.refused = 0

    def admit(self) -> None:
        """Count one job in. Raises Overloaded with a hint when the queue is full."""
        if self.open_jobs >= self._limit:
            self.refused += 1
            raise Overloaded(
                f"The queue is full ({self._limit} jobs).",
                retry_after_s=self.retry_after_s(),
                limit=f"{self._limit} jobs",
            )
        self.open_jobs += 1

    def took_back(self) -> None:
        """A job counted in was not stored."""
        self.open_jobs -= 1

    def ended(self) -> None:
        """A job is final."""
        self.open_jobs = max(0, self.open_jobs - 1)
        self._decay()
        self._decayed_ends += 1.0

    def set_right(self, open_jobs: int) -> None:
        """The pool has counted."""
        self.open_jobs = open_jobs

    def retry_after_s(self) -> float:
        """Seconds until about a hundredth of the queue will have ended at the present rate."""
        self._decay()
        per_second = self._decayed_ends / _MEMORY_S
        if per_second <= 0:
            return _MAX_RETRY_S / 12
        return min(_MAX_RETRY_S, max(_MIN_RETRY_S, self._limit / 100 / per_second))

    def _decay(self) -> None:
        now = self._clock.now_ns()
        self._decayed_ends *= 0.5 ** ((now - self._last_ns) / (_MEMORY_S * 0.7 * 1e9))
        self._last_ns = now
