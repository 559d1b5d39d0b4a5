"""A log line that is written seldom, however often its cause comes.

Owns the count of what was held back. It knows no message; the HTTP door's accept loop uses it.
"""

from __future__ import annotations

from ..core.clock import Clock

EVERY_S = 30.0


class Seldom:
    """Lets one line through every `every_s` seconds."""

    def __init__(self, clock: Clock, every_s: float = EVERY_S) -> None:
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._last_ns: int | None = None
        self._held_back = 0

    def due(self) -> int | None:
        """How many were held back since the last line, when it is time for one; None when this one is held back too."""
        now = self._clock.now_ns()
        if self._last_ns is not None and now - self._last_ns < self._every_ns:
            self._held_back += 1
            return None
        held_back, self._held_back, self._last_ns = self._held_back, 0, now
        return held_back
