"""The slots of one pool: which are free, and how many are under a move.

Owns the free list of a device or host pool. It does not know which block a slot holds; the ledger
takes and gives slots and keeps the count of those in flight, so that free + owned + in flight is
the pool at any time.
"""

from __future__ import annotations

from collections.abc import Sequence


class SlotPool:
    """Slots 0..total-1. `in_flight` is written by the ledger."""

    __slots__ = ("_free", "in_flight", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.in_flight = 0
        self._free = list(range(total - 1, -1, -1))

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    @property
    def owned(self) -> int:
        """Slots that hold a block at rest."""
        return self.total - len(self._free) - self.in_flight

    def take(self, count: int) -> list[int]:
        """`count` free slots; the caller has looked that there are so many."""
        free = self._free
        assert 0 < count <= len(free), "a pool was asked for more slots than are free"
        taken = free[-count:]
        del free[-count:]
        return taken

    def take_each(self, count: int) -> list[int]:
        """As `take_one` so often."""
        free = self._free
        taken = free[: -count - 1 : -1]
        del free[len(free) - count :]
        return taken

    def take_one(self) -> int:
        """A free slot; the caller has looked that there is one."""
        return self._free.pop()

    def give(self, slot: int) -> None:
        """A slot is free again."""
        self._free.append(slot)

    def give_all(self, slots: Sequence[int]) -> None:
        """Slots are free again."""
        self._free.extend(slots)

    def free_slots(self) -> Sequence[int]:
        """A copy of the free list, for the invariants."""
        return tuple(self._free)
