"""Lanes: a short text does not wait behind a long one, what would wait too long is refused, and what has not begun is dropped with its client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from skipjoin.core.errors import Overloaded, Unavailable
from skipjoin.serving.lanes import LONG_TEXT, Lane, Lanes


@asynccontextmanager
async def busy(lane: Lane, count: int) -> AsyncIterator[threading.Event]:
    """So many pieces of work that last until the block ends or the event is set."""
    gate = threading.Event()
    tasks = [asyncio.create_task(lane.run(gate.wait)) for _ in range(count)]
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
            assert await lanes.for_text(LONG_TEXT).run(len, "abc") == 3
            assert await lanes.chats.run(len, "ab") == 2
        lanes.close()

    asyncio.run(run())


def test_what_would_wait_too_long_is_refused_with_a_hint() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=0.5)
        for _ in range(3):  # what is typical here
            await lane.run(threading.Event().wait, 0.3)
        async with busy(lane, 3):
            with pytest.raises(Overloaded, match="try again") as refused:
                await lane.run(len, "abc")
            assert refused.value.retry_after_s >= 1
        assert await lane.run(len, "abc") == 3
        lane.close()

    asyncio.run(run())


def test_one_slow_piece_of_work_turns_nobody_away() -> None:
    async def run() -> None:
        lane = Lane("rendered", 1, wait_s=0.1)
        await lane.run(threading.Event().wait, 0.3)
        async with busy(lane, 20) as gate:
            waits = asyncio.create_task(lane.run(len, "abc"))
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
            left = asyncio.create_task(lane.run(began.append, 1))
            await asyncio.sleep(0)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
        assert await lane.run(len, "abc") == 3
        assert began == []
        lane.close()
        with pytest.raises(Unavailable):
            await lane.run(len, "abc")

    asyncio.run(run())


def test_what_waits_when_the_lane_closes_is_told_so() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=10.0)
        async with busy(lane, 1):
            waits = asyncio.create_task(lane.run(len, "abc"))
            await asyncio.sleep(0)
            lane.close()
            with pytest.raises(Unavailable, match="going down"):
                await waits

    asyncio.run(run())


def test_errors_of_the_work_are_its_callers() -> None:
    async def run() -> None:
        lane = Lane("encoded", 1, wait_s=10.0)
        with pytest.raises(ZeroDivisionError):
            await lane.run(lambda: 1 // 0)
        lane.close()

    asyncio.run(run())
