"""Whether the event loop had time to rest.

Owns the selector of the door's loop, which sees what the loop itself cannot say: that it waited
because there was nothing to do. The command makes the loop with it; `waiting.py` sets its count
right by it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

from ...core.clock import Clock

REST_NS = 50_000_000
"""A wait this long is a rest. While calls stand in line gRPC's thread wakes the loop far sooner,
also on a busy machine.
"""


class Pauses(selectors.DefaultSelector):
    """A selector that notes when its loop rests."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._rested = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the selector's; `timeout` in seconds, None for ever."""
        began_ns = self._clock.now_ns()
        ready = super().select(timeout)
        if self._clock.now_ns() - began_ns >= REST_NS:
            self._rested = True
        return ready

    def rested(self) -> bool:
        """Whether the loop rested since this was last asked."""
        rested, self._rested = self._rested, False
        return rested


def loop_with(pauses: Pauses) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop that `pauses` watches."""
    return lambda: asyncio.SelectorEventLoop(pauses)
