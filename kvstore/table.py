"""The block table of one job and what follows from it.

Owns the list of a job's blocks and the counts that make its residency a look-up. It does not know
the job; the ledger writes it, the planner reads it.
"""

from __future__ import annotations

from enum import Enum


class Residency(Enum):
    """Where a job's KV is, derived from its blocks."""

    ABSENT = "absent"  # no blocks
    RESIDENT = "resident"  # every block on the device and at rest, or being written behind
    LEAVING = "leaving"  # blocks on their way out
    HOST = "host"  # no block on the device
    RETURNING = "returning"  # blocks on their way in
    PARTIAL = "partial"  # some blocks on the device, nothing moves


class Table:
    """Blocks in token order.

    `missing` counts blocks without a usable device slot. `hosted` counts the leading blocks with a
    host slot, valid or being written: write-behind goes in token order and twins are reclaimed from
    the end, so they are always a prefix. `going` and `coming` count moves in flight. `full` is the
    number of blocks whose every token was computed when the job left.
    """

    __slots__ = ("blocks", "coming", "full", "going", "hosted", "leaving", "missing")

    def __init__(self) -> None:
        self.blocks: list[int] = []
        self.missing = 0
        self.hosted = 0
        self.going = 0
        self.coming = 0
        self.full = 0
        self.leaving = False

    @property
    def resident(self) -> bool:
        """Whether the job can run."""
        return bool(self.blocks) and not self.missing and not self.leaving

    @property
    def in_transit(self) -> bool:
        """Whether the job cannot run until a move lands."""
        return self.leaving or self.coming > 0

    @property
    def residency(self) -> Residency:
        """Derived from the counts."""
        if self.leaving:
            return Residency.LEAVING
        if not self.blocks:
            return Residency.ABSENT
        if self.coming:
            return Residency.RETURNING
        if not self.missing:
            return Residency.RESIDENT
        return Residency.HOST if self.missing == len(self.blocks) else Residency.PARTIAL
