"""What the link is used for while it is idle: grants, write-behind and prefetch.

Owns the one promotion that may be outstanding, which is granted only as fast as the link can bring
jobs back (with paid moves a promotion that cannot run at once only makes others wait); the copies
of the worst-ranked residents' full blocks, so that a clean reserve can be freed at once; and the
early return of host jobs that will run soon into spare room. It does not know who runs now nor why
a job is offered; the planner calls it before and after the walk (docs/algorithm.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from ...core.ids import Handle
from ...core.plan import Direction
from ...core.policy import Key
from ..job_kv import PREFILL, JobKv
from ..ledger import Ledger
from .context import TurnContext
from .draft import Draft
from .room import Room


class IdleLink:
    """`reserve_pages` shall be free or clean above the floor at any time. `drops`: victims cost no
    host room.
    """

    def __init__(self, ledger: Ledger, reserve_pages: int, floor_pages: int, *, drops: bool) -> None:
        self._ledger = ledger
        self._reserve_pages = reserve_pages
        self._floor_pages = floor_pages
        self._drops = drops
        self.granted: JobKv | None = None
        """Was granted and has not run since."""

    @property
    def low_water(self) -> int:
        """Free pages below which clean ones have to make up for it."""
        return self._floor_pages + self._reserve_pages

    # grants ---------------------------------------------------------------------------------------
    def grant(self, context: TurnContext, draft: Draft) -> None:
        """Grant the longest overdue job that could run, if none is on its way and the link is idle."""
        if self.granted is not None:
            return
        jobs, policy = context.books.jobs, context.policy
        for handle in policy.offers():
            job = jobs[handle]
            if not job.ready:
                continue
            if job.table.resident or (not self._ledger.tickets and self._could_come(job)):
                change = policy.grant(handle, context.tick)
                if change is not None:
                    self.granted = job
                    draft.granted.append(change)
            break

    def ran(self, number: int) -> None:
        """Plan `number` is made: the grant is over when its job is in the batch."""
        if self.granted is not None and self.granted.mark == number:
            self.granted = None

    def ended(self, jobs: Sequence[JobKv]) -> None:
        """These jobs are gone, and a grant with its job."""
        if self.granted is not None and self.granted in jobs:
            self.granted = None

    def forget_grant(self) -> None:
        """Offers are another policy's from now on."""
        self.granted = None

    def _could_come(self, job: JobKv) -> bool:
        """Whether free pages, or what the host takes in exchange, make room for the job."""
        ledger = self._ledger
        missing = ledger.pages_for(job.known) + self._floor_pages - ledger.device.free
        return missing <= 0 or self._drops or ledger.host.free + ledger.clean >= missing

    # moves that no job waits for ------------------------------------------------------------------
    def use(self, context: TurnContext, draft: Draft, room: Room, ranked: Iterator[tuple[Key, Handle]]) -> None:
        """Copies out and back for later, where victims go to the host at all. `ranked` goes on
        behind the last job that the walk looked at.
        """
        if not context.swaps:
            return
        rules = context.rules
        if rules.kv.mode == "proactive" and self._short > 0:
            self._write_behind(context, draft, room)
        if len(draft.chosen) == rules.max_batch and not draft.closed and rules.kv.prefetch:
            self._prefetch(context, draft, ranked)

    @property
    def _short(self) -> int:
        """How many clean pages the reserve asks for; 0 while a copy goes out."""
        short = min(self._reserve_pages, self.low_water - self._ledger.device.free)
        return 0 if short <= 0 or self._busy(Direction.OUT) else short

    def _busy(self, direction: Direction) -> bool:
        return any(ticket.direction is direction for ticket in self._ledger.tickets.values())

    def _write_behind(self, context: TurnContext, draft: Draft, room: Room) -> None:
        """Copies that bring the clean pages of the worst-ranked residents up to the reserve."""
        ledger, number, short = self._ledger, context.number, self._short
        waiting = (job for _, job in reversed(room.rest()) if job.mark != number)
        for job in chain(waiting, reversed(draft.chosen)):
            if short <= 0:
                break
            table = job.table
            # What a chunk of this very plan computes is not there yet.
            if not table.resident or job.stage is PREFILL:
                continue
            job.settle(context.tick.steps)
            short -= table.hosted
            count = min(job.computed // ledger.page_tokens - table.hosted, short)
            if count > 0:
                if not room.reclaim(count, spare=job):
                    count = min(count, ledger.host.free)
                if count > 0:
                    draft.moves.append(ledger.write_behind(job.handle, table, count))
                    short -= count

    def _prefetch(self, context: TurnContext, draft: Draft, ranked: Iterator[tuple[Key, Handle]]) -> None:
        """The return of the host job behind the full batch that runs soonest, when there is room to
        spare.
        """
        if self._busy(Direction.IN):
            return
        ledger, books = self._ledger, context.books
        for job in self._soonest(context, ranked):
            table = job.table
            pages = ledger.pages_for(job.known) - len(table.blocks) + table.missing
            if pages + self.low_water <= ledger.device.free:
                draft.moves.append(ledger.bring_in(job.handle, table, pages - table.missing))
                draft.tables.append((job.handle, table))
                draft.returning.append(job)
                books.residents[job.handle] = job
                return

    def _soonest(self, context: TurnContext, ranked: Iterator[tuple[Key, Handle]]) -> list[JobKv]:
        """The first few host jobs of `ranked`, the one that runs soonest first."""
        rules, policy, jobs = context.rules, context.policy, context.books.jobs
        candidates: list[tuple[int, JobKv]] = []
        for _, handle in islice(ranked, rules.kv.lookahead):
            job = jobs[handle]
            table = job.table
            if table.blocks and table.missing and not table.in_transit:
                soon_ns = policy.next_run_ns(handle, context.tick, rules.max_batch)
                candidates.append((len(candidates) if soon_ns is None else soon_ns, job))
                if len(candidates) == rules.kv.prefetch:
                    break
        candidates.sort(key=_by_time)
        return [job for _, job in candidates]


def _by_time(entry: tuple[int, JobKv]) -> int:
    return entry[0]
