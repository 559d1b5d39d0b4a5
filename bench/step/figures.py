"""What a case gives: lines of a time or a rate, a share, and a target for it.

Owns the values and who missed a target. It knows no unit's words; `render` and `plot` show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..figures import Spread

TIME, RATE = "ms", "GB/s"
ROOFLINE, SLOWER, COPY_SHARE, IDLE = "roofline", "slower", "copy", "idle"
PINNED_COPY, MEMORY_COPY = "pinned", "memory"
AT_MOST = (SLOWER, IDLE)
"""Shares that shall be small."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: `value` in `unit`, and `share` of kind `of`, medians with smallest and largest of the rounds.

    `of`: of the roofline, whose bound is `bound` (memory or products); slower than without moves; of a copy's bandwidth, whose kind is `bound`;
    idle, of the time. `target` None: none is asked for, or none applies on this device. `note`: what makes the figure mean less.
    """

    case: str
    kind: str
    what: str
    unit: str
    value: Spread
    of: str | None = None
    share: Spread | None = None
    bound: str | None = None
    tokens_per_s: float | None = None
    target: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """None where there is no target."""
        if self.target is None or self.share is None:
            return None
        return self.share.median <= self.target if self.of in AT_MOST else self.share.median >= self.target


@dataclass(frozen=True, slots=True)
class Absent:
    """A case that could not be measured, and why."""

    case: str
    kind: str
    why: str


def milliseconds(samples_ns: Sequence[float]) -> Spread:
    """Of nanoseconds."""
    return Spread.of([sample / 1e6 for sample in samples_ns])
