"""The count of calls that gRPC holds: from what arrived and what was handed over, at the pace of
the last ones.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import grpc.aio
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from skipjoin.core.clock import ManualClock
from skipjoin.serving.grpc.waiting import LOOK_EVERY, Waiting, arrivals, newest_server


def test_what_arrived_and_was_not_handed_over_waits_at_the_pace_of_the_last_ones() -> None:
    arrived, clock = 0, ManualClock()
    waiting = Waiting(lambda: arrived, lambda: False, clock)
    assert (waiting.count(), waiting.wait_ns()) == (0, 0)
    arrived = 1000
    for _ in range(LOOK_EVERY):
        waiting.handed_over()
    assert waiting.count() == 1000 - LOOK_EVERY
    assert waiting.wait_ns() == (1000 - LOOK_EVERY) * 1_000_000  # until there is a pace, a guess
    for _ in range(LOOK_EVERY):
        clock.advance(5_000_000)
        waiting.handed_over()
    assert waiting.wait_ns() == (1000 - 2 * LOOK_EVERY) * 5_000_000
    while waiting.count():
        waiting.handed_over()
    clock.advance(10**12)  # a pause of the clients says nothing of the pace
    arrived = 2000
    for _ in range(LOOK_EVERY):
        waiting.handed_over()
    assert waiting.wait_ns() < 1000 * 10_000_000


def test_calls_that_were_broken_off_before_they_were_handed_over_are_forgotten_when_the_loop_rests() -> None:
    arrived, rested = 500, False
    waiting = Waiting(lambda: arrived, lambda: rested, ManualClock())
    for _ in range(LOOK_EVERY):
        waiting.handed_over()
    assert waiting.count() == 500 - LOOK_EVERY
    rested = True
    for _ in range(LOOK_EVERY):
        waiting.handed_over()
    assert waiting.count() == 0
    arrived += 40
    rested = False
    for _ in range(LOOK_EVERY):
        waiting.handed_over()
    assert waiting.count() == 40 - LOOK_EVERY


def test_a_few_that_were_broken_off_are_forgotten_when_the_loop_rests_twice() -> None:
    arrived, rested = 20 + LOOK_EVERY, True
    waiting = Waiting(lambda: arrived, lambda: rested, ManualClock())

    def look(came: int) -> int:
        nonlocal arrived
        arrived += came
        for _ in range(LOOK_EVERY):
            waiting.handed_over()
        return waiting.count()

    assert look(0) == 20  # they may wait still
    assert look(LOOK_EVERY) == 0
    assert look(LOOK_EVERY + 5) == 5
    rested = False
    assert look(LOOK_EVERY) == 5  # a busy loop says nothing of them


def test_calls_that_were_forgotten_and_came_all_the_same_are_counted_right_again() -> None:
    arrived = 32 * LOOK_EVERY
    waiting = Waiting(lambda: arrived, lambda: True, ManualClock())
    for _ in range(32 * LOOK_EVERY):  # the first look forgets the rest of them
        waiting.handed_over()
    arrived += LOOK_EVERY + 30
    for _ in range(LOOK_EVERY):
        waiting.handed_over()
    assert waiting.count() == 30


def test_grpc_says_how_many_calls_have_come_to_which_server() -> None:
    async def main() -> None:
        servers = []
        for _ in range(2):
            server = grpc.aio.server(options=[("grpc.enable_channelz", 1)])
            port = server.add_insecure_port("127.0.0.1:0")
            servers.append((server, port, arrivals(newest_server())))
            await server.start()
        for (_, port, _), calls in zip(servers, (3, 1), strict=True):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for _ in range(calls):
                    with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                        await channel.unary_unary("/no.Such/Method")(b"")
        assert [arrived() for _, _, arrived in servers] == [3, 1]
        for server, _, _ in servers:
            await server.stop(None)

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer", ["[]", "no json", '{"server": [{}]}', '{"server": 5}', '{"server": [{"ref": {"serverId": "x"}}]}']
)
def test_a_grpc_that_answers_otherwise_makes_nothing_wait_and_is_logged_once(
    answer: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cygrpc, "channelz_get_servers", lambda number: answer)
    assert newest_server() is None
    assert [arrivals(None)() for _ in range(3)] == [0, 0, 0]
    assert len(caplog.records) == 1
    assert "max_call_wait_ms has no effect" in caplog.text


def test_a_grpc_without_channelz_makes_nothing_wait_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arrived = arrivals(1)
    monkeypatch.delattr(cygrpc, "channelz_get_servers")
    assert [arrived() for _ in range(3)] == [0, 0, 0]
    assert len(caplog.records) == 1
    monkeypatch.setitem(sys.modules, "grpc._cython", None)
    assert newest_server() is None
