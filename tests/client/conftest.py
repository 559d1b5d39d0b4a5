"""A door for the SDK's tests: a real gRPC server over a small pool in memory, and a TCP relay that
can be cut.

Owns `FakeDoor`, which keeps the service's promises (idempotent submits, streams from any offset)
and misbehaves on demand, and `Relay`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from skipjoin.client import AsyncClient, Client, RetryParams
from skipjoin.core.errors import InvalidInput, NotFound, OffsetOutOfRange, SkipjoinError
from skipjoin.core.ids import JobId, Level
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.view import Chunk, Finish, JobEvent, JobEventKind, JobView
from skipjoin.proto import convert, status
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceServicer, add_JobPoolServiceServicer_to_server

TABLE = [f" {n}".encode() for n in range(100)]
QUICK = RetryParams(first_s=0.001, longest_s=0.01, give_up_s=20.0)


class FakeJob:
    """A job whose output is `length` tokens 0, 1, 2, ...; `released` says how many may be streamed."""

    def __init__(self, view: JobView, length: int, released: int) -> None:
        self.view = view
        self.length = length
        self.released = released
        self.finish: Finish | None = None


class FakeDoor(JobPoolServiceServicer):
    """The service on a loopback port. `fail` maps a method to errors (or callables) for its next
    calls.
    """

    def __init__(self, jobs: dict[str, FakeJob] | None = None) -> None:
        self.jobs = {} if jobs is None else jobs
        self.by_request: dict[str, str] = {}
        self.calls: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, Any]] = []
        self.fail: dict[str, list[SkipjoinError | Callable[[Any], None]]] = {}
        self.after: dict[str, list[SkipjoinError]] = {}  # the work is done, the answer is lost
        self.length = 6
        self.release: int | None = None  # tokens that a new job may stream; None: all
        self.end_early = False  # streams end without a finish
        self.spoil: Callable[[Chunk], Chunk] = lambda chunk: chunk
        self.changed = threading.Condition()
        self._server: grpc.Server | None = None
        self.port = 0

    # the server
    # ---------------------------------------------------------------------------------------------------
    def start(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> str:
        self._server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        add_JobPoolServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None
        with self.changed:
            self.changed.notify_all()

    def count(self, method: str) -> int:
        return sum(name == method for name, _ in self.calls)

    def let_go(self, tokens: int = 10**9) -> None:
        """Let every job stream up to `tokens` tokens."""
        with self.changed:
            self.release = tokens
            for job in self.jobs.values():
                job.released = tokens
            self.changed.notify_all()

    # the methods
    # --------------------------------------------------------------------------------------------------
    def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitResponse:  # noqa: N802
        self._called("Submit", request, context)
        return pb.SubmitResponse(job=convert.job_to_wire(self._submit(request, context, "Submit").view))

    def Get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:  # noqa: N802
        self._called("Get", request, context)
        return pb.GetResponse(job=convert.job_to_wire(self._job(request.job_id, context).view))

    def List(self, request: pb.ListRequest, context: Any) -> pb.ListResponse:  # noqa: N802
        self._called("List", request, context)
        views = [job.view for job in reversed(self.jobs.values())]
        start, size = int(request.page_token or 0), request.page_size or 2
        more = str(start + size) if start + size < len(views) else ""
        page = [convert.job_to_wire(view) for view in views[start : start + size]]
        return pb.ListResponse(jobs=page, next_page_token=more)

    def Cancel(self, request: pb.CancelRequest, context: Any) -> pb.CancelResponse:  # noqa: N802
        self._called("Cancel", request, context)
        job = self._job(request.job_id, context)
        with self.changed:
            job.finish = Finish(FinishReason.CANCELLED, min(job.released, job.length))
            self.changed.notify_all()
        return pb.CancelResponse(job=convert.job_to_wire(job.view))

    def Stream(self, request: pb.StreamRequest, context: Any) -> Iterator[pb.StreamResponse]:  # noqa: N802
        self._called("Stream", request, context)
        job = self._job(request.job_id, context)
        if request.offset > job.length:
            self._abort(context, OffsetOutOfRange("Beyond the log.", field="offset", limit=f"0..{job.length}"))
        for item in self._items(job, request.offset, request.include_events, context):
            if isinstance(item, JobEvent):
                yield pb.StreamResponse(event=convert.event_to_wire(item))
            else:
                yield pb.StreamResponse(chunk=convert.chunk_to_wire(item))

    def Generate(self, request: pb.GenerateRequest, context: Any) -> Iterator[pb.GenerateResponse]:  # noqa: N802
        self._called("Generate", request, context)
        job = self._submit(request, context, "Generate")
        yield pb.GenerateResponse(job=convert.job_to_wire(job.view))
        for item in self._items(job, 0, request.include_events, context):
            if isinstance(item, JobEvent):
                yield pb.GenerateResponse(event=convert.event_to_wire(item))
            else:
                yield pb.GenerateResponse(chunk=convert.chunk_to_wire(item))

    # what they share
    # ----------------------------------------------------------------------------------------------
    def _called(self, method: str, request: Any, context: Any) -> None:
        self.calls.append((method, request))
        self.metadata.append(dict(context.invocation_metadata()))
        if self.fail.get(method):
            trouble = self.fail[method].pop(0)
            if isinstance(trouble, SkipjoinError):
                self._abort(context, trouble)
            trouble(context)

    def _abort(self, context: Any, error: SkipjoinError, retry_after_s: float | None = None) -> None:
        code, message, metadata = status.abort_args(error, retry_after_s=retry_after_s)
        context.set_trailing_metadata(metadata)
        context.abort(code, message)

    def _job(self, job_id: str, context: Any) -> FakeJob:
        if job_id not in self.jobs:
            self._abort(context, NotFound("No such job.", field="job_id"))
        return self.jobs[job_id]

    def _submit(self, request: Any, context: Any, method: str) -> FakeJob:
        try:
            spec = convert.spec_from_wire(request.spec)
        except InvalidInput as error:
            self._abort(context, error)
        if request.request_id not in self.by_request:
            job_id = JobId(f"{len(self.jobs):032x}")
            prompt = len(spec.token_ids or ()) or len(spec.text or "")
            view = JobView(job_id, JobState.ACCEPTED, prompt, spec.asked, 1, request_id=request.request_id)
            self.jobs[job_id] = FakeJob(view, self.length, self.length if self.release is None else self.release)
            self.by_request[request.request_id] = job_id
        if self.after.get(method):
            self._abort(context, self.after[method].pop(0))
        return self.jobs[self.by_request[request.request_id]]

    def _items(self, job: FakeJob, offset: int, events: bool, context: Any) -> Iterator[Chunk | JobEvent]:
        if events:
            yield JobEvent(JobEventKind.STARTED, 5, level=Level(1))
        for position in range(offset, job.length):
            with self.changed:
                while context.is_active() and job.released <= position and job.finish is None:
                    self.changed.wait(0.05)
                if not context.is_active():
                    return
                if job.released <= position:
                    break
            before, now = (b"".join(TABLE[:end]).decode() for end in (position, position + 1))
            yield self.spoil(Chunk(position, (position,), now[len(before) :]))
        if self.end_early:
            return
        end = job.finish or Finish(FinishReason.LENGTH, job.length)
        yield Chunk(min(job.length, end.output_tokens), finish=end)


class Relay:
    """A TCP relay to one port; `cut` drops every connection as a broken cable would."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self.connections += 1
            self._open += [near, far]
            for ends in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._pump, args=ends))
                self._threads[-1].start()

    @staticmethod
    def _pump(a: socket.socket, b: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        for end in (a, b):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for end in self._open:
            end.close()


class SyncDriver:
    """One way to use the SDK from a test: without asyncio."""

    client = Client

    def use(self, work: Callable[[Any], Any], targets: Any, **settings: Any) -> Any:
        """Give a client to `work`, which answers a value, or a list of calls on it as (method,
        args).
        """
        with Client(targets, retry=settings.pop("retry", QUICK), **settings) as client:
            return work(client)

    def call(self, targets: Any, method: str, *args: Any, settings: dict[str, Any] | None = None, **named: Any) -> Any:
        return self.use(lambda client: getattr(client, method)(*args, **named), targets, **(settings or {}))

    def collect(
        self,
        targets: Any,
        method: str,
        *args: Any,
        seen: Callable[[Chunk, Any], None] | None = None,
        settings: dict[str, Any] | None = None,
        **named: Any,
    ) -> list[Chunk]:
        def work(client: Any) -> list[Chunk]:
            chunks = []
            generation = getattr(client, method)(*args, **named)
            for chunk in generation:
                chunks.append(chunk)
                if seen is not None:
                    seen(chunk, generation)
            return chunks

        return self.use(work, targets, **(settings or {}))

    def result(self, targets: Any, *args: Any, settings: dict[str, Any] | None = None, **named: Any) -> Any:
        return self.use(lambda client: client.generate(*args, **named).result(), targets, **(settings or {}))


class AsyncDriver(SyncDriver):
    """The same with asyncio."""

    client = AsyncClient  # type: ignore[assignment]

    def use(self, work: Callable[[Any], Any], targets: Any, **settings: Any) -> Any:
        async def inside() -> Any:
            async with AsyncClient(targets, retry=settings.pop("retry", QUICK), **settings) as client:
                return await work(client)

        return asyncio.run(inside())

    def collect(
        self,
        targets: Any,
        method: str,
        *args: Any,
        seen: Callable[[Chunk, Any], None] | None = None,
        settings: dict[str, Any] | None = None,
        **named: Any,
    ) -> list[Chunk]:
        async def work(client: Any) -> list[Chunk]:
            chunks = []
            generation = getattr(client, method)(*args, **named)
            async for chunk in generation:
                chunks.append(chunk)
                if seen is not None:
                    seen(chunk, generation)
            return chunks

        return self.use(work, targets, **(settings or {}))


@pytest.fixture(params=[SyncDriver, AsyncDriver], ids=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> SyncDriver:
    return request.param()


@pytest.fixture
def new_door() -> Iterator[Callable[..., FakeDoor]]:
    doors: list[FakeDoor] = []

    def make(*args: Any) -> FakeDoor:
        doors.append(FakeDoor(*args))
        return doors[-1]

    yield make
    for door in doors:
        door.stop()


@pytest.fixture
def door(new_door: Callable[..., FakeDoor]) -> FakeDoor:
    return new_door()


@pytest.fixture
def new_relay() -> Iterator[Callable[[int], Relay]]:
    relays: list[Relay] = []

    def make(port: int) -> Relay:
        relays.append(Relay(port))
        return relays[-1]

    yield make
    for relay in relays:
        relay.close()
