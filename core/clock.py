"""The only place that reads a clock.

Owns the `Clock` port and its two implementations: the machine's monotonic clock and a clock that a
simulation or a test moves by hand. It does not know who asks; engine/turn, sim and the serving
processes hold one each.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of monotonic time in integer nanoseconds."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds; on Linux the same scale in every process of one machine."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        return time.monotonic_ns()


class ManualClock:
    """A clock that stands still until it is moved: virtual time for the simulator and for tests."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """The virtual time in nanoseconds."""
        return self._now_ns

    def move_to(self, now_ns: int) -> None:
        """Move forward to `now_ns`; a time in the past leaves the clock where it is."""
        self._now_ns = max(self._now_ns, now_ns)

    def advance(self, delta_ns: int) -> None:
        """Move forward by `delta_ns` nanoseconds."""
        self.move_to(self._now_ns + delta_ns)


def unix_ns() -> int:
    """Wall-clock nanoseconds since 1970, for what outlives a process: durable stamps and deadlines."""
    return time.time_ns()


def thread_cpu_ns() -> int:
    """CPU nanoseconds of the calling thread, for measuring our own code apart from the neighbours."""
    return time.thread_time_ns()


def sleep_s(seconds: float) -> None:
    """Sleep; here so that no other module needs the time module."""
    time.sleep(seconds)
