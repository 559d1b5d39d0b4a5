"""The jobs that have not ended: each has one place in the queue, and perhaps a deadline.

Owns which job holds a place, and when the next deadline is. A place is given back by the id of its
job, so that it goes back once, whoever sees the end first: the commit, a cancel, the sweep, or the
count in the pool. It knows no state of a job. `jobs.py` admits, `sweep.py` has it set right, and
`deadlines.py` acts on what is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from ...core.ids import JobId, TenantId
from ...core.pool import NewJob, OpenJob
from .backlog import Backlog

_FEW = 64


class OpenJobs:
    """Places by job. `backlog` counts them, by tenant, and bounds them."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self._tenants: dict[JobId, TenantId] = {}
        self._storing: set[JobId] = set()
        self._dues: list[tuple[int, JobId]] = []
        self._sooner = asyncio.Event()
        self._count: _Count | None = None

    def __len__(self) -> int:
        return len(self._tenants)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._tenants

    # places ---------------------------------------------------------------------------------------
    def admit(self, job: NewJob) -> None:
        """Give a job its place; `stored` or `not_stored` follows. Raises Overloaded."""
        self.backlog.admit(job.tenant)
        self._tenants[job.job_id] = job.tenant
        self._storing.add(job.job_id)

    def stored(self, job: NewJob) -> None:
        """The job is in the pool. It may have ended there since."""
        self._storing.discard(job.job_id)
        self._due(job.job_id, job.deadline_unix_ns)

    def not_stored(self, job: NewJob) -> None:
        """The pool did not say that it has the job. If it has, the next count finds it."""
        self._storing.discard(job.job_id)
        if self._tenants.pop(job.job_id, None) is not None:
            self.backlog.took_back(job.tenant)

    def found(self, job: OpenJob) -> None:
        """The pool has a job that this door did not store, or does not know to be stored."""
        if job.job_id not in self._tenants:
            self._tenants[job.job_id] = job.tenant
            self.backlog.found(job.tenant)
            self._due(job.job_id, job.deadline_unix_ns)

    def ended(self, job_id: JobId) -> None:
        """The job is final in the pool. Its place goes back, unless it went before."""
        if self._count is not None:
            self._count.ended.add(job_id)
        tenant = self._tenants.pop(job_id, None)
        if tenant is not None:
            self.backlog.ended(tenant)

    # the count ------------------------------------------------------------------------------------
    def begin_count(self) -> None:
        """The pool is asked now for its unfinished jobs. What happens until it answers is minded."""
        self._count = _Count(self._tenants.keys() - self._storing)

    def counted(self, unfinished: Iterable[OpenJob]) -> list[JobId]:
        """The pool has answered. Returns jobs that had ended unseen; their places went back."""
        count, self._count = self._count, None
        assert count is not None, "begin_count comes first"
        there: set[JobId] = set()
        for job in unfinished:
            there.add(job.job_id)
            if job.job_id not in count.ended:
                self.found(job)
        gone = [job_id for job_id in count.stored - there if job_id in self._tenants]
        for job_id in gone:
            self.ended(job_id)
        return gone

    # deadlines ------------------------------------------------------------------------------------
    def _due(self, job_id: JobId, due_unix_ns: int | None) -> None:
        if due_unix_ns is None or job_id not in self._tenants:
            return
        if len(self._dues) > 2 * len(self._tenants) + _FEW:
            self._dues = [due for due in self._dues if due[1] in self._tenants]
            heapify(self._dues)
        heappush(self._dues, (due_unix_ns, job_id))
        if self._dues[0][1] == job_id:
            self._sooner.set()

    def look_again(self, job_id: JobId, at_unix_ns: int) -> None:
        """The job was due and has not ended: it is due again."""
        self._due(job_id, at_unix_ns)

    def due(self, now_unix_ns: int) -> list[JobId]:
        """Jobs whose deadline has passed, the soonest first; each is named once."""
        out = []
        while self._dues and self._dues[0][0] <= now_unix_ns:
            _, job_id = heappop(self._dues)
            if job_id in self._tenants:
                out.append(job_id)
        return out

    async def next_due(self, now_unix_ns: int, most_s: float) -> None:
        """Wait until a deadline may have passed, but for `most_s` at most."""
        self._sooner.clear()
        wait_s = most_s
        if self._dues:
            wait_s = min(most_s, max(0.0, (self._dues[0][0] - now_unix_ns) / 1e9))
        try:
            async with asyncio.timeout(wait_s):
                await self._sooner.wait()
        except TimeoutError:
            pass


class _Count:
    """One question to the pool: what it must know of, and what ended while it counted."""

    def __init__(self, stored: set[JobId]) -> None:
        self.stored = stored
        self.ended: set[JobId] = set()
