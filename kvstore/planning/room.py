"""Making room: who has to leave so that a better job can run.

Owns the choice of victims within one plan: residents the walk has not reached, worst first, never
one that the host cannot take (docs/algorithm.md). It does not choose the batch; the walk asks it,
the ledger carries out.
"""

from __future__ import annotations

from enum import Enum

from ...core.plan import Direction
from ...core.policy import Key
from ..job_kv import JobKv
from .context import TurnContext
from .draft import Draft


class Verdict(Enum):
    """What became of a wish for pages."""

    FITS = "fits"  # the pages are free now
    COMING = "coming"  # they will be when moves land
    HOPELESS = "hopeless"  # worse-ranked residents cannot give so many


class Room:
    """Evictions of one plan. A resident whose `seen` is the plan's number ranks better than the job
    that asks.
    """

    def __init__(self, context: TurnContext, draft: Draft) -> None:
        self._context = context
        self._draft = draft
        self._ledger = context.books.ledger
        self._sorted: list[tuple[Key, JobKv]] | None = None
        self._ceiling: int | None = None
        self.best_out: Key | None = None
        """Key of the best job that was moved out: a job that moves in must be better."""

    def rest(self) -> list[tuple[Key, JobKv]]:
        """Residents that the walk has not reached, best first."""
        if self._sorted is None:
            rank, number = self._context.rank, self._context.number
            ranked = [(rank(job), job) for job in self._context.books.residents.values() if job.seen != number]
            ranked.sort(key=_by_key)
            self._sorted = ranked
        return self._sorted

    def make(self, key: Key, pages: int) -> Verdict:
        """Have `pages` pages free for the job at `key`, at the cost of worse-ranked residents."""
        ledger = self._ledger
        missing = pages - ledger.device.free
        if missing <= 0:
            return Verdict.FITS
        missing -= self._pages_coming()
        if missing <= 0:
            return Verdict.COMING
        # The walk goes down: who asks later has no more victims than who asked in vain before.
        if self._ceiling is not None and missing > self._ceiling:
            return Verdict.HOPELESS
        victims = self._victims(key, missing)
        if victims is None:
            return Verdict.HOPELESS
        for victim_key, victim in victims:
            if not self._take_room_of(victim):
                continue
            victim.seen = self._context.number
            if self.best_out is None or victim_key < self.best_out:
                self.best_out = victim_key
        return Verdict.FITS if ledger.device.free >= pages else Verdict.COMING

    def drop(self, victim: JobKv) -> None:
        """The victim's KV is given up and computed again."""
        tokens = victim.computed
        self._context.books.evict(victim, self._context.tick.steps)
        if tokens:
            self._draft.recomputed.append((victim.handle, tokens))
        self._ledger.release(victim.table)
        victim.forget_kv()

    def reclaim(self, slots: int, spare: JobKv) -> bool:
        """Have `slots` free host slots by dropping twins, of the best-ranked owners first and never
        of `spare`.
        """
        ledger = self._ledger
        missing = slots - ledger.host.free
        if missing <= 0:
            return True
        owners = [job for job in self._context.books.residents.values() if job.table.hosted and job is not spare]
        owners.sort(key=self._context.rank)
        for job in owners:
            if missing <= 0:
                break
            missing -= ledger.reclaim(job.table, missing)
        return missing <= 0

    def _pages_coming(self) -> int:
        """Pages that moves in flight will free: of leaving jobs, and of jobs that ended."""
        count = 0
        for ticket in self._ledger.tickets.values():
            if not ticket.table.blocks or (ticket.direction is Direction.OUT and ticket.table.leaving):
                count += len(ticket.blocks)
        return count

    def _victims(self, key: Key, pages: int) -> list[tuple[Key, JobKv]] | None:
        """Worst-ranked residents below `key` that hold `pages` pages together; None when there are
        not so many.
        """
        ledger, context = self._ledger, self._context
        number, steps, swaps = context.number, context.tick.steps, context.swaps
        host_room = ledger.host.free + ledger.clean
        wanted = pages
        chosen = []
        for victim_key, victim in reversed(self.rest()):
            if victim_key <= key:
                break
            victim.settle(steps)
            table = victim.table
            if victim.seen == number or victim.fresh or table.coming or not table.resident:
                continue
            if swaps:
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

    def _take_room_of(self, victim: JobKv) -> bool:
        ledger, table, context = self._ledger, victim.table, self._context
        # Half a prompt is never dropped where victims are moved: it has no token to show for its
        # work yet.
        tokens, cost = victim.computed, context.rules.cost
        again = not victim.filling and cost.chunk_ns(tokens, 0) < cost.move_ns(tokens)
        if not context.swaps or tokens == 0 or again:
            self.drop(victim)
            return True
        slots = ledger.pages_for(tokens) - table.hosted
        # Its own twins are about to be the only copy: they are not up for reclaim.
        if slots > 0 and not self.reclaim(slots, spare=victim):
            return False
        context.books.evict(victim, context.tick.steps)
        move = ledger.leave(victim.handle, table, victim.computed)
        if move is not None:
            self._draft.moves.append(move)
        return True


def _by_key(entry: tuple[Key, JobKv]) -> Key:
    return entry[0]
