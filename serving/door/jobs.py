"""The service behind every door: submit, follow, get, list, cancel.

Owns the order of things: checks, the bound of the queue, the durable write, the claim. It knows no
wire: the gRPC servicer, HTTP and the operator's service call the same methods and get core values
or SkipjoinErrors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from ...core.errors import Conflict, InvalidInput, SkipjoinError, Unavailable
from ...core.ids import TenantId
from ...core.job import JobState
from ...core.pool import JobQuery, JobRecord, NewJob, view_of
from ...core.view import MAX_REASON, Chunk, JobEvent, JobList, JobSpec, JobView
from ..facts import EngineFacts
from .claimed import ClaimedJobs
from .claims import Claims
from .intake import Intake, check_job_id
from .journal import Journal
from .open_jobs import OpenJobs
from .store import Store
from .streams import Streams
from .turns import Turns, in_turns

DEFAULT_PAGE = 100
MAX_PAGE = 1000
LISTS_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Jobs:
    """One server's jobs. `facts` answers the engine's facts, None until the first engine was ready."""

    store: Store
    table: ClaimedJobs
    intake: Intake
    open_jobs: OpenJobs
    claims: Claims
    journal: Journal
    streams: Streams
    facts: Callable[[], EngineFacts | None]
    turns: Turns = field(default_factory=Turns)
    lists: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LISTS_AT_A_TIME))

    def engine(self) -> EngineFacts:
        """The engine's facts. Raises Unavailable until the first engine was ready."""
        facts = self.facts()
        if facts is None:
            raise Unavailable("The server is starting; try again.")
        return facts

    async def prepared(self, spec: JobSpec, tenant: TenantId, request_id: str | None = None) -> NewJob:
        """The job that is asked for, not yet stored. Raises InvalidInput, NeverFits, Overloaded,
        Unavailable.
        """
        return await self.intake.job(spec, tenant, request_id, self.engine())

    async def keep(self, job: NewJob) -> JobView:
        """Store what was prepared; when this answers, it is durable. A repeated request_id answers
        the first job, whatever refuses newcomers.

        It must not be cancelled halfway, see `Following`. Raises Conflict, Overloaded, Unavailable.
        """
        try:
            self._admit(job)
        except SkipjoinError as refusal:
            return view_of(await self._first_of(job, refusal))
        try:
            record = await self.store.submit(job)
        except Exception:
            self.open_jobs.not_stored(job)
            raise
        if record.job.job_id == job.job_id:
            self.open_jobs.stored(job)
        else:
            self.open_jobs.not_stored(job)
        if record.state is JobState.ACCEPTED:
            self.claims.kick()  # the first job of this request_id may have been stored without its answer, too
        await self.turns.take_answer()  # one commit stores hundreds
        return view_of(record)

    async def _first_of(self, job: NewJob, refusal: SkipjoinError) -> JobRecord:
        """The job that was stored under the same request_id. Raises Conflict; else `refusal`, also
        when the pool cannot be read.
        """
        try:
            first = await self.store.first_of(job)
        except Conflict:
            raise
        except SkipjoinError:
            raise refusal from None
        if first is None:
            raise refusal
        return first

    def _admit(self, job: NewJob) -> None:
        """Give the job a place. Raises Unavailable, Overloaded."""
        if self.claims.closed:
            raise Unavailable("The server is going down.")
        self.journal.check_writable()
        self.open_jobs.admit(job)

    def follow(
        self, job_id: str, tenant: TenantId | None, offset: int = 0, *, with_events: bool = False
    ) -> AsyncGenerator[Chunk | JobEvent]:
        """Chunks from `offset` on, see `Streams.follow`."""
        return self.streams.follow(check_job_id(job_id), tenant, offset, with_events=with_events)

    async def get(self, job_id: str, tenant: TenantId | None) -> JobView:
        """One job. Raises NotFound, for another tenant's too."""
        return view_of(await self.streams.record(check_job_id(job_id), tenant))

    async def list(
        self,
        tenant: TenantId | None,
        states: frozenset[JobState] = frozenset(),
        page_size: int = 0,
        page_token: str = "",
    ) -> JobList:
        """Jobs newest first. Raises InvalidInput for a negative page size or a token that no list
        gave.
        """
        if page_size < 0:
            raise InvalidInput("page_size is negative.", field="page_size", limit=f"0..{MAX_PAGE}")
        query = JobQuery(tenant, states, min(page_size or DEFAULT_PAGE, MAX_PAGE), page_token)
        async with self.lists:
            page = await self.store.scan(lambda reader: reader.list(query))
            views = [view async for view in in_turns(page.jobs, view_of, self.turns)]
        return JobList(tuple(views), page.next_page_token)

    async def cancel(self, job_id: str, tenant: TenantId | None, reason: str = "") -> JobView:
        """End a job; a final one stays as it is. Raises NotFound."""
        if len(reason) > MAX_REASON:
            raise InvalidInput("reason is too long.", field="reason", limit=f"at most {MAX_REASON} characters")
        checked = check_job_id(job_id)
        await self.streams.record(checked, tenant)
        record = await self.store.call(lambda pool: pool.cancel(checked, reason))
        claimed = self.table.jobs.get(checked)
        if claimed is not None:
            await self.claims.cancel(claimed)
        elif record.state.final:
            self.open_jobs.ended(checked)
            self.streams.tell(checked)
        return view_of(record)
