"""How many jobs wait or run, and when to come back if that is too many.

Owns the count of unfinished jobs, by tenant, and the rate at which they end. It knows no job;
`open_jobs.py` says which jobs are counted.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.clock import Clock
from ...core.errors import Overloaded
from ...core.ids import TenantId
from .shares import Shares

_MEMORY_S = 10.0
_MIN_RETRY_S = 0.5
_MAX_RETRY_S = 60.0


class Backlog:
    """A bounded count; `shares` is the bound. `on_full` hears of every refusal."""

    def __init__(self, shares: Shares, clock: Clock, on_full: Callable[[], None] = lambda: None) -> None:
        self._shares = shares
        self._clock = clock
        self._decayed_ends = 0.0
        self._last_ns = clock.now_ns()
        self.on_full = on_full

    @property
    def open_jobs(self) -> int:
        """Unfinished jobs of all tenants."""
        return self._shares.total

    def admit(self, tenant: TenantId) -> None:
        """Count one job in. Raises Overloaded with a hint when the queue is full, or all of it that
        this tenant can have.
        """
        if not self._shares.fits(tenant):
            self.on_full()
            whole = self.open_jobs >= self._shares.limit
            limit = self._shares.limit if whole else self._shares.largest(tenant)
            raise Overloaded(
                f"The queue is full ({limit} jobs)."
                if whole
                else "The queue has no room for more jobs of this tenant.",
                retry_after_s=self.retry_after_s(),
                limit=f"{limit} jobs",
            )
        self._shares.take(tenant)

    def took_back(self, tenant: TenantId) -> None:
        """A job counted in was not stored."""
        self._shares.give_back(tenant)

    def ended(self, tenant: TenantId) -> None:
        """A job is final."""
        self._shares.give_back(tenant)
        self._decay()
        self._decayed_ends += 1.0

    def found(self, tenant: TenantId) -> None:
        """A job was stored before, or without its answer: it counts, whatever the bound."""
        self._shares.take(tenant)

    def retry_after_s(self) -> float:
        """Seconds until about a hundredth of the queue will have ended at the present rate."""
        self._decay()
        per_second = self._decayed_ends / _MEMORY_S
        if per_second <= 0:
            return _MAX_RETRY_S / 12
        return min(_MAX_RETRY_S, max(_MIN_RETRY_S, self._shares.limit / 100 / per_second))

    def _decay(self) -> None:
        now = self._clock.now_ns()
        self._decayed_ends *= 0.5 ** ((now - self._last_ns) / (_MEMORY_S * 0.7 * 1e9))
        self._last_ns = now
