"""Blocks in columns: where each block's KV is.

Owns, per block, the device slot or none, the host slot or none, whether a move is in flight, and
the reference count. It does not know jobs or tokens; the ledger is its only writer.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from ..core.plan import Int32s

NOWHERE = -1
AT_REST, GOING_OUT, COMING_IN = 0, 1, 2


class Blocks:
    """Columns of `capacity` blocks, int32 each, int8 for `moving`. A block that nobody refers to
    and no move touches is free.
    """

    __slots__ = ("_free", "host", "moving", "page", "refs")

    def __init__(self, capacity: int) -> None:
        self.page = array("i", [NOWHERE]) * capacity
        self.host = array("i", [NOWHERE]) * capacity
        self.refs = array("i", [0]) * capacity
        self.moving = bytearray(capacity)
        self._free = list(range(capacity - 1, -1, -1))

    @property
    def capacity(self) -> int:
        """How many blocks there can be."""
        return len(self.moving)

    @property
    def free(self) -> int:
        """Blocks that hold nothing."""
        return len(self._free)

    def born(self, pages: Sequence[int]) -> list[int]:
        """New blocks on these pages, each referred to once."""
        page, refs, free, count = self.page, self.refs, self._free, len(pages)
        out = free[: -count - 1 : -1]
        del free[len(free) - count :]
        for block, slot in zip(out, pages, strict=True):
            page[block] = slot
            refs[block] = 1
        return out

    def born_on(self, page: int) -> int:
        """One new block."""
        block = self._free.pop()
        self.page[block] = page
        self.refs[block] = 1
        return block

    def bury_all(self, blocks: Sequence[int]) -> list[int]:
        """Blocks on the device alone, each referred to once, hold nothing any more; answers their
        pages.
        """
        page, refs = self.page, self.refs
        pages = [page[block] for block in blocks]
        for block in blocks:
            page[block] = NOWHERE
            refs[block] = 0
        self._free += blocks
        return pages

    def pages_of(self, blocks: Sequence[int]) -> Int32s:
        """int32[n]: the device slot of each of these blocks."""
        page = self.page
        return np.array([page[block] for block in blocks], dtype=np.int32)

    def bury(self, block: int) -> None:
        """The block holds nothing any more."""
        self.page[block] = self.host[block] = NOWHERE
        self._free.append(block)
