"""What came out of an iteration.

Owns `IterationOutcome`: sampled tokens, landed moves and the executor's own stamps. It does not
know what the tokens mean for the job; executors (real, simulated, replayed) make it and engine/turn
applies it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .ids import Handle, MoveId
from .logprobs import TokenLogprobs as TokenLogprobs  # re-exported: an outcome holds them
from .plan import Int32s, Int64s, no_int32, no_int64


@dataclass(frozen=True, slots=True, eq=False)
class IterationOutcome:
    """Tokens in the order core/plan.py states: int64[n] handles, int32[n] tokens.

    `logprobs` is None or has n entries, None for jobs that asked for none. `landed` are moves that
    were completed since the last outcome. `failed` are jobs whose logits were not finite, with a
    reason: they emit no token, the neighbours are not hurt. `started_ns` and `ended_ns` are the
    executor's monotonic stamps around the batch's work.
    """

    seq: int
    generation: int
    started_ns: int
    ended_ns: int
    handles: Int64s = field(default_factory=no_int64)
    tokens: Int32s = field(default_factory=no_int32)
    logprobs: tuple[TokenLogprobs | None, ...] | None = None
    landed: tuple[MoveId, ...] = ()
    failed: tuple[tuple[Handle, str], ...] = ()
