"""The cost port: what an iteration and a move of KV are expected to take.

Owns `CostModel`. It knows no model; `cost/` has them. Policies, planner and simulator take one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CostModel(Protocol):
    """Predicted times of one (model, device, parallelism), in whole nanoseconds. Pure.

    iteration = A + P1*prefill_tokens + P2*sum(chunk * context incl. the chunk) + D1*sum(decode
    contexts) + D2*decode_batch
    """

    def chunk_ns(self, tokens: int, context_before: int) -> int:
        """A prefill chunk's own time, without the fixed term A."""
        ...

    def prompt_ns(self, tokens: int) -> int:
        """A whole prompt as one chunk in an iteration of its own: the paper's t_init, with A."""
        ...

    def decode_ns(self, batch: int, context_sum: int) -> int:
        """The decode part of an iteration, with A; 0 for an empty batch."""
        ...

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], batch: int, context_sum: int) -> int:
        """An iteration of `chunks` (tokens, context before) and `batch` decode members; 0 for
        nothing at all.
        """
        ...

    def move_ns(self, tokens: int) -> int:
        """Time on the link for the KV of `tokens` tokens, one way."""
        ...

    def alone_ns(self, prompt_tokens: int, output_tokens: int) -> int:
        """Latency of a job that has the machine to itself: the denominator of slowdown."""
        ...
