"""How many prompt tokens an iteration may compute beside its decode members.

Owns `PrefillBudget`: the predicted iteration stays within max(2x pure decode, `quiet_ns`), in
chunks that end on page borders (docs/algorithm.md). It does not know jobs; the walk asks it.
"""

from __future__ import annotations

from ...core.cost_model import CostModel


class PrefillBudget:
    """`quiet_ns`: so long an iteration may take in any case, `max_tokens` the hard cap of prompt
    tokens per iteration.
    """

    def __init__(self, cost: CostModel, quiet_ns: int, max_tokens: int, page_tokens: int) -> None:
        self._cost = cost
        self._quiet_ns = quiet_ns
        self._page_tokens = page_tokens
        self.max_tokens = max_tokens
        self._fixed_ns = cost.iteration_ns(((1, 0),), 0, 0) - cost.chunk_ns(1, 0)

    def room_ns(self, decode_ns: int) -> int:
        """Time for chunks beside a decode part of `decode_ns` (0: none)."""
        return max(2 * decode_ns, self._quiet_ns) - (decode_ns or self._fixed_ns)

    def chunk(self, rest: int, before: int, left_ns: int, left_tokens: int, *, at_least: int) -> tuple[int, int]:
        """Tokens and own time of the next chunk of a job with `rest` tokens to compute behind
        `before` computed ones; 0 when nothing fits.

        `at_least` tokens are taken whatever they cost, so that the first job of an iteration always
        gets on.
        """
        most = min(rest, left_tokens)
        if most <= 0:
            return 0, 0
        own_ns = self._cost.chunk_ns(most, before)
        if own_ns > left_ns:
            most = self._fitting(most, before, left_ns)
        elif most == rest:
            return most, own_ns
        if most < rest and most >= self._page_tokens:
            # A chunk ends where a page ends, so that full blocks are full early.
            most -= (before + most) % self._page_tokens
        length = max(most, min(at_least, rest, left_tokens))
        return length, self._cost.chunk_ns(length, before)

    def _fitting(self, most: int, before: int, left_ns: int) -> int:
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            if self._cost.chunk_ns(middle, before) <= left_ns:
                low = middle
            else:
                high = middle
        return low
