"""Deadlines of jobs, kept whether or not an engine lives.

Owns the wait for the next deadline, and who ends a job then: the engine that has it, if it does so
in time, else the door. It knows no places and no streams. The door runs it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ...core.clock import unix_ns
from ...core.errors import SkipjoinError, StoreUnavailable
from ...core.ids import JobId
from ...core.job import FinishReason
from .claimed import ClaimedJobs
from .journal import Journal
from .open_jobs import OpenJobs
from .sweep import Sweep

log = logging.getLogger("skipjoin.door")

_LOOK_S = 1.0
"""The clock on the wall may be set while the door waits for a time on it."""
GRACE_NS = 500_000_000
"""An engine ends a job at its next turn, and knows where the job's time went. So long is it waited
for.
"""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Ends jobs whose time is over."""

    open_jobs: OpenJobs
    table: ClaimedJobs
    journal: Journal
    sweep: Sweep

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            await self.open_jobs.next_due(unix_ns(), _LOOK_S)
            await self.look()

    async def look(self) -> None:
        """End what is due now."""
        now = unix_ns()
        in_the_pool = [job_id for job_id in self.open_jobs.due(now) if not self._ended(job_id, now)]
        if in_the_pool:
            await self._expire()

    async def _expire(self) -> None:
        while True:
            try:
                return await self.sweep.expire()
            except StoreUnavailable:
                await self.sweep.store.well()
            except SkipjoinError as error:
                return log.warning("jobs are past their deadline and could not be ended: %s", error)

    def _ended(self, job_id: JobId, now_unix_ns: int) -> bool:
        """Whether the job is claimed, here. One that no engine answers for is ended."""
        claimed = self.table.jobs.get(job_id)
        if claimed is None:
            return False
        deadline = claimed.record.job.deadline_unix_ns
        patience = (deadline or 0) + GRACE_NS
        if claimed.handle is None or claimed.parked or now_unix_ns >= patience:
            self.journal.end(claimed, FinishReason.EXPIRED)
        else:
            self.open_jobs.look_again(job_id, patience)
        return True
