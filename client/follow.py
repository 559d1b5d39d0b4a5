"""One stream across as many connections as it takes: every token once.

Owns `Follow`: which call comes next, and which tokens of a message are new. It makes no call and
knows no waiting; both clients drive it.
"""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import InternalError, InvalidInput
from ..core.ids import JobId
from ..core.view import Chunk, JobEvent, JobSpec, JobView
from ..proto import job_pool_pb2 as pb
from ..proto.convert import chunk_from_wire, event_from_wire, job_from_wire, spec_to_wire


class Follow:
    """The state of a stream: the job (None until a Generate has its answer), the next offset,
    whether the end has come.

    `on_event` hears of preemptions and the like; None: the server sends no events.
    """

    def __init__(self, on_event: Callable[[JobEvent], None] | None, *, offset: int = 0) -> None:
        if not 0 <= offset < 2**63:
            raise InvalidInput(f"offset is {offset}.", field="offset", limit="0 or more")
        self.job: JobView | None = None
        self.job_id: JobId | None = None
        self.offset = offset
        self.done = False
        self._on_event = on_event
        self._generate: pb.GenerateRequest | None = None

    @classmethod
    def stream(cls, job_id: str, offset: int, on_event: Callable[[JobEvent], None] | None) -> Follow:
        """Follow a job that was submitted before. Raises InvalidInput for a negative offset."""
        follow = cls(on_event, offset=offset)
        follow.job_id = JobId(job_id)
        return follow

    @classmethod
    def generate(cls, spec: JobSpec, request_id: str, on_event: Callable[[JobEvent], None] | None) -> Follow:
        """Submit a job and follow it."""
        follow = cls(on_event)
        follow._generate = pb.GenerateRequest(
            spec=spec_to_wire(spec), request_id=request_id, include_events=on_event is not None
        )
        return follow

    def next_request(self) -> pb.GenerateRequest | pb.StreamRequest:
        """The call to make now: Generate until the job is known, then Stream from the next offset."""
        if self.job_id is None:
            assert self._generate is not None
            return self._generate
        return pb.StreamRequest(job_id=self.job_id, offset=self.offset, include_events=self._on_event is not None)

    def submit_again(self) -> pb.SubmitRequest:
        """The submit that a Generate contains, under the same request_id."""
        assert self._generate is not None
        return pb.SubmitRequest(spec=self._generate.spec, request_id=self._generate.request_id)

    def take(self, message: pb.GenerateResponse | pb.StreamResponse | None) -> Chunk | None:
        """The new tokens of a message, if it has any. Raises InternalError when the server leaves
        tokens out or sends nonsense.
        """
        if message is None:  # grpc.aio gives None for bytes that are no message
            raise InternalError("The server's answer cannot be read.")
        try:
            match message.WhichOneof("item"):
                case "job" if isinstance(message, pb.GenerateResponse):
                    self.job = job_from_wire(message.job)
                    self.job_id = self.job.job_id
                    return None
                case "chunk":
                    return self._fresh(chunk_from_wire(message.chunk))
                case "event":
                    if self._on_event is not None:
                        self._on_event(event_from_wire(message.event))
        except InvalidInput as error:
            raise InternalError(f"The server sent a message that makes no sense: {error.message}") from error
        return None  # an item of a later version

    def _fresh(self, chunk: Chunk) -> Chunk | None:
        if chunk.offset > self.offset:
            raise InternalError(f"The server left out tokens {self.offset} to {chunk.offset - 1}.")
        if chunk.offset < self.offset and chunk.token_ids:
            # Its text cannot be divided, and a stream never starts before the offset that it was
            # asked for.
            raise InternalError(f"The server sent token {chunk.offset} twice.")
        self.offset = max(self.offset, chunk.end)
        self.done = chunk.finish is not None
        return chunk if chunk.token_ids or chunk.text or self.done else None
