"""The planner: an order of jobs and a ledger of pages become one iteration.

Owns the order in which a plan is made (docs/algorithm.md, "One iteration") and when there is none
to make because nothing changed. It does not know why a job ranks where it does, nor levels,
accounts or tokens; engine/state feeds it and carries its decisions to policy and effects.

A plan is made from a frozen `TurnContext` into one `Draft`:

    idle link   a promotion that the link can bring back
    walk        who runs; asks the room for victims, writes the draft
    freeze      the batch rearranged, prompts shared out
    idle link   copies for later
    freeze      the plan and the `Decision`
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.ids import Handle, MoveId
from ...core.policy import Policy, Tick
from ..job_kv import JobKv
from ..ledger import Ledger, Ticket
from .books import Books
from .context import Rules, TurnContext
from .decision import Decision
from .draft import Draft
from .freeze import AdmitOf, freeze, rearrange, share_prompts
from .idle_link import IdleLink
from .room import Room
from .walk import Walk

PATIENCE = 16
"""Plans that may pass over a job that must run alone before it goes first."""


class Planner:
    """Plans iterations for one executor. Events go through it into the `books`, so that it knows
    that something changed.
    """

    def __init__(self, ledger: Ledger, rules: Rules) -> None:
        self.books = Books(ledger)
        self.rules = rules
        self._swaps = rules.kv.mode != "recompute"
        pages = ledger.device.total
        floor_pages = rules.kv.floor(pages, swaps=self._swaps)
        self._link = IdleLink(ledger, int(rules.kv.clean_reserve * pages), floor_pages, drops=not self._swaps)
        self._number = 0
        self._changed = True
        self._below = False
        self._version = -1

    # what happens ---------------------------------------------------------------------------------
    def add(self, job: JobKv) -> None:
        """A job arrives."""
        self.books.add(job)
        self._changed = True

    def prompt_arrived(self, handle: Handle) -> None:
        """The job can be admitted."""
        self.books.prompt_arrived(handle)
        self._changed = True

    def policy_changed(self) -> None:
        """Keys and offers are another policy's from now on."""
        self._link.forget_grant()
        self._changed = True

    def remove(self, ended: Sequence[JobKv], steps: int) -> None:
        """These jobs ended, in whatever way."""
        self.books.remove(ended, steps)
        self._link.ended(ended)
        self._changed = True

    def landed(self, moves: Sequence[MoveId], generation: int) -> list[Ticket]:
        """Moves are done."""
        self._changed = True
        return self.books.landed(moves, generation)

    # the turn -------------------------------------------------------------------------------------
    def settled(self, version: int) -> None:
        """The policy knows of the launched plan: what it says from now on is new."""
        self._version = version

    def plan(self, policy: Policy, tick: Tick, plan_seq: int, admit: AdmitOf) -> Decision:
        """The next iteration; its plan may have nothing in it (`Decision.idle`). `admit(handles)`:
        tokens and sampling of jobs that enter.
        """
        books, rules = self.books, self.rules
        calm = self._calm(policy, tick)
        if calm and not rules.plan_every_turn:
            return books.running.repeat(books.ledger, rules.cost, tick.steps, plan_seq)
        context = self._context(policy, tick, plan_seq, calm=calm)
        draft = Draft()
        if not calm:
            self._link.grant(context, draft)
        while True:
            ranked = context.ranked()
            room = Room(context, draft)
            walk = Walk(context, draft, room)
            walk.run(ranked)
            worst = _stuck(context, draft)
            if worst is None:
                break
            worst.settle(tick.steps)
            room.drop(worst)
            context, draft = self._context(policy, tick, plan_seq, calm=calm), draft.again()
        rearrange(context, draft)
        share_prompts(context, draft)
        if not calm:
            self._link.use(context, draft, room, ranked)
        decision = freeze(context, draft, admit)
        self._changed = bool(books.prefilling) or draft.restless
        self._below = books.ledger.device.free < self._link.low_water
        self._link.ran(context.number)
        return decision

    def unchanged(self, policy: Policy, tick: Tick) -> int | None:
        """None when the turn at `tick` is planned anew; else the free pages that it, and each like
        it that follows, has to leave.
        """
        if self.rules.plan_every_turn or not self._calm(policy, tick):
            return None
        return 0 if self._below else self._link.low_water

    def _calm(self, policy: Policy, tick: Tick) -> bool:
        """Whether nothing has changed since the last plan but what the calendars know."""
        running, ledger = self.books.running, self.books.ledger
        if self._changed or self.rules.alternate or policy.version != self._version or not running.members:
            return False
        change_ns, crossing_ns = policy.next_change_ns(), policy.next_crossing_ns()
        if (change_ns is not None and change_ns <= tick.now_ns) or (
            crossing_ns is not None and crossing_ns <= tick.decode_ns
        ):
            return False
        left = ledger.device.free - (0 if self._below else self._link.low_water)
        growth = running.growth.peek(tick.steps) or ()
        # Not everything in the bucket need still be due.
        return left >= len(growth) or left >= len(running.due(tick.steps))

    def _context(self, policy: Policy, tick: Tick, plan_seq: int, *, calm: bool) -> TurnContext:
        self._number += 1
        suspects = self.books.suspects.values()
        suspect = next((job for job in suspects if job.waited > PATIENCE and job.ready), None)
        swaps = policy.swaps and self._swaps
        return TurnContext(self.rules, self.books, policy, tick, self._number, plan_seq, calm, suspect, swaps)


def _stuck(context: TurnContext, draft: Draft) -> JobKv | None:
    """When nothing runs, nothing moves and a job does not fit: the worst resident but that one, to
    be recomputed.
    """
    if draft.blocked is None or draft.chosen or context.books.ledger.tickets:
        return None
    blocked = draft.blocked[1]
    others = [job for job in context.books.residents.values() if job is not blocked]
    return max(others, key=context.rank, default=None)
