"""Clients that ask for more than a server can do at once: every call ends with a typed answer, and
a bystander is served meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from bystander import bystander, door_memory
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from process_server import Server, spec

from skipjoin.client import AsyncClient, RetryParams
from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

Serve = Callable[..., Server]
LONGEST_S = 0.5
FLOOD_S = 1.0
"""A Submit and a Stream stand behind 160 calls of the flood each, the job among those of the flood
that are taken in, and all share two cores.
"""
GROWN_BYTES = 200 << 20


def outcome(error: grpc.aio.AioRpcError) -> str:
    """Code, reason and whether there is a hint when to come back."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if not isinstance(details, bytes):
        return f"{error.code().name} without details: {error.details()}"
    info, hint = ErrorInfo(), RetryInfo()
    for detail in Status.FromString(details).details:
        detail.Unpack(info) if detail.Is(ErrorInfo.DESCRIPTOR) else detail.Unpack(hint)
    return f"{error.code().name} {info.reason}" + (" with a hint" if hint.HasField("retry_delay") else "")


def flood(server: Server, calls: int, ask: Callable[[Any], Awaitable[object]]) -> Counter[str]:
    """So many calls at once on one connection; how each ended."""

    async def main() -> Counter[str]:
        ended: Counter[str] = Counter()

        async def one(stub: Any) -> None:
            try:
                await ask(stub)
            except grpc.aio.AioRpcError as error:
                ended[outcome(error)] += 1
            else:
                ended["OK"] += 1

        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = JobPoolServiceStub(channel)
            await asyncio.gather(*(one(stub) for _ in range(calls)))
        return ended

    return asyncio.run(main())


async def _submit(stub: Any) -> object:
    return await stub.Submit(pb.SubmitRequest(spec=spec(tokens=1)))


@pytest.mark.alone
def test_thousands_of_submits_at_once_are_answered_or_refused_with_a_hint(serve: Serve) -> None:
    server = serve()
    with bystander(server, "submit") as seen, door_memory(server.pid) as memory:
        ended = flood(server, 2000, _submit)
    assert set(ended) <= {"OK", "RESOURCE_EXHAUSTED OVERLOADED with a hint"}, ended
    assert ended["OK"] >= 1
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= FLOOD_S, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory
    with server.stub() as stub:
        assert len(list(stub.Generate(pb.GenerateRequest(spec=spec(tokens=2)), timeout=30))) >= 2


@pytest.mark.alone
def test_more_streams_than_places_on_one_connection_are_refused_and_do_not_wait_in_silence(serve: Serve) -> None:
    server = serve("--max-streams", "100", "--simulated-scale", "5")
    with server.stub() as stub:
        job = stub.Submit(pb.SubmitRequest(spec=spec(tokens=200, ignore_eos=True))).job

    async def follow(stub: Any) -> object:
        async for _ in stub.Stream(pb.StreamRequest(job_id=job.job_id)):
            pass
        return None

    with bystander(server, "submit") as seen:
        ended = flood(server, 1000, follow)
    assert set(ended) == {"OK", "RESOURCE_EXHAUSTED OVERLOADED with a hint"}, ended
    assert ended["OK"] <= 112
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= LONGEST_S, seen


@pytest.mark.alone
def test_the_sdk_opens_connections_for_more_streams_than_one_may_have(serve: Serve) -> None:
    # However slow the machine: calls that wait to be taken in are refused for another reason.
    server = serve("--max-connection-calls", "100", "--max-call-wait-ms", "60000")

    async def follow_all() -> set[int]:
        async with AsyncClient(f"127.0.0.1:{server.port}", retry=RetryParams(give_up_s=0)) as client:
            job = await client.submit("x", params={"max_new_tokens": 40, "ignore_eos": True})
            ended = await asyncio.gather(*(client.stream(job.job_id).result() for _ in range(300)))
            return {len(answer.token_ids) for answer in ended}

    with bystander(server, "submit") as seen:
        assert asyncio.run(follow_all()) == {40}
    assert (seen.failures, seen.reasons) == (0, [])


@pytest.mark.alone
def test_connections_that_say_nothing_keep_nobody_out(serve: Serve) -> None:
    server = serve()
    with bystander(server, "submit", fresh=True) as seen, door_memory(server.pid) as memory, ExitStack() as held:
        for _ in range(600):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        time.sleep(1.0)
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= LONGEST_S, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory


@pytest.mark.alone
def test_large_messages_of_many_clients_with_and_without_a_token_hurt_nobody(serve: Serve, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{t} {hashlib.sha256(f'{t}-key'.encode()).hexdigest()}\n" for t in ("red", "blue")))
    server = serve("--tokens", str(tokens))
    data = pb.SubmitRequest(spec=spec("x" * 4_100_000)).SerializeToString()
    ended: Counter[str] = Counter()

    async def client(metadata: Any, until: float) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            submit = channel.unary_unary("/skipjoin.v1.JobPoolService/Submit")
            while time.monotonic() < until:
                try:
                    await submit(data, metadata=metadata, timeout=20)
                except grpc.aio.AioRpcError as error:
                    ended[outcome(error)] += 1
                else:
                    ended["OK"] += 1

    async def attack() -> None:
        until = time.monotonic() + 4.0
        red = (("authorization", "Bearer red-key"),)
        await asyncio.gather(*(client(red, until) for _ in range(12)), *(client((), until) for _ in range(40)))

    with bystander(server, "submit", token="blue-key") as seen, door_memory(server.pid) as memory:
        asyncio.run(attack())
    assert set(ended) <= {
        "INVALID_ARGUMENT NEVER_FITS",
        "RESOURCE_EXHAUSTED OVERLOADED with a hint",
        "UNAUTHENTICATED UNAUTHENTICATED",
    }, ended
    assert ended["INVALID_ARGUMENT NEVER_FITS"] >= 1
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= 1.0, seen
    assert memory.grown_bytes <= GROWN_BYTES, memory
