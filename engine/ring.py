"""The most recent tokens of the decode members, in columns.

Owns a ring of the last iterations' tokens, one column per place in the batch, so that an unchanged
turn stores all tokens with one copy. It does not know stops or positions; engine/emission writes it
and reads a job's tokens when the job leaves.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.plan import Int32s, Int64s
from .rows import Row

RING = 64
"""Iterations kept; at least every so many all members' tokens are moved to their rows."""


class TokenRing:
    """int32[RING, places]. A member has a place while it decodes."""

    def __init__(self, places: int) -> None:
        self._tokens = np.zeros((RING, places), dtype=np.int32)
        self._free = list(range(places - 1, -1, -1))
        self._flushed_step = 0

    def enter(self, rows: Iterable[Row], step: int) -> list[int]:
        """The rows' next token comes from the iteration `step`; answers their places."""
        pop, slots = self._free.pop, []
        for row in rows:
            row.slot = slot = pop()
            row.ring_from = step
            slots.append(slot)
        return slots

    def leave(self, row: Row, step: int) -> None:
        """The row's tokens before iteration `step` go to `row.out`; its place is free."""
        self._flush(row, step)
        self._free.append(row.slot)
        row.slot = -1

    def forget(self, row: Row) -> None:
        """The row's place is free; its tokens in the ring are not wanted."""
        self._free.append(row.slot)
        row.slot = -1

    def write(self, step: int, slots: Int64s, tokens: Int32s) -> None:
        """Tokens of iteration `step`, int32[n], of the members at `slots`, int64[n]."""
        self._tokens[step % RING][slots] = tokens

    def write_run(self, first: int, last: int, slots: Int64s, token: int, rows: Iterable[Row]) -> None:
        """`token` of iterations `first` to before `last` of the members at `slots`, with every
        `flush_all` of `rows` on the way.
        """
        while first < last:
            until = min(last, self._flushed_step + RING)
            self._tokens[np.ix_(np.arange(first, until) % RING, slots)] = token
            self.flush_all(until, rows)
            first = until

    def flush_all(self, step: int, rows: Iterable[Row]) -> None:
        """Empty the ring of all members when it is about to be overwritten; `step` is the next
        iteration.
        """
        if step - self._flushed_step < RING:
            return
        for row in rows:
            if row.slot >= 0:
                self._flush(row, step)
        self._flushed_step = step

    def _flush(self, row: Row, step: int) -> None:
        count = step - row.ring_from
        if count > 0:
            first, last = row.ring_from % RING, step % RING
            column = self._tokens[:, row.slot]
            if first < last:
                row.out.frombytes(column[first:last].tobytes())
            else:
                row.out.frombytes(column[first:].tobytes())
                row.out.frombytes(column[:last].tobytes())
        row.ring_from = step
