"""A client that follows a job, and what it means when the client goes.

Owns the one conduct of all doors: a submit that no broken connection undoes halfway, and the cancel
of a job whose client went, if the job was submitted so. It knows no wire. The gRPC servicer and the
HTTP calls have one each and differ only in the reason that is kept with the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...core.errors import SkipjoinError
from ...core.ids import TenantId
from ...core.pool import NewJob
from ...core.view import JobSpec, JobView
from .call_cap import capped_out
from .jobs import Jobs

log = logging.getLogger("skipjoin.door")


@dataclass(slots=True, eq=False)
class Following:
    """What a door does for clients that wait for their jobs. `gone` is the reason kept with a job
    that is cancelled because its client went.
    """

    jobs: Jobs
    gone: str
    _cancels: set[asyncio.Task[None]] = field(default_factory=set)
    _stores: set[asyncio.Task[JobView]] = field(default_factory=set)

    async def submit(self, spec: JobSpec, tenant: TenantId, request_id: str | None) -> JobView:
        """Store the job, see `Jobs.keep`. A client that goes meanwhile does not stop the store; its
        job counts as left behind then.

        A client that goes before, while its prompt is being made into tokens, has asked for nothing
        yet: that is given up.
        """
        storing = self._storing(await self.jobs.prepared(spec, tenant, request_id))
        try:
            return await asyncio.shield(storing)
        except asyncio.CancelledError:
            if not self.jobs.streams.closed:  # else the door ends the call, and its client did not go
                storing.add_done_callback(lambda task: self._stored_for_nobody(task, tenant))
            raise

    async def leave(self, spec: JobSpec, tenant: TenantId, request_id: str | None) -> JobView:
        """Store the job of a client that does not wait for its end, as `submit` does; a client that
        goes meanwhile cancels nothing.
        """
        return await asyncio.shield(self._storing(await self.jobs.prepared(spec, tenant, request_id)))

    def _storing(self, job: NewJob) -> asyncio.Task[JobView]:
        """The store goes on without its caller."""
        task = asyncio.create_task(self.jobs.keep(job))
        self._stores.add(task)
        task.add_done_callback(self._stored)
        return task

    def _stored(self, task: asyncio.Task[JobView]) -> None:
        self._stores.discard(task)
        if not task.cancelled():
            task.exception()  # the caller heard of it, unless it went

    @contextmanager
    def held(self, job: JobView, tenant: TenantId | None) -> Iterator[None]:
        """The body answers the client. Whatever ends it but its own end, an error of ours or the
        cap on a call that can be made again means that the client went.
        """
        try:
            yield
        except SkipjoinError:
            raise  # The server ended it, and says so.
        except BaseException:
            if not capped_out():
                self._left(job, tenant)
            raise

    async def settled(self) -> None:
        """Wait until every store and every cancel that is under way is in the pool, or could not
        be; a store may begin a cancel.
        """
        while under_way := self._stores | self._cancels:
            await asyncio.wait(under_way)

    def _left(self, job: JobView, tenant: TenantId | None) -> None:
        """The client went away or its deadline passed. The server's own end is no wish of the
        client's.
        """
        if not self.jobs.streams.closed:
            self._cancel_if_asked(job, tenant)

    def _cancel_if_asked(self, job: JobView, tenant: TenantId | None) -> None:
        if job.cancel_on_disconnect:
            task = asyncio.create_task(self._cancel(job, tenant))
            self._cancels.add(task)
            task.add_done_callback(self._cancels.discard)

    async def _cancel(self, job: JobView, tenant: TenantId | None) -> None:
        try:
            await self.jobs.cancel(job.job_id, tenant, self.gone)
        except SkipjoinError as error:
            log.warning("job %s runs on although its client went, for its cancel failed: %s", job.job_id, error)
        except Exception:
            log.exception("job %s runs on although its client went, for its cancel failed", job.job_id)

    def _stored_for_nobody(self, storing: asyncio.Task[JobView], tenant: TenantId) -> None:
        if not storing.cancelled() and storing.exception() is None:
            self._cancel_if_asked(storing.result(), tenant)  # it went while it was served, whatever has ended since
