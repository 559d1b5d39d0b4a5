"""The client without asyncio.

Owns `Client` and `Generation`: the driving of calls in the caller's thread, nothing else. What to
send, when to try again and which tokens are new is decided by the modules it shares with
client/aio.py.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from ..core.asked import AskedOptions
from ..core.clock import sleep_s
from ..core.errors import InternalError, SkipjoinError
from ..core.ids import JobId
from ..core.job import JobState
from ..core.view import Chunk, JobEvent, JobList, JobView
from ..proto import job_pool_pb2 as pb
from ..proto.convert import job_from_wire, jobs_from_wire
from ..proto.job_pool_pb2_grpc import JobPoolServiceStub
from ..proto.status import error_of_call
from .asked import Message, Params, request_id_of, spec_of
from .calls import (
    DEFAULT_TIMEOUT_S,
    Calls,
    broken_stream,
    cancel_request,
    ended_early,
    failed_call,
    list_request,
    submit_request,
)
from .channels import Channels
from .completion import Completion, completion_of
from .connection import DEFAULT_TARGET, TlsParams
from .follow import Follow
from .retry import Attempts, RetryParams

_R = TypeVar("_R")


class Client(Calls):
    """Talks to skipjoin servers from any threads. Use it with `with`, or call `close`.

    Calls raise the classes of skipjoin.core.errors: Overloaded carries `retry_after_s`; Unavailable
    comes only after the retries.
    """

    def __init__(
        self,
        targets: str | Sequence[str] = DEFAULT_TARGET,
        *,
        token: str | None = None,
        tls: TlsParams | None = None,
        insecure: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryParams | None = None,
    ) -> None:
        super().__init__(targets, token=token, tls=tls, insecure=insecure, timeout_s=timeout_s, retry=retry)
        self._channels: Channels[grpc.Channel] = Channels(self._transport.open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and close the connections; idempotent."""
        self._closed = True
        for channel in self._channels.drain():
            channel.close()

    def submit(
        self,
        prompt: str | None = None,
        *,
        token_ids: Sequence[int] | None = None,
        messages: Sequence[Message] | None = None,
        params: Params | None = None,
        request_id: str | None = None,
        job_timeout_s: float | None = None,
        cancel_on_disconnect: bool = False,
        **options: Unpack[AskedOptions],
    ) -> JobView:
        """Store a job; when this returns, the server has it on stable storage."""
        spec = spec_of(prompt, token_ids, messages, params, job_timeout_s, cancel_on_disconnect, options)
        answer = self._call("Submit", submit_request(spec, request_id), pb.SubmitResponse)
        return job_from_wire(answer.job)

    def get(self, job_id: str) -> JobView:
        """A job as it is stored. Raises NotFound."""
        return job_from_wire((self._call("Get", pb.GetRequest(job_id=job_id), pb.GetResponse)).job)

    def list(self, *, states: Iterable[JobState] = (), page_size: int = 0, page_token: str = "") -> JobList:
        """A page of jobs, newest first; `page_size` 0 is the server's default."""
        return jobs_from_wire(self._call("List", list_request(states, page_size, page_token), pb.ListResponse))

    def cancel(self, job_id: str, *, reason: str = "") -> JobView:
        """End a job; a final one stays as it is. Raises NotFound."""
        return job_from_wire((self._call("Cancel", cancel_request(job_id, reason), pb.CancelResponse)).job)

    def stream(
        self,
        job_id: str,
        *,
        offset: int = 0,
        timeout_s: float | None = None,
        on_event: Callable[[JobEvent], None] | None = None,
    ) -> Generation:
        """Follow a job from token `offset` on, across broken connections, every token once."""
        return Generation(self, Follow.stream(job_id, offset, on_event), self._attempts(timeout_s))

    def generate(
        self,
        prompt: str | None = None,
        *,
        token_ids: Sequence[int] | None = None,
        messages: Sequence[Message] | None = None,
        params: Params | None = None,
        request_id: str | None = None,
        job_timeout_s: float | None = None,
        cancel_on_disconnect: bool = False,
        timeout_s: float | None = None,
        on_event: Callable[[JobEvent], None] | None = None,
        **options: Unpack[AskedOptions],
    ) -> Generation:
        """Submit a job and follow it: `for chunk in client.generate(...)`, or
        `client.generate(...).result()`.
        """
        spec = spec_of(prompt, token_ids, messages, params, job_timeout_s, cancel_on_disconnect, options)
        follow = Follow.generate(spec, request_id_of(request_id), on_event)
        return Generation(self, follow, self._attempts(timeout_s))

    def _call(self, name: str, request: Any, answer: type[_R]) -> _R:
        attempts, target = self._attempts(self._timeout_s), self.preferred
        while True:
            try:
                with self._channels.to(self._transport.targets[target]) as channel:
                    call = getattr(JobPoolServiceStub(channel), name)
                    got = call(request, timeout=attempts.remaining_s(), metadata=self._transport.metadata)
            except grpc.RpcError as failure:
                error, hint_s = error_of_call(failed_call(failure))
                wait_s = attempts.failed(self._explained(error, target, attempts), hint_s)
            else:
                self._answered(target)
                if not isinstance(got, answer):
                    raise InternalError("The server's answer cannot be read.")
                return got
            target = self._next_target(target)
            sleep_s(wait_s)

    def _explained(self, error: SkipjoinError, target: int, attempts: Attempts) -> SkipjoinError:
        """The error with its address. Raises what a look at the address found: that does not go
        away by itself.
        """
        found = self._look(target, attempts) if self._shall_look(error, target) else None
        if found is not None:
            raise found
        return self._named(error, target)

    def find(self, follow: Follow) -> pb.GenerateResponse:
        """The job of a Generate whose answer has not come: its submit again, under the same
        request_id.
        """
        answer = self._call("Submit", follow.submit_again(), pb.SubmitResponse)
        return pb.GenerateResponse(job=answer.job)

    def follow(self, follow: Follow, attempts: Attempts) -> Generator[Chunk]:
        """The chunks of a stream across connections."""
        target = self.preferred
        while not follow.done:
            try:
                with closing(self._messages(target, follow, attempts)) as messages:
                    for message in messages:
                        known = follow.job_id
                        chunk = follow.take(message)
                        if chunk is not None or follow.job_id != known:
                            attempts.progressed()
                            self._answered(target)
                        if chunk is not None:
                            yield chunk
                        if follow.done:
                            return
                wait_s = attempts.failed(ended_early(), None)
            except grpc.RpcError as failure:
                error, hint_s = broken_stream(failed_call(failure), follow, attempts)
                wait_s = attempts.failed(self._explained(error, target, attempts), hint_s)
            target = self._next_target(target)
            sleep_s(wait_s)

    def _messages(self, target: int, follow: Follow, attempts: Attempts) -> Generator[Any]:
        """What one call brings."""
        request = follow.next_request()
        name = "Generate" if isinstance(request, pb.GenerateRequest) else "Stream"
        with self._channels.to(self._transport.targets[target]) as channel:
            ask = getattr(JobPoolServiceStub(channel), name)
            call = ask(request, timeout=attempts.remaining_s(), metadata=self._transport.metadata)
            try:
                yield from call
            finally:
                call.cancel()


