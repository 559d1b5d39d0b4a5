"""How long an engine may be silent before it is killed.

Owns the three bounds: while it starts, while it serves, and, for an engine of several ranks, one
that follows its own steps. It listens to nobody and kills nothing; the supervisor's watch asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .step_times import StepTimes

HANGS_AFTER_S = 2.5
"""An engine that says nothing for so long is not called serving. It speaks every second, also when
it has nothing to do.
"""


@dataclass(frozen=True, slots=True)
class Patience:
    """`steps` outlives engines: the next one computes the same model."""

    stall_s: float
    start_stall_s: float
    rank_stall_s: float
    steps: StepTimes = field(default_factory=StepTimes)

    def with_one_that_serves(self, *, working: bool, ranks: int) -> float:
        """Seconds. One without work speaks only every second."""
        if not working:
            return max(self.stall_s, HANGS_AFTER_S)
        if ranks < 2:
            return self.stall_s
        return self.steps.deadline_s(self.rank_stall_s, self.stall_s)
