"""What every gRPC call passes before its method hears of it, over real gRPC: who is refused, when,
and with which details.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2

from skipjoin.core.errors import InvalidInput
from skipjoin.core.ids import TenantId
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.serving.door.access import Access
from skipjoin.serving.door.payloads import Payloads
from skipjoin.serving.door.shares import Shares
from skipjoin.serving.grpc.admission import Admission
from skipjoin.serving.grpc.health import MAX_CALLS, Health
from skipjoin.serving.grpc.messages import MessageBounds, Messages
from skipjoin.serving.grpc.rpc import Caller, Gate, UnknownMethods, _check_metadata, by_token
from skipjoin.serving.settings import ServeSettings
from skipjoin.serving.wiring import _room, open_to_anyone

SERVICE = pb.DESCRIPTOR.services_by_name["JobPoolService"]
HEALTH: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
NAME = "/skipjoin.v1.JobPoolService/"
ACCESS = Access(((TenantId("red"), hashlib.sha256(b"key").digest()),))
RED = (("authorization", "Bearer key"),)


class Methods:
    """Answers every call, and counts what it holds."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, TenantId | None]] = []
        self.go_on = asyncio.Event()
        self.ends: list[type[BaseException]] = []
        self.ended = asyncio.Event()

    async def unary(self, request: pb.GetRequest, caller: Caller) -> pb.GetResponse:
        self.heard.append((request.job_id, caller.tenant))
        return pb.GetResponse(job=pb.Job(job_id=request.job_id))

    async def stream(self, request: pb.StreamRequest, caller: Caller) -> AsyncIterator[pb.StreamResponse]:
        self.heard.append((request.job_id, caller.tenant))
        caller.taken_in()
        try:
            yield pb.StreamResponse(chunk=pb.Chunk(offset=1))
            if request.offset:
                yield None  # type: ignore[misc]  # a fault of ours: it cannot be written
            await self.go_on.wait()
        except BaseException as end:
            self.ends.append(type(end))
            self.ended.set()
            raise

    def table(self) -> dict[str, Any]:
        streams = {"Stream", "Generate"}
        return {m.name: self.stream if m.name in streams else self.unary for m in SERVICE.methods}


Test = Callable[[grpc.aio.Channel, Methods, Payloads], Awaitable[None]]


