"""Lanes: a short text does not wait behind a long one, what would wait too long is refused, and
what has not begun is dropped with its client.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from skipjoin.core.errors import Overloaded, Unavailable
from skipjoin.core.ids import TenantId
from skipjoin.serving.door.lanes import LONG_TEXT, Lane, Lanes

RED, BLUE = TenantId("red"), TenantId("blue")


@asynccontextmanager
async def busy(lane: Lane, count: int) -> AsyncIterator[threading.Event]:
    """So many pieces of work that last until the block ends or the event is set."""
    gate = threading.Event()
    tasks = [asyncio.create_task(lane.run(RED, gate.wait)) for _ in range(count)]
    await asyncio.sleep(0)
    try:
        yield gate
    finally:
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_a_short_text_does_not_wait_behind_long_ones() -> None:
    async def run() -> None:
        lanes = Lanes(10.0)
        async with busy(lanes.for_text(LONG_TEXT + 1), 5):
            assert await lanes.for_text(LONG_TEXT).run(RED, len, "abc") == 3
            assert await lanes.chats.run(RED, len, "ab") == 2
        lanes.close()

    asyncio.run(run())


def test_what_would_wait_too_long_is_refused_with_a_hint() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=0.5)
        for _ in range(3):  # what is typical here
            await lane.run(RED, threading.Event().wait, 0.3)
        async with busy(lane, 3):
            with pytest.raises(Overloaded, match="try again") as refused:
                await lane.run(RED, len, "abc")
            assert refused.value.retry_after_s >= 1
        assert await lane.run(RED, len, "abc") == 3
        lane.close()

    asyncio.run(run())


def test_one_slow_piece_of_work_turns_nobody_away() -> None:
    async def run() -> None:
        lane = Lane("rendered", 1, wait_s=0.1)
        await lane.run(RED, threading.Event().wait, 0.3)
        async with busy(lane, 20) as gate:
            waits = asyncio.create_task(lane.run(RED, len, "abc"))
            await asyncio.sleep(0)
            gate.set()
            assert await waits == 3
        lane.close()

    asyncio.run(run())


def test_what_has_not_begun_is_dropped_with_its_client() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=10.0)
        began: list[int] = []
        async with busy(lane, 1):
            left = asyncio.create_task(lane.run(RED, began.append, 1))
            await asyncio.sleep(0)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
        assert await lane.run(RED, len, "abc") == 3
        assert began == []
        lane.close()
        with pytest.raises(Unavailable):
            await lane.run(RED, len, "abc")

    asyncio.run(run())


def test_what_waits_when_the_lane_closes_is_told_so() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=10.0)
        async with busy(lane, 1):
            waits = asyncio.create_task(lane.run(RED, len, "abc"))
            await asyncio.sleep(0)
            lane.close()
            with pytest.raises(Unavailable, match="going down"):
                await waits

    asyncio.run(run())


def test_errors_of_the_work_are_its_callers() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=10.0)
        with pytest.raises(ZeroDivisionError):
            await lane.run(RED, lambda: 1 // 0)
        lane.close()

    asyncio.run(run())


def test_tenants_take_turns_for_the_threads() -> None:
    async def run() -> None:
        lane, done = Lane("encoded", 1, wait_s=10.0), list[TenantId]()
        async with busy(lane, 1):
            reds = [asyncio.create_task(lane.run(RED, done.append, RED)) for _ in range(8)]
            await asyncio.sleep(0)
            blue = asyncio.create_task(lane.run(BLUE, done.append, BLUE))
            await asyncio.sleep(0)
        await asyncio.gather(*reds, blue)
        assert done.index(BLUE) == 1
        lane.close()

    asyncio.run(run())


def test_a_thread_whose_client_went_keeps_its_turn_until_it_is_done() -> None:
    async def run() -> None:
        lane, together = Lane("encoded", 1, wait_s=10.0), list[int]()
        gate, began = threading.Event(), threading.Event()

        def work() -> None:
            began.set()
            gate.wait()
            together.append(1)

        left = asyncio.create_task(lane.run(RED, work))
        await asyncio.to_thread(began.wait)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        waits = asyncio.create_task(lane.run(BLUE, lambda: list(together)))
        await asyncio.sleep(0)
        gate.set()
        assert await waits == [1]
        lane.close()

    asyncio.run(run())
