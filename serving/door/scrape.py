"""A page of metrics, asked for.

Owns the gathering behind `/metrics`: the engine's snapshot, the pool's depth and the door's own
state, at most once a second however many ask. It knows no metric's name; `metrics.py` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...core.clock import Clock
from ...core.errors import SkipjoinError
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
        self._asked_ns: int | None = None

    async def page(self) -> bytes:
        """The metrics. Counters are those of now; what engine and pool must be asked for is at most
        a second old.
        """
        async with self._one_at_a_time:
            if self._asked_ns is None or self._clock.now_ns() - self._asked_ns >= _FRESH_NS:
                self._asked_ns = self._clock.now_ns()
                await self._ask()
            self._metrics.set_door(self._door())
            return self._metrics.render()

    async def _ask(self) -> None:
        snapshot = await self._questions.snapshot()
        self._metrics.set_engine(snapshot)
        try:
            depth = await self._store.scan(lambda reader: reader.depth())
        except SkipjoinError:
            pass  # A pool that cannot be read shows in other figures; the last known depth stays.
        else:
            self._metrics.set_pool(depth, snapshot.running_jobs if snapshot is not None else 0)
