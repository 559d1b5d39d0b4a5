"""Making room: who has to leave so that a better job can run.

Owns the choice of victims within one plan: residents the walk has not reached, worst first, never one that the host cannot take
(docs/algorithm.md). It does not know the batch; the walk asks it, the ledger carries out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from ...core.cost_model import CostModel
from ...core.ids import Handle
from ...core.plan import Direction, Move
from ...core.policy import Key
from ..ledger import Ledger
from ..sequence import Sequence

Rank = Callable[[Sequence], Key]


class Verdict(Enum):
    """What became of a wish for pages."""

    FITS = "fits"  # the pages are free now
    COMING = "coming"  # they will be when moves land
    HOPELESS = "hopeless"  # worse-ranked residents cannot give so many


class Room:
    """Evictions of one plan. `swaps` false: victims are dropped and computed again."""

    def __init__(
        self,
        ledger: Ledger,
        cost: CostModel,
        residents: dict[Handle, Sequence],
        rank: Rank,
        number: int,
        steps: int,
        *,
        swaps: bool,
        evicted: Callable[[Sequence, int], None],
    ) -> None:
        """`number` is the plan's: residents that bear it as `seen` are ranked better than whoever asks. `evicted(job, tokens lost)`
        is called for every victim before its pages go.
        """
        self._ledger = ledger
        self._residents = residents
        self.rank = rank
        self._number = number
        self._steps = steps
        self._swaps = swaps
        self._cost = cost
        self._evicted = evicted
        self._sorted: list[tuple[Key, Sequence]] | None = None
        self._ceiling: int | None = None
        self.moves: list[Move] = []
        self.best_out: Key | None = None
        """Key of the best job that was moved out: whoever moves in must be better."""

    def rest(self) -> list[tuple[Key, Sequence]]:
        """Residents that the walk has not reached, best first."""
        if self._sorted is None:
            rank, number = self.rank, self._number
            ranked = [(rank(seq), seq) for seq in self._residents.values() if seq.seen != number]
            ranked.sort(key=_by_key)
            self._sorted = ranked
        return self._sorted

    def make(self, key: Key, pages: int) -> Verdict:
        """Have `pages` pages free for the job at `key`, at the cost of worse-ranked residents."""
        ledger = self._ledger
        missing = pages - ledger.device.free
        if missing <= 0:
            return Verdict.FITS
        missing -= self.pages_coming()
        if missing <= 0:
            return Verdict.COMING
        # The walk goes down: whoever asks later has no more victims than who asked in vain before.
        if self._ceiling is not None and missing > self._ceiling:
            return Verdict.HOPELESS
        victims = self._victims(key, missing)
        if victims is None:
            return Verdict.HOPELESS
        for victim_key, victim in victims:
            if not self._take_room_of(victim):
                continue
            victim.seen = self._number
            if self.best_out is None or victim_key < self.best_out:
                self.best_out = victim_key
        return Verdict.FITS if ledger.device.free >= pages else Verdict.COMING

    def pages_coming(self) -> int:
        """Pages that moves in flight will free: of leaving jobs, and of jobs that ended."""
        count = 0
        for ticket in self._ledger.tickets.values():
            if not ticket.table.blocks or (ticket.direction is Direction.OUT and ticket.table.leaving):
                count += len(ticket.blocks)
        return count

    def drop(self, victim: Sequence) -> None:
        """The victim's KV is given up and computed again."""
        self._evicted(victim, victim.computed)
        self._ledger.release(victim.table)
        victim.forget_kv()

    def reclaim(self, slots: int, spare: Sequence) -> bool:
        """Have `slots` free host slots by dropping twins, of the best-ranked owners first and never of `spare`."""
        ledger = self._ledger
        missing = slots - ledger.host.free
        if missing <= 0:
            return True
        owners = [seq for seq in self._residents.values() if seq.table.hosted and seq is not spare]
        owners.sort(key=self.rank)
        for seq in owners:
            if missing <= 0:
                break
            missing -= ledger.reclaim(seq.table, missing)
        return missing <= 0

    def _victims(self, key: Key, pages: int) -> list[tuple[Key, Sequence]] | None:
        """Worst-ranked residents below `key` that hold `pages` pages together; None when there are not so many."""
        ledger, number = self._ledger, self._number
        host_room = ledger.host.free + ledger.clean
        wanted = pages
        chosen = []
        for victim_key, victim in reversed(self.rest()):
            if victim_key <= key:
                break
            victim.settle(self._steps)
            table = victim.table
            if victim.seen == number or victim.fresh or table.coming or not table.resident:
                continue
            if self._swaps:
                # Its own clean twins stop being reclaimable when it leaves.
                slots = max(ledger.pages_for(victim.computed), table.hosted)
                if slots > host_room:
                    continue
                host_room -= slots
            chosen.append((victim_key, victim))
            pages -= len(table.blocks)
            if pages <= 0:
                return chosen
        self._ceiling = wanted - pages
        return None

    def _take_room_of(self, victim: Sequence) -> bool:
        ledger, table = self._ledger, victim.table
        # Half a prompt is never dropped where victims are moved: it has no token to show for its work yet.
        tokens, cost = victim.computed, self._cost
        again = not victim.filling and cost.chunk_ns(tokens, 0) < cost.move_ns(tokens)
        if not self._swaps or tokens == 0 or again:
            self.drop(victim)
            return True
        slots = ledger.pages_for(victim.computed) - table.hosted
        # Its own twins are about to be the only copy: they are not up for reclaim.
        if slots > 0 and not self.reclaim(slots, spare=victim):
            return False
        self._evicted(victim, 0)
        move = ledger.leave(victim.handle, table, victim.computed)
        if move is not None:
            self.moves.append(move)
        return True


def _by_key(entry: tuple[Key, Sequence]) -> Key:
    return entry[0]