class Generation(Iterator[Chunk]):
    """The chunks of one job; iterate over it once. The last chunk carries the finish.

    `job` and `job_id` are known once the server has the job (the first chunk has come); `offset` is
    where a stream would go on.
    """

    def __init__(self, client: Client, follow: Follow, attempts: Attempts) -> None:
        self._client = client
        self._follow = follow
        self._chunks = client.follow(follow, attempts)

    @property
    def job(self) -> JobView | None:
        """The job as it was accepted; None before, and for a stream of a job submitted earlier."""
        return self._follow.job

    @property
    def job_id(self) -> str | None:
        """The job's id; None before the server has the job."""
        return self._follow.job_id

    @property
    def offset(self) -> int:
        """Tokens received."""
        return self._follow.offset

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def result(self) -> Completion:
        """The whole answer, when called instead of iterating. Raises JobFailed, JobCancelled or
        DeadlineExceeded when the job did not succeed.
        """
        chunks = list(self)
        return completion_of(self.known_id, chunks)

    def cancel(self, *, reason: str = "") -> JobView:
        """End the job; what was generated before can still be read.

        When nothing came from the server yet, the job is found by its request_id first.
        """
        if self._follow.job_id is None:
            self._follow.take(self._client.find(self._follow))
        return self._client.cancel(self.known_id, reason=reason)

    def close(self) -> None:
        """Stop following; the job goes on, unless it was submitted with cancel_on_disconnect."""
        self._chunks.close()

    @property
    def known_id(self) -> JobId:
        """The job's id. Raises InternalError before the server has the job."""
        if self._follow.job_id is None:
            raise InternalError("The job has no id yet: nothing came from the server.")
        return self._follow.job_id
