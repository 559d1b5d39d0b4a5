"""Turns on the event loop: a few in an iteration, in order, and none lost to who goes away."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from skipjoin.serving.door.turns import ANSWERS_AT_A_TIME, HAND_OVER, Turns, connection, in_turns


@pytest.mark.parametrize("calls_wait", [False, True])
def test_one_in_an_iteration_in_the_order_of_asking_and_fewer_while_calls_wait(calls_wait: bool) -> None:
    async def main() -> None:
        turns, iteration, when = Turns(lambda: calls_wait), 0, list[tuple[int, int]]()

        async def ticks() -> None:
            nonlocal iteration
            while len(when) < 10:
                iteration += 1
                await asyncio.sleep(0)

        async def worker(number: int) -> None:
            await turns.take("a")
            when.append((iteration, number))

        await asyncio.gather(ticks(), *(worker(number) for number in range(10)))
        assert [number for _, number in when] == list(range(10))
        gaps = {after - before for (before, _), (after, _) in pairwise(when[1:])}
        assert gaps == {HAND_OVER if calls_wait else 1}

    asyncio.run(main())


def test_a_line_of_many_holds_up_no_other_line() -> None:
    async def main() -> None:
        turns, order = Turns(), list[str]()

        async def worker(line: str) -> None:
            await turns.take(line)
            order.append(line)

        await asyncio.gather(*(worker(line) for line in ["many"] * 50 + ["few"] * 2))
        assert order[:5].count("few") == 2
        assert order.count("many") == 50

    asyncio.run(main())


def test_answers_wait_for_no_pace_and_nobody_for_answers() -> None:
    async def main() -> None:
        turns, order = Turns(lambda: True), list[str]()

        async def worker(line: str) -> None:
            await (turns.take_answer() if line == "answer" else turns.take(line))
            order.append(line)

        await asyncio.gather(*(worker(line) for line in ["many"] * 10 + ["answer"] * 20))
        assert order.index("answer") < 2
        assert [at for at, line in enumerate(order) if line == "answer"][-1] < 25
        assert order.count("many") == 10

    asyncio.run(main())


def test_an_answer_never_waits_for_those_of_another_connection() -> None:
    async def main() -> None:
        turns, order = Turns(), list[str]()

        async def call(peer: str) -> None:
            connection.set(peer)
            await turns.take_answer()
            order.append(peer)

        await asyncio.gather(*(call(peer) for peer in ["flood"] * 200 + ["other"] * 2))
        assert [at for at, peer in enumerate(order) if peer == "other"][-1] < 2 * ANSWERS_AT_A_TIME
        assert order.count("flood") == 200

    asyncio.run(main())


def test_who_goes_away_costs_nobody_a_turn() -> None:
    async def main() -> None:
        turns, done = Turns(), list[int]()

        async def worker(number: int) -> None:
            await turns.take("a")
            done.append(number)

        tasks = [asyncio.create_task(worker(number)) for number in range(6)]
        await asyncio.sleep(0)
        for gone in (tasks[1], tasks[2], tasks[5]):
            gone.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert done == [0, 3, 4]
        async with asyncio.timeout(5):
            await turns.take("a")

    asyncio.run(main())


def test_a_long_page_lets_others_in_between() -> None:
    async def main() -> None:
        turns, changed, looks = Turns(), 0, list[int]()

        def change(item: int) -> int:
            nonlocal changed
            changed += 1
            return -item

        async def neighbour() -> None:
            while changed < 1000:
                looks.append(changed)
                await asyncio.sleep(0)

        async def page() -> list[int]:
            return [item async for item in in_turns(range(1000), change, turns)]

        got, _ = await asyncio.gather(page(), neighbour())
        assert got == [-item for item in range(1000)]
        assert max(after - before for before, after in pairwise(looks)) <= 100

    asyncio.run(main())