def _run(
    test: Test,
    *,
    calls: int = 8,
    payload_bytes: int = 1 << 20,
    most: int = 1 << 16,
    apart: dict[str, Admission] | None = None,
    timeout_s: float = 20.0,
) -> list[str]:
    """Run against a server of its own; answers the codes of the errors that were answered."""
    refused: list[str] = []

    async def main() -> None:
        payloads, methods = Payloads(Shares(payload_bytes)), Methods()
        gate = Gate(
            by_token(ACCESS),
            Admission(calls),
            Messages(payloads, MessageBounds(most, timeout_s)),
            60.0,
            refused=lambda error: refused.append(error.code),
            apart=apart or {},
        )
        server = grpc.aio.server(options=[("grpc.per_message_decompression", 0), ("grpc.max_metadata_size", 1 << 17)])
        gate.serve(server, SERVICE, methods.table())
        server.add_generic_rpc_handlers((UnknownMethods(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(30):
                await test(channel, methods, payloads)
            assert payloads.held_bytes == 0
        finally:
            methods.go_on.set()
            await server.stop(1.0)

    asyncio.run(main())
    return refused


def _said(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, str]:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert isinstance(details, bytes), f"no details with {error}"
    info = ErrorInfo()
    assert Status.FromString(details).details[0].Unpack(info)
    return error.code(), info.reason, info.metadata["field"]


async def _fails(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return _said(failed.value)


async def _never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def _none() -> AsyncIterator[bytes]:
    for nothing in ():
        yield nothing


GET = pb.GetRequest(job_id="x").SerializeToString()


def test_a_stream_hears_whether_its_client_went_or_its_write_failed() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        left = channel.unary_stream(NAME + "Stream")(GET, metadata=RED)
        await left.read()
        left.cancel()
        await methods.ended.wait()
        unwritable = pb.StreamRequest(job_id="x", offset=1).SerializeToString()
        call = channel.unary_stream(NAME + "Stream")(unwritable, metadata=RED)
        await call.read()
        assert (await _fails(call.read()))[:2] == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert methods.ends == [asyncio.CancelledError, AttributeError]

    assert _run(test) == ["INTERNAL"]


def test_a_call_is_answered_for_its_tenant() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        answer = await channel.unary_unary(NAME + "Get")(GET, metadata=RED)
        assert pb.GetResponse.FromString(answer).job.job_id == "x"
        call = channel.unary_stream(NAME + "Stream")(GET, metadata=RED)
        assert pb.StreamResponse.FromString(await call.read()).chunk.offset == 1
        assert payloads.held_bytes == 0  # a stream holds no message
        methods.go_on.set()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert methods.heard == [("x", "red")] * 2

    assert _run(test) == []


def test_who_may_not_call_is_refused_before_a_message_comes() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        for name, make in (("Get", channel.stream_unary), ("Stream", channel.stream_stream)):
            call = make(NAME + name)(_never())  # its message never comes
            answer = call if name == "Get" else call.read()
            assert await _fails(answer) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "")
        assert methods.heard == []

    assert _run(test) == ["UNAUTHENTICATED"] * 2


def test_beyond_its_places_a_call_is_refused_before_its_message_comes() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        streams = [channel.unary_stream(NAME + "Stream")(GET, metadata=RED) for _ in range(8)]
        for stream in streams:
            await stream.read()
        call = channel.stream_unary(NAME + "Get")(_never(), metadata=RED)
        assert await _fails(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "calls")
        assert methods.heard == [("x", "red")] * 8
        for stream in streams:
            stream.cancel()

    assert _run(test) == ["OVERLOADED"]


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_no_message_is_said_with_details(streaming: bool) -> None:
    name = NAME + ("Stream" if streaming else "Get")

    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        def ask(data: bytes | None, compression: grpc.Compression | None = None, metadata: Any = RED) -> Awaitable[Any]:
            make = channel.stream_stream if streaming else channel.stream_unary

            async def once() -> AsyncIterator[bytes]:
                assert data is not None
                yield data

            call = make(name)(_none() if data is None else once(), metadata=metadata, compression=compression)
            return call.read() if streaming else call

        bad = grpc.StatusCode.INVALID_ARGUMENT
        assert await _fails(ask(None)) == (bad, "INVALID_INPUT", "request")
        assert await _fails(ask(b"\xff\xff\xff")) == (bad, "INVALID_INPUT", "request")
        big = pb.GetRequest(job_id="x" * 10_000).SerializeToString()
        bomb = gzip.compress(bytes(1 << 26))
        assert len(bomb) < 1 << 16
        for packed in (bomb, gzip.compress(big)[:-9], b"\x1f\x8b" + big):
            assert await _fails(ask(packed)) == (bad, "INVALID_INPUT", "request")
        much = (*RED, ("x-long", "y" * 20_000))
        assert await _fails(ask(GET, metadata=much)) == (bad, "INVALID_INPUT", "metadata")
        assert methods.heard == []
        await ask(big, grpc.Compression.Gzip)
        assert methods.heard == [("x" * 10_000, "red")]
        methods.go_on.set()

    assert _run(test) == ["INVALID_INPUT"] * 6


def test_a_message_that_does_not_come_has_room_and_time_or_is_refused() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        slow = [asyncio.ensure_future(channel.stream_unary(NAME + "Get")(_never(), metadata=RED)) for _ in range(2)]
        while payloads.held_bytes < 2 << 16:  # noqa: ASYNC110 - what is waited for is plain state
            await asyncio.sleep(0.01)
        # There is no room for a third that is slow, and one that is there at once needs none.
        call = channel.stream_unary(NAME + "Get")(_never(), metadata=RED)
        assert await _fails(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "")
        await channel.unary_unary(NAME + "Get")(GET, metadata=RED)
        for late in slow:
            assert await _fails(late) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "request")
        assert methods.heard == [("x", "red")]

    _run(test, payload_bytes=(2 << 16) + 100, timeout_s=0.8)


def test_a_connection_that_says_nothing_leaves_half_of_the_room_to_others() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        def says_nothing(at: grpc.aio.Channel) -> asyncio.Future[Any]:
            return asyncio.ensure_future(at.stream_unary(NAME + "Get")(_never(), metadata=RED))

        # Of eight places for long messages it gets four, for all its calls.
        silent = [says_nothing(channel) for _ in range(8)]
        refused, waiting = await asyncio.wait(silent, timeout=1.0)
        assert (len(refused), len(waiting), payloads.held_bytes) == (4, 4, 4 << 16)
        for call in refused:
            assert await _fails(call) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "")
        for call in waiting:
            call.cancel()
        while payloads.held_bytes:  # noqa: ASYNC110 - what is waited for is plain state
            await asyncio.sleep(0.01)

    _run(test, payload_bytes=8 << 16, calls=16)


def test_a_tenants_part_that_is_smaller_than_a_message_is_said_at_start(caplog: pytest.LogCaptureFixture) -> None:
    def room(tenants: int) -> Shares:
        digests = ((TenantId(f"t{i}"), hashlib.sha256(b"%d" % i).digest()) for i in range(tenants))
        return _room(ServeSettings(model="x"), Access(tuple(digests)))

    assert room(8).own == 4 << 20
    assert caplog.records == []
    assert room(9).own < 4 << 20
    assert "75497472 would do" in caplog.text


class Late:
    """A call whose message comes some iterations after the loop was held."""

    def __init__(self) -> None:
        self.held = asyncio.Event()

    async def read(self) -> bytes:
        await self.held.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        return b"message"

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"


def test_a_message_that_came_while_the_loop_was_busy_needs_no_room() -> None:
    async def main() -> None:
        payloads = Payloads(Shares(200))
        messages = Messages(payloads, MessageBounds(1 << 16))
        context: Any = Late()
        with payloads.reserve(TenantId("red")) as payload:
            reads = asyncio.create_task(messages.read_bytes(context, payload))
            await asyncio.sleep(0)
            context.held.set()
            time.sleep(0.2)  # noqa: ASYNC251 - the loop is held, and the look is due
            assert await reads == b"message"
            assert payloads.held_bytes == 7

    asyncio.run(main())


def test_watchers_do_not_hold_the_places_of_questions() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        streams = [channel.unary_stream(NAME + "Stream")(GET, metadata=RED) for _ in range(2)]
        for stream in streams:
            await stream.read()
        assert await _fails(channel.unary_stream(NAME + "Stream")(GET, metadata=RED).read()) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "calls",
        )  # fmt: skip
        await channel.unary_unary(NAME + "Get")(GET, metadata=RED)
        for stream in streams:
            stream.cancel()

    assert _run(test, calls=1, apart={"Stream": Admission(2)}) == ["OVERLOADED"]


