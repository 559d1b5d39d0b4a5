"""Threads for what takes a prompt long to become tokens.

Owns a bounded number of threads with a line each for rendering conversations, for short texts and
for long ones, so that a short prompt never waits behind a long one, and the tenants take turns in
each. Work that has not begun when its client goes is dropped. It does not know what it runs; intake
hands it over. Only the event loop's thread calls `run`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ...core.errors import Unavailable
from ...core.ids import TenantId
from .in_line import InLine

P = ParamSpec("P")
R = TypeVar("R")

LONG_TEXT = 2**16
"""Characters from which on a text is a long one."""


class Lane:
    """Some threads and their line. `wait_s` is how long work may be expected to wait for one of
    them.
    """

    def __init__(self, name: str, threads: int, wait_s: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"skipjoin-{name}")
        self._line = InLine(wait_s, places=threads, others=f"prompts are being {name}", field="prompt")

    async def run(self, tenant: TenantId, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What a tenant's work answers or raises, from one of the threads.

        Raises Overloaded where too much stands before it, Unavailable after close. A thread that
        has begun keeps its turn until it is done.
        """
        await self._line.take(tenant)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            future = self._pool.submit(work, *args, **kwargs)
        except RuntimeError:
            self._line.leave(0.0)
            raise Unavailable("The server is going down.") from None
        future.add_done_callback(lambda _: _tell(loop, lambda: self._line.leave(loop.time() - began)))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if future.cancelled() and not (task is not None and task.cancelling()):  # by `close`, not by the caller
                raise Unavailable("The server is going down.") from None
            raise

    def close(self) -> None:
        """Drop what has not begun."""
        self._line.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _tell(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(act)


class Lanes:
    """The lanes of one server. `wait_s` bounds the expected wait in each."""

    def __init__(self, wait_s: float) -> None:
        self.chats = Lane("rendered", 2, wait_s)
        self._short = Lane("encoded", 2, wait_s)
        self._long = Lane("encoded", 1, wait_s)

    def for_text(self, characters: int) -> Lane:
        """Where a text of so many characters is encoded."""
        return self._short if characters <= LONG_TEXT else self._long

    def close(self) -> None:
        """Drop what has not begun; idempotent."""
        for lane in (self.chats, self._short, self._long):
            lane.close()
