"""A line of the table: a time or a rate, a share, and a target for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ...figures import Spread, held

TIME, RATE = "ms", "GB/s"
ROOFLINE, SLOWER, COPY_SHARE, IDLE = "roofline", "slower", "copy", "idle"
PINNED_COPY, MEMORY_COPY = "pinned", "memory"
AT_MOST = (SLOWER, IDLE)
"""Shares that shall be small."""


@dataclass(frozen=True, slots=True)
class Row:
    """`value` in `unit`, and `share` of kind `of`: medians with smallest and largest of the rounds.

    `of`: of the roofline, whose `bound` is memory or products; slower than without moves; of the
    bandwidth of a copy of kind `bound`; idle, of the time.
    `target`: None where none is asked for, or none applies on this device.
    `note`: what makes the figure mean less.
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
        return held(self.share, self.target, at_most=self.of in AT_MOST)

    def as_json(self) -> dict[str, object]:
        """A line of the file."""
        told = asdict(self)
        return {"kind": "step", "measured": told.pop("kind"), **told, "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Absent:
    """A case that could not be measured, and why."""

    case: str
    kind: str
    why: str

    def as_json(self) -> dict[str, object]:
        """A line of the file."""
        return {"kind": "absent", "measured": self.kind, "case": self.case, "why": self.why}


def milliseconds(samples_ns: Sequence[float]) -> Spread:
    """Of nanoseconds."""
    return Spread.of([sample / 1e6 for sample in samples_ns])


def tokens_a_second(jobs: int, step: Spread) -> float:
    """Of a step that takes so many milliseconds and gives each job a token."""
    return jobs / (step.median / 1e3)
