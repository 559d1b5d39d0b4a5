"""How long the engine's steps last, as the door hears of them.

Owns the last durations: their median, which an operator sees, and how long a step of several ranks
may be silent, since a collective with a rank that is stopped may never return. It acts on nothing;
the supervisor's watch does.
"""

from __future__ import annotations

from collections import deque

from ...core.effects import TurnStats

_KEPT = 512
_FEWEST = 16
_SLOW_SHARE = 0.99
_TIMES_SLOW = 10


class StepTimes:
    """The last steps."""

    def __init__(self) -> None:
        self._ns: deque[int] = deque(maxlen=_KEPT)

    def took(self, stats: TurnStats) -> None:
        """A turn is over; one that computed nothing does not count."""
        if stats.measured_ns is not None:
            self._ns.append(stats.measured_ns)

    @property
    def median_ns(self) -> int:
        """0 before the first step."""
        return sorted(self._ns)[len(self._ns) // 2] if self._ns else 0

    def deadline_s(self, floor_s: float, longest_s: float) -> float:
        """Ten times the 99th percentile, `floor_s` at least and `longest_s` at most; that too while
        few steps are known.
        """
        if len(self._ns) < _FEWEST:
            return longest_s
        slow_s = sorted(self._ns)[int(_SLOW_SHARE * (len(self._ns) - 1))] / 1e9
        return min(longest_s, max(floor_s, _TIMES_SLOW * slow_s))
