"""One walk down the ranking: who runs in this turn.

Owns the decisions of a single plan, best job first: members of the decode batch, prompts to go on with, jobs that enter or return, and the
first that does not fit. It knows neither why a job ranks where it does nor what its tokens are; the planner makes a walk per plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...core.cost_model import CostModel
from ...core.ids import Handle
from ...core.policy import Admission, Key
from ..ledger import Ledger
from ..params import KvParams
from ..sequence import DECODE, OUT, Sequence
from ..table import Table
from .budget import PrefillBudget
from .room import Room, Verdict
from .running import RunningBatch


class Walk:
    """State of one walk. Ledger and residents change as it goes; the batch is rearranged by the planner afterwards."""

    def __init__(
        self,
        ledger: Ledger,
        params: KvParams,
        budget: PrefillBudget,
        cost: CostModel,
        residents: dict[Handle, Sequence],
        running: RunningBatch,
        room: Room,
        *,
        number: int,
        steps: int,
        capacity: int,
        floor_pages: int,
        swaps: bool,
        lower_may_pass: bool,
        admission: Admission,
        closed: bool,
        alternate: bool,
        kept: int,
    ) -> None:
        """`closed`: nobody may enter (nothing changed since the last plan). `alternate`: members of the last batch run only when nobody
        else can. `kept`: places to be kept for members of the last batch that the walk has not reached (0 when they may be passed).
        """
        self._ledger = ledger
        self._params = params
        self._budget = budget
        self._cost = cost
        self._residents = residents
        self._running = running
        self._room = room
        self.number = number
        self._steps = steps
        self._floor_pages = floor_pages
        self._own_pages = ledger.pages_for(admission.spare_tokens)
        self._growth_pages = params.growth_pages + self._own_pages
        self._hold_pages = int(admission.holds_below * ledger.device.total)
        self._held = False  # a job that has begun waits to come back: nobody new enters below it
        self._swaps = swaps
        self._lower_may_pass = lower_may_pass
        self._unseen = len(residents)
        self._prefill_ns = budget.room_ns(cost.decode_ns(len(running.members), running.context_sum))
        self._prefill_tokens = budget.max_tokens
        self._may_prefill = True  # the first always gets on
        self._alternate = alternate
        self._kept = kept
        self.capacity = capacity
        self.closed = closed
        """Nobody enters any more: room is kept for the first that did not fit."""
        self.misses = 0
        self.stayed = 0
        self.came: list[Sequence] = []
        self.chosen: list[Sequence] = []
        self.prefills: list[tuple[Sequence, int, int]] = []
        """Who wants a chunk, of how many tokens at most, and what it would cost in ns."""
        self.grown: list[tuple[Handle, int]] = []
        self.entered: list[Sequence] = []
        self.returning: list[Sequence] = []
        self.tables: list[tuple[Handle, Table]] = []
        """Whole tables that the executor has to know, in the order in which their jobs came."""
        self.asked: list[Sequence] = []
        self.blocked: tuple[Key, Sequence] | None = None
        self.restless = False
        self.alone = False

    def run(self, ranked: Iterator[tuple[Key, Handle]], seqs: Mapping[Handle, Sequence]) -> None:
        """Down the ranking while somebody may run, then down the residents that were not reached."""
        lookahead, chosen, capacity = self._params.lookahead, self.chosen, self.capacity
        number, steps, plain = self.number, self._steps, not self._alternate
        for key, handle in ranked:
            if len(chosen) >= capacity or self.alone:
                return
            seq = seqs[handle]
            stage = seq.stage
            if seq.seen == number:
                pass  # a victim, or the suspect that went first
            elif stage == DECODE and seq.grow_step > steps and plain and not seq.alone:
                # A member of the decode batch is at home, and this one needs no page: it runs again, as most jobs of most plans do.
                seq.seen = seq.mark = number
                self._kept -= 1
                self._unseen -= 1
                self.stayed += 1
                chosen.append(seq)
            elif stage == OUT and not self._may_prefill and seq.ready and not seq.table.blocks and not seq.alone:
                # A newcomer when there is no time for prompts any more.
                seq.seen = number
                self.misses += 1
            else:
                self._look(key, seq)
            if self.closed or self.misses > lookahead:
                break
        if self._unseen > 0:
            self.closed = True
            self._run_rest()

    def _run_rest(self) -> None:
        """Down the residents that the walk has not reached: nobody enters any more."""
        chosen, capacity, number, steps, plain = self.chosen, self.capacity, self.number, self._steps, not self._alternate
        stayed = 0
        for key, seq in self._room.rest():
            if len(chosen) >= capacity or self.alone:
                break
            if seq.seen == number:
                continue
            if seq.stage == DECODE and seq.grow_step > steps and plain and not seq.alone:
                seq.seen = seq.mark = number
                stayed += 1
                chosen.append(seq)
            else:
                self._look(key, seq)
        self.stayed += stayed

    def _look(self, key: Key, seq: Sequence) -> None:
        seq.seen = self.number
        if seq.stage != OUT:
            self._kept -= 1
        table = seq.table
        if seq.alone and not self._may_be_alone(seq):
            return
        if not table.blocks:
            self._enter(key, seq)
        elif not table.missing and not table.leaving:
            self._unseen -= 1
            self._go_on(key, seq)
        elif table.coming or table.leaving:
            self._unseen -= bool(table.coming)
            self._on_the_way()
        else:
            self._enter(key, seq)
        if seq.alone and seq.mark == self.number:
            self.alone = True

    def _may_be_alone(self, seq: Sequence) -> bool:
        """A crash suspect runs with nobody else, when it is the first that can run."""
        if not self.chosen:
            return True
        seq.waited += 1
        self.restless = True
        self.misses += 1
        if seq.handle in self._residents:
            self._unseen -= 1
        return False

    def _go_on(self, key: Key, seq: Sequence) -> None:
        """A resident runs, if it gets the page it may need."""
        steps = self._steps
        if self._alternate and self.chosen and seq.stage != OUT:
            return
        if seq.filling:
            if self._may_prefill:
                self._prefill(seq)
            else:
                self.misses += 1
            return
        table = seq.table
        member = seq.stage == DECODE
        # A member's next page is in the calendar; for the others the counts are exact.
        needy = seq.grow_step <= steps if member else seq.computed >= len(table.blocks) * self._ledger.page_tokens
        if needy:
            if not self._ledger.device.free and self._room.make(key, 1) is not Verdict.FITS:
                self._block(key, seq)
                return
            self.grown.append((seq.handle, self._ledger.grow_by_one(table)))
            if member:
                self._running.grown(seq)
        if member:
            self.stayed += 1
        else:
            self.came.append(seq)
        seq.fresh = False
        seq.mark = self.number
        self.chosen.append(seq)

    def _prefill(self, seq: Sequence) -> None:
        """A job with an incomplete KV wants a chunk; the budget is shared out when the decode members are known."""
        before, left = seq.computed, self._prefill_tokens
        tokens = seq.prompt_tokens + seq.generated - before
        if tokens > left:
            tokens = left
        own_ns = self._cost.chunk_ns(tokens, before)
        self._prefill_ns -= own_ns
        self._prefill_tokens = left = left - tokens
        self._may_prefill = self._prefill_ns > 0 and left > 0
        self.prefills.append((seq, tokens, own_ns))
        seq.mark = self.number
        self.chosen.append(seq)

    def _enter(self, key: Key, seq: Sequence) -> None:
        """A job without KV on the device: a newcomer, or one that returns from the host."""
        table, ledger = seq.table, self._ledger
        returns, members = bool(table.blocks), len(self.chosen)
        if not seq.ready:
            if not seq.asked:
                self.asked.append(seq)
            self.misses += 1
            return
        full = self._kept > 0 and members + self._kept >= self.capacity
        if self.closed or full or (not returns and (not self._may_prefill or (self._held and not seq.generated))):
            self.misses += 1
            return
        best_out = self._room.best_out
        if best_out is not None and key >= best_out:
            self._block(key, seq)
            return
        pages = ledger.pages_for(seq.prompt_tokens + seq.generated) - len(table.blocks) + table.missing
        wanted = pages + self._floor_pages + self._growth_pages * members + self._own_pages
        if (self.blocked is not None or wanted > ledger.device.free) and not self._find_room(key, seq, pages, wanted):
            return
        if returns:
            self._return(seq, pages)
        else:
            self._admit(seq, pages)

    def _find_room(self, key: Key, seq: Sequence, pages: int, wanted: int) -> bool:
        """Whether a job that needs `pages` may enter though not `wanted` pages are free, or though a better one does not fit."""
        free, total = self._ledger.device.free, self._ledger.device.total
        if free == total and pages <= free:
            return True  # the pool to itself: no floor
        if wanted <= free:
            return self._can_be_taken_back(pages)
        verdict = self._room.make(key, min(wanted, total))
        if verdict is Verdict.FITS:
            return True
        if verdict is Verdict.HOPELESS and self._lower_may_pass:
            # Nothing that this job may take would do: until better jobs are done, others use the room.
            self.blocked = self.blocked or (key, seq)
            self._held = self._held or (seq.generated > 0 and pages <= self._hold_pages)
            self.misses += 1
        else:
            self._block(key, seq)
        return False

    def _can_be_taken_back(self, pages: int) -> bool:
        """Whether a job that passes a blocked one could be moved out again when the time comes."""
        if not self._swaps or self._ledger.host.free + self._ledger.clean >= pages:
            return True
        self.closed = True
        return False

    def _block(self, key: Key, seq: Sequence) -> None:
        """The first that does not fit: whatever gets free is kept for it."""
        self.blocked = self.blocked or (key, seq)
        self.closed = True

    def _admit(self, seq: Sequence, pages: int) -> None:
        self._ledger.grow(seq.table, pages)
        # A job that is dropped when it is a victim must get one token out of each admission, or nobody gets on.
        seq.fresh = not self._swaps
        self._residents[seq.handle] = seq
        self.entered.append(seq)
        self.tables.append((seq.handle, seq.table))
        self._prefill(seq)

    def _return(self, seq: Sequence, pages: int) -> None:
        table, ledger = seq.table, self._ledger
        missing = table.missing
        self._room.moves.append(ledger.bring_in(seq.handle, table))
        if pages > missing:
            ledger.grow(table, pages - missing)
        self.tables.append((seq.handle, table))
        seq.fresh = True
        self._residents[seq.handle] = seq
        self.returning.append(seq)
        self._on_the_way()

    def _on_the_way(self) -> None:
        """A job cannot run until its move lands; where nobody may pass, nobody enters behind it meanwhile."""
        self.misses += 1
        self.closed = self.closed or not self._lower_may_pass
