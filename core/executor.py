"""The executor port: what carries out plans.

Owns `Executor` and the `ExecutorFacts` that it finds at its start. It knows no executor;
`executor/` has the real one, `sim/` the simulated one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .outcome import IterationOutcome
from .plan import IterationPlan


@dataclass(frozen=True, slots=True)
class ExecutorFacts:
    """What the executor found at start: pool sizes in pages (minimum over ranks) and its
    generation.
    """

    generation: int
    device_pages: int
    host_pages: int
    page_tokens: int
    page_bytes: int
    max_context_tokens: int | None
    vocab_size: int


class Executor(Protocol):
    """Carries out plans. The turn cannot tell a real one from a simulated one."""

    def start(self) -> ExecutorFacts:
        """Load, allocate, warm up. Raises InvalidModel or ExecutorLost."""
        ...

    def submit(self, plan: IterationPlan) -> None:
        """Take a plan; plans are carried out in order. Returns at once or after computing, as it
        likes. Raises ExecutorLost.
        """
        ...

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        """The outcome of the oldest plan not yet answered, waiting at most `timeout_ns` (None: for
        ever); None on time-out.

        A plan without compute is answered as soon as a move landed or at once when none is in
        flight.
        """
        ...

    def close(self) -> None:
        """Give everything back; idempotent."""
        ...