def test_health_is_said_to_whom_is_slow_and_whatever_watchers_hold() -> None:
    async def late() -> AsyncIterator[bytes]:
        await asyncio.sleep(0.1)
        yield b""

    async def main() -> None:
        health = Health()
        gate = open_to_anyone(
            Gate(by_token(ACCESS), Admission(8), Messages(Payloads(Shares(1 << 20)), MessageBounds(4 << 20)), 60.0)
        )
        server = grpc.aio.server()
        gate.serve(server, HEALTH, health.methods())
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(30):
            watches = [channel.unary_stream("/grpc.health.v1.Health/Watch")(b"") for _ in range(MAX_CALLS)]
            for watch in watches:
                await watch.read()
            assert await channel.stream_unary("/grpc.health.v1.Health/Check")(late()) == b"\x08\x02"
            for watch in watches:
                watch.cancel()
        await server.stop(1.0)

    asyncio.run(main())


def test_a_long_message_of_many_fields_is_refused_before_it_is_parsed() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        bad = grpc.StatusCode.INVALID_ARGUMENT
        crumbs = b"\x52\x00" * 50_000  # parsed, they would be fields that are not known
        assert await _fails(channel.unary_unary(NAME + "Get")(crumbs, metadata=RED)) == (
            bad,
            "INVALID_INPUT",
            "request",
        )
        long = pb.GetRequest(job_id="x" * 100_000).SerializeToString()
        await asyncio.gather(*(channel.unary_unary(NAME + "Get")(long, metadata=RED) for _ in range(3)))
        assert methods.heard == [("x" * 100_000, "red")] * 3

    assert _run(test, most=1 << 20, payload_bytes=8 << 20) == ["INVALID_INPUT"]


def test_a_method_that_is_not_there_is_said_with_details() -> None:
    async def test(channel: grpc.aio.Channel, methods: Methods, payloads: Payloads) -> None:
        for name in (NAME + "Nothing", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/x/y"):
            call = channel.unary_unary(name)(GET)
            assert await _fails(call) == (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD", "method")

    _run(test)


@pytest.mark.parametrize(
    ("metadata", "limit"),
    [([("x", "")] * 513, "at most 512 entries"), ([("x", "y" * 16_352)], "at most 16384 bytes")],
)
def test_too_much_metadata_is_refused_before_anyone_reads_it(metadata: list[tuple[str, str]], limit: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _check_metadata(metadata)
    assert (refused.value.field, refused.value.limit) == ("metadata", limit)
    _check_metadata(metadata[1:400])
