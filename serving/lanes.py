"""Threads for what takes a prompt long to become tokens.

Owns a bounded number of threads with a queue each for rendering conversations, for short texts and for long ones, so that a short prompt never waits
behind a long one; and the refusal of what would wait too long. Work that has not begun when its client goes is dropped. It does not know what it
runs; intake hands it over. Only the event loop's thread calls `run`.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from ..core.clock import MonotonicClock
from ..core.errors import Overloaded, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

LONG_TEXT = 2**16
"""Characters from which on a text is a long one."""
_TYPICAL_OF = 5


class Lane:
    """Some threads and their queue. `wait_s` is how long work may be expected to wait for one of them."""

    def __init__(self, name: str, threads: int, wait_s: float) -> None:
        self._name = name
        self._threads = threads
        self._wait_s = wait_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"skipjoin-{name}")
        self._clock = MonotonicClock()
        self._inside: set[Future[Any]] = set()
        self._took_s: deque[float] = deque([0.0] * (_TYPICAL_OF // 2 + 1), maxlen=_TYPICAL_OF)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the work answers or raises, from one of the threads. Raises Overloaded where too much stands before it, Unavailable after close."""
        wait_s = (len(self._inside) / self._threads - 1) * statistics.median(self._took_s)
        if wait_s > self._wait_s:
            raise Overloaded(
                f"Other prompts are being {self._name} and this one would wait for about {wait_s:.0f} s; try again.",
                retry_after_s=max(1.0, wait_s - self._wait_s),
                field="prompt",
                limit=f"at most {self._wait_s:g} s",
            )

        def timed() -> R:
            began_ns = self._clock.now_ns()
            try:
                return work(*args, **kwargs)
            finally:
                self._took_s.append((self._clock.now_ns() - began_ns) / 1e9)

        try:
            future = self._pool.submit(timed)
        except RuntimeError:
            raise Unavailable("The server is going down.") from None
        self._inside.add(future)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: _tell(loop, self._inside.discard, done))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if future.cancelled() and not (task is not None and task.cancelling()):  # by `close`, not by the caller
                raise Unavailable("The server is going down.") from None
            raise

    def close(self) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _tell(loop: asyncio.AbstractEventLoop, act: Callable[[Future[Any]], None], done: Future[Any]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(act, done)


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
