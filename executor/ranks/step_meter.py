"""How long a rank's steps last.

Owns the last durations and their median. It reads no clock: outcomes have the executor's own
stamps. `following` feeds it.
"""

from __future__ import annotations

import statistics
from collections import deque

_KEPT = 64


class StepMeter:
    """The last steps."""

    def __init__(self) -> None:
        self._ns: deque[int] = deque(maxlen=_KEPT)

    def add(self, duration_ns: int) -> None:
        """A step lasted so long."""
        self._ns.append(duration_ns)

    @property
    def median_ns(self) -> int:
        """0 before the first step."""
        return int(statistics.median(self._ns)) if self._ns else 0
