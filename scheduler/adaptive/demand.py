"""What a job still asks of the machine.

Owns the price of tokens to come: prefill at its own time, a decode token at its share of the
iteration. It knows the cost model and two capacities as numbers, no job and no page; policies that
rank by remaining cost use it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...core.cost_model import CostModel
from ...core.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Demand:
    """Prices under a batch of at most `max_batch` jobs whose contexts sum to at most `room_tokens`
    (None: no bound).

    A decode token at context c costs `A * max(1 / max_batch, c / room_tokens)` for the larger of
    the two shares it blocks, plus what it adds itself (the dominant share of Ghodsi et al., NSDI
    2011, over batch slots and KV room). Whole nanoseconds. Raises InvalidSettings for a capacity
    below 1.
    """

    cost: CostModel
    max_batch: int
    room_tokens: int | None = None

    def __post_init__(self) -> None:
        for field, value in (("max_batch", self.max_batch), ("room_tokens", self.room_tokens)):
            if value is not None and value < 1:
                raise InvalidSettings(f"{field} is {value}.", field=field, limit="1 or more")

    def prefill_ns(self, tokens: int, context_before: int) -> int:
        """The tokens of a prompt that are still to be computed."""
        return self.cost.chunk_ns(tokens, context_before) if tokens else 0

    def decode_ns(self, tokens: int, context: int) -> int:
        """The next `tokens` decode tokens of a job whose context is `context` now; priced at the
        mean context.
        """
        if tokens <= 0:
            return 0
        middle = context + (tokens + 1) // 2
        alone = self.cost.decode_ns(1, 0)
        own = self.cost.decode_ns(2, middle) - alone  # D1 * context + D2
        fixed = alone - (self.cost.decode_ns(2, 0) - alone)  # A
        shared = fixed // self.max_batch
        if self.room_tokens is not None:
            shared = max(shared, fixed * middle // self.room_tokens)
        return tokens * (own + shared)
