"""JobPoolService: the public calls over gRPC.

Owns the way between messages and `Jobs`. It checks nothing that `Jobs` checks, and what a broken
stream means is `Following`'s. The door registers it on the public port.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from ...core.errors import InvalidInput, too_long
from ...core.ids import DEFAULT_TENANT
from ...core.sampling import SamplingParams
from ...core.view import Chunk, JobEvent, JobSpec, JobView
from ...proto import convert, terms
from ...proto import job_pool_pb2 as pb
from ..door.following import Following
from ..door.intake import MAX_MESSAGES
from ..door.jobs import Jobs
from ..door.turns import in_turns
from .rpc import Caller, Streaming, Unary


class JobServicer:
    """Handlers by method name, see `methods`."""

    def __init__(self, jobs: Jobs, defaults: SamplingParams) -> None:
        self._jobs = jobs
        self._defaults = defaults
        self.following = Following(jobs, "the stream broke")

    def methods(self) -> dict[str, Unary | Streaming]:
        """What `Gate.serve` takes."""
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
        spec, tenant = self._spec(request), caller.tenant or DEFAULT_TENANT
        job = await self.following.leave(spec, tenant, _request_id(request))
        return pb.SubmitResponse(job=convert.job_to_wire(job))

    def _spec(self, request: pb.SubmitRequest | pb.GenerateRequest) -> JobSpec:
        if not request.HasField("spec"):
            raise InvalidInput("spec is missing: it holds the prompt.", field="spec")
        self._check_lengths(request.spec)
        return convert.spec_from_wire(request.spec, self._defaults)

    def _check_lengths(self, spec: pb.JobSpec) -> None:
        """Raise for more ids or messages than there may be before they are taken out one by one:
        four megabytes hold millions.
        """
        ids, messages = len(spec.token_ids.ids), len(spec.messages.messages)
        most = self._jobs.engine().job_tokens
        if ids >= most:
            raise too_long(ids, most, "token_ids")
        if messages > MAX_MESSAGES:
            said = f"A conversation cannot have {messages} messages."
            raise InvalidInput(said, field="messages", limit=f"1..{MAX_MESSAGES}")

    async def stream(self, request: pb.StreamRequest, caller: Caller) -> AsyncIterator[pb.StreamResponse]:
        """Follow a job."""
        job = await self._jobs.get(request.job_id, caller.tenant)
        caller.taken_in()
        with self.following.held(job, caller.tenant):
            async with aclosing(self._follow(job, caller, request.offset, request.include_events)) as items:
                async for item in items:
                    if isinstance(item, Chunk):
                        yield pb.StreamResponse(chunk=convert.chunk_to_wire(item))
                    else:
                        yield pb.StreamResponse(event=convert.event_to_wire(item))

    async def generate(self, request: pb.GenerateRequest, caller: Caller) -> AsyncIterator[pb.GenerateResponse]:
        """Store a job and follow it."""
        spec, tenant, request_id = self._spec(request), caller.tenant or DEFAULT_TENANT, _request_id(request)
        with_events = request.include_events
        del request  # the stream may last for an hour, and its prompt is stored
        job = await self.following.submit(spec, tenant, request_id)
        del spec
        caller.taken_in()
        with self.following.held(job, caller.tenant):
            yield pb.GenerateResponse(job=convert.job_to_wire(job))
            async with aclosing(self._follow(job, caller, 0, with_events)) as items:
                async for item in items:
                    if isinstance(item, Chunk):
                        yield pb.GenerateResponse(chunk=convert.chunk_to_wire(item))
                    else:
                        yield pb.GenerateResponse(event=convert.event_to_wire(item))

    def _follow(self, job: JobView, caller: Caller, offset: int, with_events: bool) -> AsyncGenerator[Chunk | JobEvent]:
        return self._jobs.follow(job.job_id, caller.tenant, offset, with_events=with_events)

    async def get(self, request: pb.GetRequest, caller: Caller) -> pb.GetResponse:
        """One job."""
        return pb.GetResponse(job=convert.job_to_wire(await self._jobs.get(request.job_id, caller.tenant)))

    async def list(self, request: pb.ListRequest, caller: Caller) -> pb.ListResponse:
        """A page of the tenant's jobs."""
        states = terms.states_from_wire(request.states)
        page = await self._jobs.list(caller.tenant, states, request.page_size, request.page_token)
        answer = pb.ListResponse(next_page_token=page.next_page_token)
        async for job in in_turns(page.jobs, convert.job_to_wire, self._jobs.turns):
            answer.jobs.append(job)
        return answer

    async def cancel(self, request: pb.CancelRequest, caller: Caller) -> pb.CancelResponse:
        """End a job."""
        job = await self._jobs.cancel(request.job_id, caller.tenant, request.reason)
        return pb.CancelResponse(job=convert.job_to_wire(job))


def _request_id(request: pb.SubmitRequest | pb.GenerateRequest) -> str | None:
    return request.request_id if request.HasField("request_id") else None
