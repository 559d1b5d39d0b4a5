"""One walk down the ranking: who runs in this turn.

Owns the choice of a single plan, best job first: members of the decode batch, prompts to go on
with, jobs that enter or return, and the first that does not fit. It does not know why a job ranks
where it does, nor what its tokens are; the planner makes a walk per plan.

A map. `run` goes down the ranking and meets each job in one of these states; what it does is a
method of that name:

    KV on the device, complete      runs; needs a page now and then                `_go_on`
    KV on the device, incomplete    wants a chunk of its prompt                    `_prefill`
    KV on its way in or out         waits for the move                             `_wait_for_move`
    KV on the host                  needs pages, then a move                       `_enter`, `_return`
    no KV                           needs pages, then its first chunk              `_enter`, `_admit`

It stops when the batch is full, when the first job that does not fit closed the door behind it, or
when it has passed over `lookahead` jobs. Residents that it did not reach then run in what places
are left: they are at home and cost nothing.

An example (tests/kvstore/test_walk_example.py): 9 pages of 4 tokens, a floor of 1 page, 3 places,
victims that go to the host. A holds 4 full pages and D holds 3, both decode, 2 pages are free; B
and C have just arrived. The ranking is A, B, C, D.

    A  its 17th token needs a page        2 are free: it gets one       runs
    B  a prompt of 9 tokens: 3 pages,     1 is free: the room takes     waits for D's copy, and
       and the floor                      D's 3                         closes the door
    C  a prompt of 2 tokens               the door is closed            passed over
    D                                     a victim: its copy goes out   leaves the batch

When the copy has landed 4 pages are free: B enters, 1 page is free, and C waits, for it would take
the floor.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...core.ids import Handle
from ...core.policy import Key
from ..job_kv import DECODE, OUT, JobKv
from .context import TurnContext
from .draft import Draft
from .room import Room, Verdict


class Walk:
    """Reads the context, writes the draft; ledger and residents change as it goes, the batch is
    rearranged afterwards.
    """

    __slots__ = (
        "_alone",
        "_context",
        "_draft",
        "_floor_pages",
        "_growth_pages",
        "_held",
        "_kept",
        "_ledger",
        "_may_prefill",
        "_misses",
        "_own_pages",
        "_prefill_ns",
        "_prefill_tokens",
        "_room",
        "_unseen",
    )

    def __init__(self, context: TurnContext, draft: Draft, room: Room) -> None:
        books, rules, policy = context.books, context.rules, context.policy
        ledger, running = books.ledger, books.running
        draft.closed = context.calm
        self._context = context
        self._draft = draft
        self._room = room
        self._ledger = ledger
        self._floor_pages = context.floor_pages
        self._own_pages = ledger.pages_for(policy.admission.spare_tokens)
        self._growth_pages = rules.kv.growth_pages + self._own_pages
        #: Places kept for members of the last batch that the walk has not reached.
        self._kept = context.kept_places()
        #: Residents that it has not reached.
        self._unseen = len(books.residents)
        #: Jobs that it passed over.
        self._misses = 0
        #: A job that has begun waits to come back: no newcomer enters below it.
        self._held = False
        #: A job runs that must run alone.
        self._alone = False
        #: What is left of the budget for prompts; the first always gets on.
        self._prefill_ns = rules.budget.room_ns(rules.cost.decode_ns(len(running.members), running.context_sum))
        self._prefill_tokens = rules.budget.max_tokens
        self._may_prefill = True

    def run(self, ranked: Iterator[tuple[Key, Handle]]) -> None:
        """Down the ranking while a job may run, then down the residents that were not reached."""
        context, draft = self._context, self._draft
        jobs, rules, number, steps = context.books.jobs, context.rules, context.number, context.tick.steps
        chosen, capacity, lookahead, plain = draft.chosen, rules.max_batch, rules.kv.lookahead, not rules.alternate
        for key, handle in ranked:
            if len(chosen) >= capacity or self._alone:
                return
            job = jobs[handle]
            if job.seen == number:
                pass  # a victim, or the suspect that went first
            elif job.stage is DECODE and job.grow_step > steps and plain and not job.alone:
                # A member of the decode batch is at home, and this one needs no page: it runs
                # again, as most jobs of most plans do.
                job.seen = job.mark = number
                self._kept -= 1
                self._unseen -= 1
                draft.stayed += 1
                chosen.append(job)
            elif not self._may_prefill and job.stage is OUT and job.ready and not job.table.blocks and not job.alone:
                # A newcomer when no more prompts go into this iteration.
                job.seen = number
                self._misses += 1
            else:
                self._look(key, job)
            if draft.closed or self._misses > lookahead:
                break
        if self._unseen > 0:
            draft.closed = True
            self._run_rest()

    def _run_rest(self) -> None:
        """Down the residents that were not reached; `draft.closed`: nobody enters."""
        context, draft = self._context, self._draft
        number, steps, capacity = context.number, context.tick.steps, context.rules.max_batch
        chosen, plain = draft.chosen, not context.rules.alternate
        for key, job in self._room.rest():
            if len(chosen) >= capacity or self._alone:
                return
            if job.seen == number:
                continue
            if job.stage is DECODE and job.grow_step > steps and plain and not job.alone:
                job.seen = job.mark = number
                draft.stayed += 1
                chosen.append(job)
            else:
                self._look(key, job)

    def _look(self, key: Key, job: JobKv) -> None:
        number = self._context.number
        job.seen = number
        if job.stage is not OUT:
            self._kept -= 1
        if job.alone and not self._may_be_alone(job):
            return
        table = job.table
        if not table.blocks:
            self._enter(key, job)
        elif not table.missing and not table.leaving:
            self._unseen -= 1
            self._go_on(key, job)
        elif table.coming or table.leaving:
            self._unseen -= bool(table.coming)
            self._wait_for_move()
        else:
            self._enter(key, job)
        if job.alone and job.mark == number:
            self._alone = True

    def _may_be_alone(self, job: JobKv) -> bool:
        """A crash suspect runs with nobody else, when it is the first that can run."""
        if not self._draft.chosen:
            return True
        job.waited += 1
        self._draft.restless = True
        self._misses += 1
        if job.handle in self._context.books.residents:
            self._unseen -= 1
        return False

    # residents ------------------------------------------------------------------------------------
    def _go_on(self, key: Key, job: JobKv) -> None:
        """A resident runs, if it gets the page it may need."""
        context, draft = self._context, self._draft
        member = job.stage is DECODE
        if context.rules.alternate and draft.chosen and job.stage is not OUT:
            return
        if job.filling:
            if self._may_prefill:
                self._prefill(job)
            else:
                self._misses += 1
            return
        table, ledger = job.table, self._ledger
        # A member's next page is in the calendar; for the others the counts are exact.
        needy = (
            job.grow_step <= context.tick.steps if member else job.computed >= len(table.blocks) * ledger.page_tokens
        )
        if needy:
            if not ledger.device.free and self._room.make(key, 1) is not Verdict.FITS:
                self._block(key, job)
                return
            draft.grown.append((job.handle, ledger.grow_by_one(table)))
            if member:
                context.books.running.grown(job)
        if member:
            draft.stayed += 1
        else:
            draft.came.append(job)
        job.fresh = False
        job.mark = context.number
        draft.chosen.append(job)

    def _prefill(self, job: JobKv) -> None:
        """A job with an incomplete KV wants a chunk; the budget is shared out when the decode
        members are known.
        """
        before, left = job.computed, self._prefill_tokens
        tokens = job.prompt_tokens + job.generated - before
        if tokens > left:
            tokens = left
        own_ns = self._context.rules.cost.chunk_ns(tokens, before)
        self._prefill_ns -= own_ns
        self._prefill_tokens = left = left - tokens
        self._may_prefill = self._prefill_ns > 0 and left > 0
        draft = self._draft
        draft.prefills.append((job, tokens, own_ns))
        job.mark = self._context.number
        draft.chosen.append(job)

    def _wait_for_move(self) -> None:
        """A job cannot run until its move lands; where nobody may pass, nobody enters behind it
        meanwhile.
        """
        self._misses += 1
        if not self._context.policy.lower_may_pass:
            self._draft.closed = True

    # who enters -----------------------------------------------------------------------------------
    def _enter(self, key: Key, job: JobKv) -> None:
        """A job without KV on the device: a newcomer, or one that returns from the host."""
        table, ledger, draft = job.table, self._ledger, self._draft
        returns, members = bool(table.blocks), len(draft.chosen)
        if not job.ready:
            if not job.asked:
                draft.asked.append(job)
            self._misses += 1
            return
        full = self._kept > 0 and members + self._kept >= self._context.rules.max_batch
        if draft.closed or full or (not returns and (not self._may_prefill or (self._held and not job.generated))):
            self._misses += 1
            return
        best_out = self._room.best_out
        if best_out is not None and key >= best_out:
            self._block(key, job)
            return
        pages = ledger.pages_for(job.prompt_tokens + job.generated) - len(table.blocks) + table.missing
        wanted = pages + self._floor_pages + self._growth_pages * members + self._own_pages
        if (draft.blocked is not None or wanted > ledger.device.free) and not self._find_room(key, job, pages, wanted):
            return
        if returns:
            self._return(job, pages)
        else:
            self._admit(job, pages)

    def _find_room(self, key: Key, job: JobKv, pages: int, wanted: int) -> bool:
        """Whether a job that needs `pages` may enter though not `wanted` pages are free, or though
        a better one does not fit.
        """
        draft, device = self._draft, self._ledger.device
        free, total = device.free, device.total
        if free == total and pages <= free:
            return True  # the pool to itself: no floor
        if wanted <= free:
            return self._can_be_taken_back(pages)
        verdict = self._room.make(key, min(wanted, total))
        if verdict is Verdict.FITS:
            return True
        policy = self._context.policy
        if verdict is Verdict.HOPELESS and policy.lower_may_pass:
            # Nothing that this job may take would do: until better jobs are done, others use the
            # room.
            draft.blocked = draft.blocked or (key, job)
            hold_pages = int(policy.admission.holds_below * total)
            self._held = self._held or (job.generated > 0 and pages <= hold_pages)
            self._misses += 1
        else:
            self._block(key, job)
        return False

    def _can_be_taken_back(self, pages: int) -> bool:
        """Whether a job that passes a blocked one could be moved out again when the time comes."""
        ledger = self._ledger
        if not self._context.swaps or ledger.host.free + ledger.clean >= pages:
            return True
        self._draft.closed = True
        return False

    def _block(self, key: Key, job: JobKv) -> None:
        """The first that does not fit: whatever gets free is kept for it."""
        draft = self._draft
        draft.blocked = draft.blocked or (key, job)
        draft.closed = True

    def _admit(self, job: JobKv, pages: int) -> None:
        self._ledger.grow(job.table, pages)
        # A job that is dropped when it is a victim must get one token out of each admission, or
        # nobody gets on.
        job.fresh = not self._context.swaps
        self._context.books.residents[job.handle] = job
        draft = self._draft
        draft.entered.append(job)
        draft.tables.append((job.handle, job.table))
        self._prefill(job)

    def _return(self, job: JobKv, pages: int) -> None:
        draft = self._draft
        draft.moves.append(self._ledger.bring_in(job.handle, job.table, pages - job.table.missing))
        draft.tables.append((job.handle, job.table))
        job.fresh = True
        self._context.books.residents[job.handle] = job
        draft.returning.append(job)
        self._wait_for_move()
