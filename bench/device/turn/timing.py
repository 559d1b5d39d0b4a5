"""How long one situation took, in units of a yardstick: the same on a slow machine and on a quick
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...figures import held
from ...table import DASH, Columns

COLUMNS = Columns(
    (("", -28), ("median ms", 10), ("P95 ms", 10), ("turns", 7), ("units", 9), ("target", 8), ("", 0)),
)


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU time in ms: median, 95th percentile (nearest rank), and how many were timed.

    `unit_ms`: what the yardstick took beside them. `target`: a number of such units.
    """

    name: str
    median_ms: float
    p95_ms: float
    turns: int
    unit_ms: float
    target: float | None = None

    @property
    def units(self) -> float:
        """The median in units."""
        return self.median_ms / self.unit_ms

    @property
    def holds(self) -> bool | None:
        """Whether the median is within the target; None where there is none."""
        return held(self.units, self.target, at_most=True)

    def __str__(self) -> str:
        times = f"{self.median_ms:.4f}", f"{self.p95_ms:.4f}", str(self.turns), f"{self.units:.4f}"
        target = DASH if self.target is None else f"<= {self.target:g}"
        return COLUMNS.line(self.name, *times, target, "" if self.holds is None else "ok" if self.holds else "ABOVE")


def timing_of(name: str, samples_ns: Sequence[int], unit_ms: float, target: float | None = None) -> Timing:
    """What the samples say; of an even number the upper median."""
    ordered = sorted(samples_ns)
    count = len(ordered)
    return Timing(name, ordered[count // 2] / 1e6, ordered[-(-count * 95 // 100) - 1] / 1e6, count, unit_ms, target)


def all_hold(timings: Sequence[Timing]) -> bool:
    """Whether every bar does."""
    return all(timing.holds is not False for timing in timings)
