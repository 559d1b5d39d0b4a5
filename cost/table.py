"""The second cost model: iterations added up from measured curves instead of from one straight
line.

Owns `TableCostModel` and the two shapes of a table, `Curve` (one axis) and `Grid` (two). It does
not know which file they came from (`sources` reads, `table_file` writes them into a profile) nor
who is charged. Simulations ask it as they ask `LinearCostModel`; it uses no numpy, for it may be
asked once a turn.

An iteration is the sum of what each part of it was measured to take: everything that depends on the
number of tokens (projections, norms, the feed-forward part), everything that depends on the number
of sequences (logits, sampler), the attention of each chunk over its context, and the attention of
the decode members over theirs. The last has two tables, because a decode kernel that runs beside a
chunk is another kernel than the one for decodes alone and may take twice as long.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..core.errors import InvalidProfile

_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Curve:
    """Nanoseconds over one axis, linear between the points, flat before the first and with the last
    slope behind the last.

    Raises InvalidProfile when `at` does not rise or a value is no finite number of 0 or more.
    """

    at: tuple[float, ...]
    ns: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_axis("at", self.at)
        _check_values("ns", self.ns, len(self.at))

    def __call__(self, x: float) -> float:
        """Nanoseconds at `x`."""
        if len(self.at) == 1:
            return self.ns[0]
        low, share = _place(self.at, x)
        return self.ns[low] + (self.ns[low + 1] - self.ns[low]) * share

    def total(self, first: int, last: int) -> float:
        """Sum over the whole numbers `first` to `last`; exact, in one step a segment."""
        cuts = sorted({first - 1, last, *(int(x) for x in self.at if first <= x < last)})
        return sum((high - low) * (self(low + 1) + self(high)) / 2 for low, high in pairwise(cuts))


@dataclass(frozen=True, slots=True)
class Grid:
    """Nanoseconds over two axes, bilinear between the points; `ns` holds a row for each of `rows`.
    Beyond the edges as `Curve`.
    """

    rows: tuple[float, ...]
    columns: tuple[float, ...]
    ns: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        _check_axis("rows", self.rows)
        _check_axis("columns", self.columns)
        if len(self.ns) != len(self.rows):
            raise InvalidProfile(
                f"ns has {len(self.ns)} rows for {len(self.rows)}.", field="ns", limit="one for each of rows"
            )
        for line in self.ns:
            _check_values("ns", line, len(self.columns))

    def __call__(self, row: float, column: float) -> float:
        """Nanoseconds at (`row`, `column`), 0 or more."""
        if len(self.rows) == 1:
            return self._along(self.ns[0], column)
        low, share = _place(self.rows, row)
        below, above = self._along(self.ns[low], column), self._along(self.ns[low + 1], column)
        return max(below + (above - below) * share, 0.0)

    def row(self, row: float) -> Curve:
        """The curve over the columns at `row`."""
        return Curve(self.columns, tuple(self(row, column) for column in self.columns))

    def _along(self, line: tuple[float, ...], column: float) -> float:
        if len(line) == 1:
            return line[0]
        low, share = _place(self.columns, column)
        return line[low] + (line[low + 1] - line[low]) * share


@dataclass(frozen=True, slots=True)
class TableCostModel:
    """Iterations from measured parts, all in nanoseconds for the whole model on all its ranks.

    `tokens` over the tokens computed (chunks and decodes together), `sequences` over jobs that need
    logits, `prefill` over (tokens of a chunk, context before it), `decode` over (members, their
    mean context) where nobody prefills, `beside` the same beside a chunk; `step_ns` is what every
    iteration takes besides, for instance the host's share. `move_token_ns` as in `LinearCostModel`.
    Raises InvalidProfile when an iteration would cost nothing.
    """

    tokens: Curve
    sequences: Curve
    prefill: Grid
    decode: Grid
    beside: Grid
    step_ns: float = 0.0
    move_token_ns: float = 0.0

    def __post_init__(self) -> None:
        _check_values("step_ns", (self.step_ns,), 1)
        _check_values("move_token_ns", (self.move_token_ns,), 1)
        if self.decode_ns(1, 0) < 1:
            raise InvalidProfile(
                "A decode iteration of one job would cost nothing.", field="tokens", limit="1 ns or more"
            )

    def chunk_ns(self, tokens: int, context_before: int) -> int:
        """A chunk's own time: what it adds to an iteration of one token, and its attention."""
        if tokens <= 0:
            return 0
        dense = max(self.tokens(tokens) - self.tokens(1), 0.0)
        return int(dense + self.prefill(tokens, context_before) + 0.5)

    def prompt_ns(self, tokens: int) -> int:
        """A whole prompt as one chunk in an iteration of its own: the paper's t_init (section 4.1)."""
        return self.iteration_ns(((tokens, 0),), 0, 0)

    def decode_ns(self, batch: int, context_sum: int) -> int:
        """The decode part of an iteration, with everything fixed; 0 for an empty batch."""
        if batch == 0:
            return 0
        attention = self.decode(batch, context_sum / batch)
        return int(self.step_ns + self.tokens(batch) + self.sequences(batch) + attention + 0.5)

    def iteration_ns(self, chunks: Sequence[tuple[int, int]], batch: int, context_sum: int) -> int:
        """An iteration of `chunks` (tokens, context before) and `batch` decode members; 0 for
        nothing at all.

        Several chunks are one kernel: their times are added, less what every launch of it takes at
        least.
        """
        if not chunks:
            return self.decode_ns(batch, context_sum)
        tokens = batch + sum(length for length, _ in chunks)
        attention = sum(self.prefill(length, before) for length, before in chunks)
        attention -= (len(chunks) - 1) * self.prefill.ns[0][0]
        if batch:
            attention += self.beside(batch, context_sum / batch)
        rest = self.step_ns + self.tokens(tokens) + self.sequences(batch + len(chunks))
        return int(rest + max(attention, 0.0) + 0.5)

    def move_ns(self, tokens: int) -> int:
        """Time on the link for the KV of `tokens` tokens, one way."""
        return int(self.move_token_ns * tokens + 0.5)

    def alone_ns(self, prompt_tokens: int, output_tokens: int) -> int:
        """Latency with the machine to itself: the prompt in one chunk, which emits the first token,
        then one decode a token.
        """
        decodes = max(output_tokens - 1, 0)
        if not decodes:
            return self.prompt_ns(prompt_tokens)
        fixed = self.step_ns + self.tokens(1) + self.sequences(1)
        attention = self.decode.row(1).total(prompt_tokens + 1, prompt_tokens + decodes)
        return self.prompt_ns(prompt_tokens) + int(decodes * fixed + attention + 0.5)


def _place(axis: tuple[float, ...], x: float) -> tuple[int, float]:
    """The segment that holds `x`, and how far in it; before the first point 0, behind the last more
    than 1.
    """
    low = min(max(bisect_right(axis, x) - 1, 0), len(axis) - 2)
    return low, max((x - axis[low]) / (axis[low + 1] - axis[low]), 0.0)


def _check_axis(field: str, axis: tuple[float, ...]) -> None:
    if not axis or any(not math.isfinite(x) for x in axis) or any(a >= b for a, b in pairwise(axis)):
        raise InvalidProfile(
            f"{field} is no rising row of numbers.", field=field, limit="1 or more, each above the last"
        )


def _check_values(field: str, values: tuple[float, ...], count: int) -> None:
    if len(values) != count:
        raise InvalidProfile(f"{field} has {len(values)} values for {count} places.", field=field, limit=str(count))
    if any(not 0 <= value <= _LARGEST for value in values):
        raise InvalidProfile(f"{field} holds a time that is none.", field=field, limit="finite, 0 or more")
