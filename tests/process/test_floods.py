"""Clients that ask for more than a server can do at once: every call ends with a typed answer, and a bystander is served meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from bystander import bystander, door_memory
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from process_server import Server, spec

from skipjoin.proto import job_pool_pb2 as pb
from skipjoin.proto.job_pool_pb2_grpc import JobPoolServiceStub

Serve = Callable[..., Server]
LONGEST_S = 0.5
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
        ended = flood(server, 3000, _submit)
    assert set(ended) <= {"OK", "RESOURCE_EXHAUSTED OVERLOADED with a hint"}, ended
    assert ended["OK"] >= 1
    assert (seen.failures, seen.reasons) == (0, [])
    assert seen.longest_s <= LONGEST_S, seen
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
