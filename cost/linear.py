"""The cost model: one linear formula for the time of an iteration.

Owns the coefficients of one (model, device, parallelism) and answers whole nanoseconds. It does not
know where the coefficients came from nor who is charged; scheduler, planner, turn and simulator ask
it once a turn, so it neither allocates nor uses numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from ..core.errors import InvalidProfile


@dataclass(frozen=True, slots=True)
class LinearCostModel:
    """`iteration = A + P1*prefill_tokens + P2*sum(chunk * context incl. the chunk) + D1*sum(decode
    contexts) + D2*decode_batch`.

    All coefficients are nanoseconds per unit: `fixed_ns` (A) per iteration, `prefill_token_ns`
    (P1), `prefill_pair_ns` (P2) per query-key pair, `decode_context_ns` (D1) per token of context,
    `decode_job_ns` (D2) per member of the decode batch, `move_token_ns` per token of KV on the
    link, one way. Contexts count the token that is computed. Raises InvalidProfile for a negative
    or non-finite coefficient and when an iteration would cost nothing.
    """

    fixed_ns: float
    prefill_token_ns: float
    prefill_pair_ns: float
    decode_context_ns: float
    decode_job_ns: float
    move_token_ns: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise InvalidProfile(
                    f"{one.name} is {value!r}; a cost must be a finite number of nanoseconds.",
                    field=one.name,
                    limit="0 or more",
                )
        if self.fixed_ns + self.decode_job_ns < 1:
            raise InvalidProfile(
                "A decode iteration of one job would cost nothing, so no quantum could be derived.",
                field="fixed_ns",
                limit="fixed_ns + decode_job_ns of 1 ns or more",
            )

    def between(self, other: LinearCostModel) -> LinearCostModel:
        """Each coefficient half way to the other's."""
        return LinearCostModel(
            **{one.name: (getattr(self, one.name) + getattr(other, one.name)) / 2 for one in fields(self)}
        )

    def chunk_ns(self, tokens: int, context_before: int) -> int:
        """A prefill chunk's own time, without A."""
        return int(tokens * (self.prefill_token_ns + self.prefill_pair_ns * (context_before + tokens)) + 0.5)

    def prompt_ns(self, tokens: int) -> int:
        """A whole prompt as one chunk in an iteration of its own, with A: the paper's t_init
        (section 4.1).
        """
        return int(self.fixed_ns + tokens * (self.prefill_token_ns + self.prefill_pair_ns * tokens) + 0.5)

    def decode_ns(self, batch: int, context_sum: int) -> int:
        """The decode part of an iteration, with A; 0 for an empty batch."""
        if batch == 0:
            return 0
        return int(self.fixed_ns + self.decode_context_ns * context_sum + self.decode_job_ns * batch + 0.5)

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], batch: int, context_sum: int) -> int:
        """An iteration of `chunks` (tokens, context before) and `batch` decode members whose
        contexts sum to `context_sum`.
        """
        if not chunks:
            return self.decode_ns(batch, context_sum)
        total = self.fixed_ns + self.decode_context_ns * context_sum + self.decode_job_ns * batch
        for tokens, before in chunks:
            total += tokens * (self.prefill_token_ns + self.prefill_pair_ns * (before + tokens))
        return int(total + 0.5)

    def move_ns(self, tokens: int) -> int:
        """Time on the link for the KV of `tokens` tokens, one way."""
        return int(self.move_token_ns * tokens + 0.5)

    def alone_ns(self, prompt_tokens: int, output_tokens: int) -> int:
        """Latency with the machine to itself: the prompt in one chunk, which emits the first token,
        then one decode a token.
        """
        decodes = max(output_tokens - 1, 0)
        contexts = decodes * prompt_tokens + decodes * (decodes + 1) // 2
        return self.prompt_ns(prompt_tokens) + int(
            decodes * (self.fixed_ns + self.decode_job_ns) + self.decode_context_ns * contexts + 0.5
        )
