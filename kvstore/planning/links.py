"""Moves that nobody waits for yet: write-behind and prefetch.

Owns the use of an idle link: full blocks of the worst-ranked residents are copied out so that a clean reserve can be freed at once, and host
jobs that will run soon come back early into spare room. It does not know who runs now; the planner calls it after the walk.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Items

from ...core.plan import Direction, Move
from ..ledger import Ledger
from ..sequence import PREFILL, Sequence
from .room import Room


class IdleLink:
    """`reserve_pages` shall be free or clean above the floor at any time."""

    def __init__(self, ledger: Ledger, reserve_pages: int, floor_pages: int) -> None:
        self._ledger = ledger
        self._reserve_pages = reserve_pages
        self._floor_pages = floor_pages

    @property
    def low_water(self) -> int:
        """Free pages below which clean ones have to make up for it."""
        return self._floor_pages + self._reserve_pages

    @property
    def short(self) -> int:
        """How many clean pages the reserve asks for; 0 while a copy goes out."""
        short = min(self._reserve_pages, self.low_water - self._ledger.device.free)
        return 0 if short <= 0 or self.busy(Direction.OUT) else short

    def busy(self, direction: Direction) -> bool:
        """Whether a move of that direction is in flight."""
        return any(ticket.direction is direction for ticket in self._ledger.tickets.values())

    def write_behind(self, worst_first: Iterable[Sequence], room: Room, steps: int) -> list[Move]:
        """Copies that bring the clean pages of the worst-ranked residents up to the reserve."""
        ledger, short = self._ledger, self.short
        moves: list[Move] = []
        for seq in worst_first:
            if short <= 0:
                break
            table = seq.table
            # What a chunk of this very plan computes is not there yet.
            if not table.resident or seq.stage == PREFILL:
                continue
            seq.settle(steps)
            short -= table.hosted
            count = min(seq.computed // ledger.page_tokens - table.hosted, short)
            if count > 0:
                if not room.reclaim(count, spare=seq):
                    count = min(count, ledger.host.free)
                if count > 0:
                    moves.append(ledger.write_behind(seq.handle, table, count))
                    short -= count
        return moves

    def prefetch(self, candidates: Items[tuple[int, Sequence]]) -> tuple[Sequence, Move] | None:
        """The return of the candidate that runs soonest, by (nanoseconds until it runs, job), when there is room to spare."""
        ledger = self._ledger
        for _, seq in sorted(candidates, key=_by_time):
            table = seq.table
            pages = ledger.pages_for(seq.known) - len(table.blocks) + table.missing
            if pages + self.low_water <= ledger.device.free:
                missing = table.missing
                move = ledger.bring_in(seq.handle, table)
                if pages > missing:
                    ledger.grow(table, pages - missing)
                return seq, move
        return None


def _by_time(entry: tuple[int, Sequence]) -> int:
    return entry[0]
