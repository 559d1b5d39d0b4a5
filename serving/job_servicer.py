"""JobPoolService: the public calls over gRPC.

Owns the way between messages and `Jobs`, and what a broken stream means. It checks nothing that `Jobs` checks. The door registers it on the
public port.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from ..core.errors import InvalidInput, SkipjoinError
from ..core.ids import DEFAULT_TENANT
from ..core.sampling import SamplingParams
from ..core.view import Chunk, JobEvent, JobView
from ..proto import convert, terms
from ..proto import job_pool_pb2 as pb
from .jobs import Jobs
from .rpc import Caller, Streaming, Unary


class JobServicer:
    """Handlers by method name, see `methods`."""

    def __init__(self, jobs: Jobs, defaults: SamplingParams) -> None:
        self._jobs = jobs
        self._defaults = defaults
        self._cancels: set[asyncio.Task[JobView]] = set()

    def methods(self) -> dict[str, Unary | Streaming]:
        """What `rpc.service_handler` takes."""
        return {
            "Submit": self.submit,
            "Stream": self.stream,
            "Get": self.get,
            "List": self.list,
            "Cancel": self.cancel,
            "Generate": self.generate,
        }

    async def submit(self, request: pb.SubmitRequest, caller: Caller) -> pb.SubmitResponse:
        """Store a job."""
        return pb.SubmitResponse(job=convert.job_to_wire(await self._submit(request, caller)))

    async def _submit(self, request: pb.SubmitRequest | pb.GenerateRequest, caller: Caller) -> JobView:
        if not request.HasField("spec"):
            raise InvalidInput("spec is missing: it holds the prompt.", field="spec")
        spec = convert.spec_from_wire(request.spec, self._defaults)
        request_id = request.request_id if request.HasField("request_id") else None
        return await self._jobs.submit(spec, caller.tenant or DEFAULT_TENANT, request_id)

    async def stream(self, request: pb.StreamRequest, caller: Caller) -> AsyncIterator[pb.StreamResponse]:
        """Follow a job."""
        job = await self._jobs.get(request.job_id, caller.tenant)
        with self._watched(job, caller):
            async with aclosing(self._follow(job, caller, request.offset, request.include_events)) as items:
                async for item in items:
                    if isinstance(item, Chunk):
                        yield pb.StreamResponse(chunk=convert.chunk_to_wire(item))
                    else:
                        yield pb.StreamResponse(event=convert.event_to_wire(item))

    async def generate(self, request: pb.GenerateRequest, caller: Caller) -> AsyncIterator[pb.GenerateResponse]:
        """Store a job and follow it."""
        storing = asyncio.create_task(self._submit(request, caller))
        try:
            job = await asyncio.shield(storing)
        except asyncio.CancelledError:
            storing.add_done_callback(lambda task: self._abandoned(task, caller))
            raise
        with self._watched(job, caller):
            yield pb.GenerateResponse(job=convert.job_to_wire(job))
            async with aclosing(self._follow(job, caller, 0, request.include_events)) as items:
                async for item in items:
                    if isinstance(item, Chunk):
                        yield pb.GenerateResponse(chunk=convert.chunk_to_wire(item))
                    else:
                        yield pb.GenerateResponse(event=convert.event_to_wire(item))

    def _follow(self, job: JobView, caller: Caller, offset: int, with_events: bool) -> AsyncGenerator[Chunk | JobEvent]:
        return self._jobs.follow(job.job_id, caller.tenant, offset, with_events=with_events)

    @contextmanager
    def _watched(self, job: JobView, caller: Caller) -> Iterator[None]:
        """Whatever ends the body but its own end or an error of ours means that the stream broke."""
        try:
            yield
        except SkipjoinError:
            raise  # The server ended it, and says so.
        except BaseException:
            self._broke(job, caller)
            raise

    def _broke(self, job: JobView, caller: Caller) -> None:
        """The client went away or its deadline passed. The server's own end is no wish of the client's."""
        if job.cancel_on_disconnect and not self._jobs.streams.closed:
            task = asyncio.create_task(self._jobs.cancel(job.job_id, caller.tenant, "the stream broke"))
            self._cancels.add(task)
            task.add_done_callback(self._cancels.discard)

    def _abandoned(self, storing: asyncio.Task[JobView], caller: Caller) -> None:
        """A Generate broke before its job was stored."""
        if not storing.cancelled() and storing.exception() is None:
            self._broke(storing.result(), caller)

    async def get(self, request: pb.GetRequest, caller: Caller) -> pb.GetResponse:
        """One job."""
        return pb.GetResponse(job=convert.job_to_wire(await self._jobs.get(request.job_id, caller.tenant)))

    async def list(self, request: pb.ListRequest, caller: Caller) -> pb.ListResponse:
        """A page of the tenant's jobs."""
        states = terms.states_from_wire(list(request.states))
        page = await self._jobs.list(caller.tenant, states, request.page_size, request.page_token)
        return convert.jobs_to_wire(page)

    async def cancel(self, request: pb.CancelRequest, caller: Caller) -> pb.CancelResponse:
        """End a job."""
        job = await self._jobs.cancel(request.job_id, caller.tenant, request.reason)
        return pb.CancelResponse(job=convert.job_to_wire(job))
