"""Whose turn it is on the event loop.

Owns the order of work that comes due for many at once: a thousand followers of one job, five
hundred submits of one commit, a page of a thousand jobs. A few of them work in an iteration of the
loop, so that what else is due waits for those and not for all: above all a call that arrives. It
does not know what the work is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

SLICE = 10
LISTS = "lists"
ANSWERS_AT_A_TIME = 8
"""Answers in an iteration: beside other threads one takes milliseconds however little it does, and
a hundred answers must not need a hundred.
"""
LINES_AT_A_TIME = 4
"""Other lines that have a turn in the same iteration."""
connection: ContextVar[str] = ContextVar("the connection that this call came over", default="")
"""A door sets it where calls come over connections: their answers take turns by it."""
HAND_OVER = 5
"""Iterations of the loop in which gRPC hands over a call."""

A = TypeVar("A")
B = TypeVar("B")


class Turns:
    """Gives a few turns in an iteration of the loop. Who asks names its line; the lines take turns,
    each in the order of asking.

    Answers have a line for each connection, so that one answer never waits for the hundreds of
    another connection. While `calls_wait`, a turn is given as often as gRPC can hand over a call,
    but for answers: what they wait for is less work.
    """

    def __init__(self, calls_wait: Callable[[], bool] = lambda: False) -> None:
        self._calls_wait = calls_wait
        self._pause = 0  # iterations until the next turn
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._answers: dict[str, deque[asyncio.Future[None]]] = {}
        self._watching = False

    async def take(self, line: str) -> None:
        """Wait for a turn: for a millisecond of work that does not await."""
        await self._wait(self._lines, line)

    async def take_answer(self) -> None:
        """Wait for a turn to answer a call, in the line of its connection."""
        await self._wait(self._answers, connection.get())

    async def _wait(self, lines: dict[str, deque[asyncio.Future[None]]], line: str) -> None:
        if not self._lines and not self._answers and not self._pause:
            self._given()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lines.setdefault(line, deque()).append(turn)
        self._watch()
        await turn

    def _given(self) -> None:
        self._pause = HAND_OVER if self._calls_wait() else 1
        self._watch()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_soon(self._iteration)

    def _iteration(self) -> None:
        self._watching = False
        self._pause = max(0, self._pause - 1)
        for _ in range(ANSWERS_AT_A_TIME):
            if not self._answers:
                break
            _give(self._answers, next(iter(self._answers)))
        if not self._pause and self._give_others():
            self._given()
        if self._pause or self._lines or self._answers:
            self._watch()

    def _give_others(self) -> bool:
        """Give a turn of each of the next few lines, if someone waits for one."""
        given = False
        for name in list(islice(self._lines, LINES_AT_A_TIME)):
            given = _give(self._lines, name) or given
        return given


def _give(lines: dict[str, deque[asyncio.Future[None]]], name: str) -> bool:
    """Give the next turn of a line, if someone still waits for it."""
    line = lines.pop(name)
    while line:
        turn = line.popleft()
        if not turn.done():
            turn.set_result(None)
            if line:
                lines[name] = line  # behind the others
            return True
    return False


async def in_turns(items: Sequence[A], change: Callable[[A], B], turns: Turns) -> AsyncIterator[B]:
    """`change` of each item, a few in a turn: a page of a thousand jobs takes the loop for no
    longer than a single one.
    """
    for at in range(0, len(items), SLICE):
        await turns.take(LISTS)
        for item in items[at : at + SLICE]:
            yield change(item)
