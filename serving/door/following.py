"""A client that follows a job, and what it means when the client goes.

Owns the one conduct of all doors: a submit that no broken connection undoes halfway, and the cancel
of a job whose client went, if the job was submitted so. It knows no wire. The gRPC servicer and the
HTTP calls have one each. They differ in the reason that is kept with the job, and in what the cap
on a call means, for HTTP has no call that follows a job again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...core.errors import InternalError, SkipjoinError
from ...core.ids import TenantId
from ...core.pool import NewJob
from ...core.view import JobSpec, JobView
from .call_cap import capped_out
from .jobs import Jobs

log = logging.getLogger("skipjoin.door")


@dataclass(slots=True, eq=False)
class Following:
    """What a door does for clients that wait for their jobs."""

    jobs: Jobs
    gone: str
    """The reason kept with a job that is cancelled because its client went."""
    capped: str | None = None
    """The reason kept with a job that is cancelled because its call lasted for too long. None: the
    client can follow the job in another call, and the job goes on.
    """
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
        """The body answers the client. A call that is cancelled and a connection that breaks mean
        that the client went, or that the call had its time.

        An error of ours is no wish of the client's, and its job goes on. What no client should see
        of it is logged here. Raises InternalError for that.
        """
        try:
            yield
        except SkipjoinError:
            raise  # The server ended it, and says so.
        except (asyncio.CancelledError, GeneratorExit, ConnectionError):
            reason = self.capped if capped_out() else self.gone
            if reason is not None:
                self._left(job, tenant, reason)
            raise
        except Exception as error:
            log.exception("following job %s failed, which is a fault of the server's own", job.job_id)
            raise InternalError("The server failed at this call; it is logged there.") from error

    async def settled(self) -> None:
        """Wait until every store and every cancel that is under way is in the pool, or could not
        be; a store may begin a cancel.
        """
        while under_way := self._stores | self._cancels:
            await asyncio.wait(under_way)

    def _left(self, job: JobView, tenant: TenantId | None, reason: str) -> None:
        """Nobody waits for the job any more. The server's own end is no wish of the client's."""
        if not self.jobs.streams.closed:
            self._cancel_if_asked(job, tenant, reason)

    def _cancel_if_asked(self, job: JobView, tenant: TenantId | None, reason: str) -> None:
        if job.cancel_on_disconnect:
            task = asyncio.create_task(self._cancel(job, tenant, reason))
            self._cancels.add(task)
            task.add_done_callback(self._cancels.discard)

    async def _cancel(self, job: JobView, tenant: TenantId | None, reason: str) -> None:
        try:
            await self.jobs.cancel(job.job_id, tenant, reason)
        except SkipjoinError as error:
            log.warning("job %s runs on although its client went, for its cancel failed: %s", job.job_id, error)
        except Exception:
            log.exception("job %s runs on although its client went, for its cancel failed", job.job_id)

    def _stored_for_nobody(self, storing: asyncio.Task[JobView], tenant: TenantId) -> None:
        if not storing.cancelled() and storing.exception() is None:
            # It went while it was served, whatever has ended since.
            self._cancel_if_asked(storing.result(), tenant, self.gone)
