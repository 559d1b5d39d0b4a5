"""A page of metrics, asked for.

Owns the gathering behind `/metrics`: the engine's snapshot, the pool's depth and the door's own state, at most once a second however many
ask. It knows no metric's name; `metrics.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..core.clock import Clock
from ..core.errors import SkipjoinError
from .metrics import DoorState, Metrics
from .questions import Questions
from .store import Store

_FRESH_NS = 1_000_000_000


class Scrape:
    """`page()` answers the text; `door` says what the door knows."""

    def __init__(
        self, metrics: Metrics, questions: Questions, store: Store, clock: Clock, door: Callable[[], DoorState]
    ) -> None:
        self._metrics = metrics
        self._questions = questions
        self._store = store
        self._clock = clock
        self._door = door
        self._one_at_a_time = asyncio.Lock()
        self._page: tuple[int, bytes] | None = None

    async def page(self) -> bytes:
        """The metrics, at most a second old."""
        async with self._one_at_a_time:
            if self._page is None or self._clock.now_ns() - self._page[0] >= _FRESH_NS:
                self._page = (self._clock.now_ns(), await self._gathered())
            return self._page[1]

    async def _gathered(self) -> bytes:
        snapshot = await self._questions.snapshot()
        self._metrics.set_engine(snapshot)
        try:
            depth = await self._store.call(lambda pool: pool.depth())
        except SkipjoinError:
            pass  # A pool that cannot be read shows in other figures; the last known depth stays.
        else:
            self._metrics.set_pool(depth, snapshot.running_jobs if snapshot is not None else 0)
        self._metrics.set_door(self._door())
        return self._metrics.render()
