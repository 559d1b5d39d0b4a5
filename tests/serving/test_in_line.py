"""One at a time: tenants take turns, what would wait too long is refused, and who goes leaves the
line.
"""

from __future__ import annotations

import asyncio

import pytest

from skipjoin.core.errors import Overloaded, Unavailable
from skipjoin.core.ids import TenantId
from skipjoin.serving.door.in_line import InLine

RED, BLUE = TenantId("red"), TenantId("blue")


def test_tenants_take_turns_and_who_goes_is_passed_over() -> None:
    async def run() -> None:
        line, done = InLine(10.0), list[TenantId]()

        async def work(tenant: TenantId) -> None:
            async with line.turn(tenant):
                await asyncio.sleep(0)
                done.append(tenant)

        reds = [asyncio.create_task(work(RED)) for _ in range(20)]
        await asyncio.sleep(0)
        blues = [asyncio.create_task(work(BLUE)) for _ in range(3)]
        await asyncio.sleep(0)
        blues[1].cancel()
        await asyncio.gather(*reds, *blues, return_exceptions=True)
        assert done[-1] == RED
        assert (done.count(RED), done.count(BLUE)) == (20, 2)
        assert BLUE not in done[10:]
        async with asyncio.timeout(5), line.turn(BLUE):
            pass  # nobody has it now

    asyncio.run(run())


def test_a_turn_that_comes_when_its_work_is_cancelled_goes_to_the_next() -> None:
    async def run() -> None:
        line = InLine(10.0)
        async with line.turn(RED):
            left = asyncio.create_task(line.take(RED))
            await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        async with asyncio.timeout(5), line.turn(BLUE):
            pass

    asyncio.run(run())


def test_what_would_wait_too_long_is_refused_and_other_tenants_wait_for_less() -> None:
    async def run() -> None:
        line = InLine(2.5)
        line._took_s.extend([1.0] * 5)  # what is typical here, in seconds
        async with line.turn(RED):
            waits = [asyncio.create_task(line.take(RED)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="try again") as refused:
                await line.take(RED)
            assert refused.value.retry_after_s >= 1
            waits.append(asyncio.create_task(line.take(BLUE)))
            await asyncio.sleep(0)
            assert not waits[-1].done()
            for task in waits:
                task.cancel()

    asyncio.run(run())


def test_several_places_are_filled_and_a_line_that_closes_says_so() -> None:
    async def run() -> None:
        line = InLine(10.0, places=2)
        await line.take(RED)
        await line.take(RED)
        waits = [asyncio.create_task(line.take(tenant)) for tenant in (RED, BLUE)]
        await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        line.leave(0.0)
        await waits[0]
        line.close()
        for late in (waits[1], line.take(BLUE)):
            with pytest.raises(Unavailable, match="going down"):
                await late

    asyncio.run(run())
