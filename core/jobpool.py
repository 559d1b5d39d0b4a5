"""The port of the durable job pool.

Owns `JobReader` and `JobPool`. It knows no store; `jobpool/` has them. Its rows are the values of
pool.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .ids import JobId
from .pool import JobPage, JobQuery, JobRecord, LogBatch, NewJob, OpenJob, PoolDepth, Swept, TokenSlice


class JobReader(Protocol):
    """Questions to the durable pool. Methods are synchronous and called from one thread; a stored
    job that is damaged is DataLoss.

    They raise StoreUnavailable when the pool cannot be read now.
    """

    def first_of(self, job: NewJob) -> JobRecord | None:
        """The job that was stored under the same tenant and request_id, None without one. Raises
        Conflict when the body differs.
        """
        ...

    def get(self, job_id: JobId) -> JobRecord:
        """The job without prompt and tokens. Raises NotFound."""
        ...

    def tokens(self, job_id: JobId, offset: int) -> TokenSlice:
        """The log from `offset` on. Raises NotFound, OffsetOutOfRange."""
        ...

    def list(self, query: JobQuery) -> JobPage:
        """Jobs newest first, paged, without prompts. Raises InvalidInput for a forged page token."""
        ...

    def depth(self) -> PoolDepth:
        """Counts by state."""
        ...

    def unfinished(self) -> Sequence[OpenJob]:
        """All jobs that are not final."""
        ...

    def close(self) -> None:
        """Close; idempotent. A pool closes after its readers."""
        ...


class JobPool(JobReader, Protocol):
    """The durable pool: jobs, their states and their token logs. Methods are synchronous and called
    from one thread.

    Every method that writes returns only when the write is on stable storage (`durable`), and
    raises StoreUnavailable when it cannot.
    """

    @property
    def durable(self) -> bool:
        """False: acknowledged jobs are gone with the process, and whoever starts it is told."""
        ...

    def open_epoch(self, owner: str) -> int:
        """A new owner takes the pool: answers its epoch, larger than all before. Writes under an
        older epoch are refused from now on.
        """
        ...

    def reader(self) -> JobReader | None:
        """A second way in that only reads and waits for no write, for the calling thread; None: ask
        the pool itself, on its own thread.
        """
        ...

    def look(self) -> None:
        """Whether what is written now would be found after a restart, in microseconds. Raises
        StoreUnavailable.
        """
        ...

    def probe(self) -> None:
        """Write something that changes nothing: whether the pool can be written. Raises
        StoreUnavailable.
        """
        ...

    def submit(self, jobs: Sequence[NewJob]) -> list[JobRecord | Exception]:
        """Store jobs in one commit. Per job: its record (the first one's on a repeated request_id),
        or Conflict when the body differs.
        """
        ...

    def claim(self, epoch: int, limit: int) -> list[JobRecord]:
        """Up to `limit` jobs, oldest first, ACCEPTED or CLAIMED under an older epoch, with prompt
        and tokens so far; they become CLAIMED(epoch).
        """
        ...

    def commit(self, epoch: int, batch: LogBatch) -> None:
        """Append one turn's tokens and ends in one commit.

        Writes nothing and raises InvariantViolation when a position is not the log's length,
        WrongState when `epoch` is an old one.
        """
        ...

    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        """ACCEPTED: becomes CANCELLED at once. CLAIMED: is marked, the owner ends it. Final:
        unchanged. Raises NotFound.
        """
        ...

    def mark_crash(self, epoch: int, job_ids: Sequence[JobId]) -> None:
        """Count one engine crash against these jobs: after two a job runs alone."""
        ...

    def sweep(self, now_unix_ns: int, keep_ns: int) -> Swept:
        """Expire ACCEPTED jobs past their deadline, delete final jobs older than `keep_ns`. Call
        until it touches none.
        """
        ...
