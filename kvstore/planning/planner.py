"""The planner: an order of jobs and a ledger of pages become one iteration.

Owns every sequence, the running batch and the rules of docs/algorithm.md, "One iteration". It does not know why a job
ranks where it does, nor levels, accounts or tokens; engine/state feeds it and carries its decisions to policy and effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from itertools import chain

from ...core.cost_model import CostModel
from ...core.ids import Handle, MoveId
from ...core.plan import Admit, Direction, IterationPlan
from ...core.policy import Key, Policy, Tick
from ..ledger import Ledger, Ticket
from ..params import KvParams
from ..sequence import DECODE, OUT, Sequence
from .budget import PrefillBudget
from .decision import Decision
from .draft import Draft
from .grants import Grants
from .links import IdleLink
from .room import Room
from .running import RunningBatch
from .walk import Walk

PATIENCE = 16
"""Plans that may pass over a job that must run alone before it goes first."""


class Planner:
    """Plans iterations for one executor. `admit(handles)` gives the tokens and sampling of jobs that enter."""

    def __init__(
        self,
        ledger: Ledger,
        cost: CostModel,
        params: KvParams,
        admit: Callable[[Items[Handle]], tuple[Admit, ...]],
        *,
        max_batch: int,
        max_prefill_tokens: int,
        quiet_ns: int,
        alternate: bool = False,
        plan_every_turn: bool = False,
    ) -> None:
        """`quiet_ns`: see PrefillBudget. `alternate`: no job runs two turns in a row while another can (a debug mode).
        `plan_every_turn`: an unchanged turn is planned all the same.
        """
        self.ledger = ledger
        self.seqs: dict[Handle, Sequence] = {}
        self.running = RunningBatch(ledger.page_tokens)
        self._cost = cost
        self._params = params
        self._admit = admit
        self.max_batch = max_batch
        self._budget = PrefillBudget(cost, quiet_ns, max_prefill_tokens, ledger.page_tokens)
        self._alternate = alternate
        self._plan_every_turn = plan_every_turn
        pages = ledger.device.total
        floor_pages = params.floor(pages, swaps=params.mode != "recompute")
        self._link = IdleLink(ledger, int(params.clean_reserve * pages), floor_pages)
        self.residents: dict[Handle, Sequence] = {}
        self._prefilling: list[Sequence] = []
        self._suspects: dict[Handle, Sequence] = {}
        self._grants = Grants(ledger, floor_pages, drops=params.mode == "recompute")
        self._dropped: list[Handle] = []
        self.ready_jobs = 0
        """Live jobs whose prompt has arrived."""
        self._number = 0
        self._changed = True
        self._below = False
        self._version = -1

    # what happens ---------------------------------------------------------------------------------------------
    def add(self, seq: Sequence) -> None:
        """A job arrives."""
        self.seqs[seq.handle] = seq
        self.ready_jobs += seq.ready
        if seq.alone:
            self._suspects[seq.handle] = seq
        self._changed = True

    def prompt_arrived(self, handle: Handle) -> None:
        """The job can be admitted."""
        seq = self.seqs[handle]
        self.ready_jobs += not seq.ready
        seq.ready = True
        self._changed = True

    def policy_changed(self) -> None:
        """Keys and offers are another policy's from now on."""
        self._grants.outstanding = None
        self._changed = True

    def remove(self, ended: Items[Sequence], steps: int) -> None:
        """These jobs ended, in whatever way: their counts are settled, their slots are free, or orphans while a move holds them."""
        residents, grants = self.residents, self._grants
        for seq in ended:
            handle = seq.handle
            del self.seqs[handle]
            self.ready_jobs -= seq.ready
            if seq.stage == DECODE:
                self.running.take_out(seq, steps)
            seq.stage = OUT
            residents.pop(handle, None)
            if seq.alone:
                del self._suspects[handle]
            if grants.outstanding is seq:
                grants.outstanding = None
            if seq.admitted:
                self._dropped.append(handle)
        self.ledger.release_all([seq.table for seq in ended])
        self._changed = True

    def landed(self, moves: Items[MoveId], generation: int) -> list[Ticket]:
        """Moves are done."""
        tickets = [self.ledger.land(move_id, generation) for move_id in moves]
        self._changed = True
        return [ticket for ticket in tickets if ticket is not None]

    def reset(self, generation: int, steps: int) -> list[tuple[Sequence, bool, int]]:
        """The executor lost everything. Answers, for every job that had KV or was in the batch: it, whether it was, computed tokens."""
        out = []
        for seq in self.seqs.values():
            if seq.stage != OUT or seq.computed:
                was_in_batch = seq.stage != OUT
                seq.settle(steps)
                seq.stage = OUT
                out.append((seq, was_in_batch, seq.computed))
            seq.forget_kv()
            seq.admitted = False
        self.ledger.reset(generation)
        self.running.clear()
        self.residents.clear()
        self._prefilling = []
        self._dropped = []
        self._changed = True
        return out

    # the turn -------------------------------------------------------------------------------------------------
    def settled(self, version: int) -> None:
        """The policy knows of the launched plan: what it says from now on is new."""
        self._version = version

    def plan(self, policy: Policy, tick: Tick, plan_seq: int) -> Decision:
        """The next iteration; its plan may have nothing in it (`Decision.idle`)."""
        calm = self._calm(policy, tick)
        if calm and not self._plan_every_turn:
            return self.running.repeat(self.ledger, self._cost, tick.steps, plan_seq)
        decision = Decision(IterationPlan(plan_seq, self.ledger.generation))
        if not calm:
            decision.granted = self._grants.give(policy, self.seqs, tick)
        while True:
            self._number += 1
            suspect = next((seq for seq in self._suspects.values() if seq.waited > PATIENCE and seq.ready), None)
            ranked = self._ranked(policy, tick, suspect)
            walk, room = self._walk(policy, tick, decision, suspect, calm=calm)
            walk.run(ranked, self.seqs)
            worst = self._stuck(walk, room)
            if worst is None:
                break
            worst.settle(tick.steps)
            room.drop(worst)
        draft = Draft(self.ledger, self.running, self._cost, self._budget, decision, tick)
        draft.rearrange(walk, self.seqs)
        self._prefilling = draft.prefill(walk, self._prefilling, self.seqs, lasting=self._swaps(policy))
        if not calm:
            self._use_link(policy, ranked, walk, room, tick)
        draft.finish(walk, room.moves, self._admit, self._dropped)
        self._dropped = []
        self._changed = bool(self._prefilling) or walk.restless
        self._below = self.ledger.device.free < self._link.low_water
        self._grants.ran(self._number)
        return decision

    def unchanged(self, policy: Policy, tick: Tick) -> int | None:
        """None when the turn at `tick` is planned anew; else the free pages that it, and each like it that follows, has to leave."""
        if self._plan_every_turn or not self._calm(policy, tick):
            return None
        return 0 if self._below else self._link.low_water

    def _calm(self, policy: Policy, tick: Tick) -> bool:
        """Whether nothing has changed since the last plan but what the calendars know."""
        if self._changed or self._alternate or policy.version != self._version or not self.running.members:
            return False
        change_ns, crossing_ns = policy.next_change_ns(), policy.next_crossing_ns()
        if (change_ns is not None and change_ns <= tick.now_ns) or (
            crossing_ns is not None and crossing_ns <= tick.decode_ns
        ):
            return False
        left = self.ledger.device.free - len(self.running.due(tick.steps))
        return left >= 0 and (self._below or left >= self._link.low_water)

    # ranking --------------------------------------------------------------------------------------------------
    def _swaps(self, policy: Policy) -> bool:
        """Whether victims go to the host; else they are computed again."""
        return policy.swaps and self._params.mode != "recompute"

    def _walk(
        self, policy: Policy, tick: Tick, decision: Decision, suspect: Sequence | None, *, calm: bool
    ) -> tuple[Walk, Room]:
        steps, number, swaps, running = tick.steps, self._number, self._swaps(policy), self.running

        def rank(seq: Sequence) -> Key:
            if seq is suspect:
                return ()
            key = policy.key(seq.handle, tick)
            return (int(seq.stage != OUT), *key) if self._alternate else key

        def evicted(seq: Sequence, lost_tokens: int) -> None:
            if seq.stage == DECODE:
                running.take_out(seq, steps)
            del self.residents[seq.handle]
            if lost_tokens:
                decision.recomputed.append((seq.handle, lost_tokens))

        room = Room(self.ledger, self._cost, self.residents, rank, number, steps, swaps=swaps, evicted=evicted)
        walk = Walk(
            self.ledger,
            self._params,
            self._budget,
            self._cost,
            self.residents,
            running,
            room,
            number=number,
            steps=steps,
            capacity=self.max_batch,
            floor_pages=self._params.floor(self.ledger.device.total, swaps=swaps),
            swaps=swaps,
            lower_may_pass=policy.lower_may_pass,
            admission=policy.admission,
            closed=calm,
            alternate=self._alternate,
            kept=0 if policy.preempts else sum(seq.stage != OUT for seq in chain(running.members, self._prefilling)),
        )
        return walk, room

    def _ranked(self, policy: Policy, tick: Tick, suspect: Sequence | None) -> Iterator[tuple[Key, Handle]]:
        order = policy.order(tick)
        if self._alternate:
            order = self._last_batch_last(list(order))
        return order if suspect is None else chain([((), suspect.handle)], order)

    def _last_batch_last(self, order: list[tuple[Key, Handle]]) -> Iterator[tuple[Key, Handle]]:
        for was_in_batch in (False, True):
            for key, handle in order:
                if (self.seqs[handle].stage != OUT) == was_in_batch:
                    yield (int(was_in_batch), *key), handle

    def _stuck(self, walk: Walk, room: Room) -> Sequence | None:
        """When nothing runs, nothing moves and somebody does not fit: the worst resident but that one, to be recomputed."""
        if walk.blocked is None or walk.chosen or self.ledger.tickets:
            return None
        blocked = walk.blocked[1]
        others = [seq for seq in self.residents.values() if seq is not blocked]
        return max(others, key=room.rank, default=None)

    def _use_link(
        self, policy: Policy, ranked: Iterator[tuple[Key, Handle]], walk: Walk, room: Room, tick: Tick
    ) -> None:
        """Moves that nobody waits for, when victims go to the host at all."""
        if not self._swaps(policy):
            return
        if self._params.mode == "proactive" and self._link.short > 0:
            number = self._number
            waiting = (seq for _, seq in reversed(room.rest()) if seq.mark != number)
            room.moves += self._link.write_behind(chain(waiting, reversed(walk.chosen)), room, tick.steps)
        if len(walk.chosen) == self.max_batch and not walk.closed and self._params.prefetch:
            self._prefetch(policy, ranked, walk, room, tick)

    def _prefetch(
        self, policy: Policy, ranked: Iterator[tuple[Key, Handle]], walk: Walk, room: Room, tick: Tick
    ) -> None:
        if self._link.busy(Direction.IN):
            return
        candidates: list[tuple[int, Sequence]] = []
        for _, (_, handle) in zip(range(self._params.lookahead), ranked, strict=False):
            seq = self.seqs[handle]
            table = seq.table
            if table.blocks and table.missing and not table.in_transit:
                soon_ns = policy.next_run_ns(seq.handle, tick, self.max_batch)
                candidates.append((len(candidates) if soon_ns is None else soon_ns, seq))
                if len(candidates) == self._params.prefetch:
                    break
        found = self._link.prefetch(candidates)
        if found is not None:
            seq, move = found
            room.moves.append(move)
            walk.tables.append((seq.handle, seq.table))
            walk.returning.append(seq)
            self.residents[seq.handle] = seq
