"""An executor that remembers what every slot holds and lets nothing pass.

Each cell of each page knows whose KV of which position it holds; every decode and every chunk looks
for all of its job's own KV. Moves land late, in any order, and read their source only when they
land: a slot freed too early is found out. Every rule of core/plan.py is asserted.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from skipjoin.core.clock import ManualClock
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.outcome import IterationOutcome
from skipjoin.core.plan import Direction, IterationPlan, Move

VOCABULARY = 23


def prompt_of(handle: int, length: int) -> np.ndarray:
    return np.array([(handle * 7 + i) % VOCABULARY for i in range(length)], dtype=np.int32)


def token_of(handle: int, position: int) -> int:
    """The token that the shadow model emits as output `position`."""
    return random.Random(handle * 1000003 + position).randrange(VOCABULARY)


@dataclass
class _Job:
    tokens: list[int]
    prompt_tokens: int
    pages: list[int] = field(default_factory=list)

    @property
    def emitted(self) -> int:
        return len(self.tokens) - self.prompt_tokens


class ShadowExecutor:
    def __init__(self, facts: ExecutorFacts, clock: ManualClock, seed: int, *, fail_share: float = 0.0) -> None:
        self.facts, self.clock = facts, clock
        self.random = random.Random(seed)
        self.fail_share = fail_share
        self.plans: list[IterationPlan] = []
        self.generation = facts.generation
        size = facts.page_tokens
        self.device = [[None] * size for _ in range(facts.device_pages)]
        self.host = [[None] * size for _ in range(facts.host_pages)]
        self.jobs: dict[int, _Job] = {}
        self.under_way: list[Move] = []
        self.queue: list[tuple[IterationPlan, list[int], list[int], list[tuple[int, str]]]] = []

    def start(self) -> ExecutorFacts:
        return self.facts

    def close(self) -> None:
        self.queue.clear()

    # submit
    # ---------------------------------------------------------------------------------------------------
    def submit(self, plan: IterationPlan) -> None:
        assert plan.generation == self.generation
        self.plans.append(plan)
        for handle in plan.dropped:
            assert self.jobs.pop(handle, None) is not None, f"{handle} was dropped without being known"
        for admit in plan.admits:
            known = [int(t) for t in admit.tokens]
            assert len(known) == admit.known_tokens
            expected = prompt_of(admit.handle, admit.prompt_tokens).tolist()
            expected += [token_of(admit.handle, i) for i in range(admit.known_tokens - admit.prompt_tokens)]
            assert known == expected, "an admit carries every known token"
            self.jobs[admit.handle] = _Job(known, admit.prompt_tokens)
        for table in plan.tables:
            self.jobs[table.handle].pages = table.pages.tolist()
        for handle, page in zip(plan.new_pages.handles.tolist(), plan.new_pages.pages.tolist(), strict=True):
            self.jobs[handle].pages.append(page)
        self._check_moves(plan)
        self.under_way += plan.moves
        handles, tokens, failed = self._compute(plan)
        self.queue.append((plan, handles, tokens, failed))

    def _check_moves(self, plan: IterationPlan) -> None:
        every = self.under_way + list(plan.moves)
        pages = [p for move in every for p in move.pages.tolist()]
        slots = [s for move in every for s in move.host_slots.tolist()]
        assert len(set(pages)) == len(pages), "no page is in two moves"
        assert len(set(slots)) == len(slots), "no host slot is in two moves"
        for move in plan.moves:
            assert len(move.pages) == len(move.host_slots) > 0
            if move.direction is Direction.IN:
                for page in move.pages.tolist():
                    self.device[page] = [None] * self.facts.page_tokens
            else:
                for slot in move.host_slots.tolist():
                    self.host[slot] = [None] * self.facts.page_tokens

    def _compute(self, plan: IterationPlan) -> tuple[list[int], list[int], list[tuple[int, str]]]:
        decode = plan.decode.handles.tolist()
        spans = [(h, len(self.jobs[h].tokens) - 1, 1) for h in decode]
        spans += [(c.handle, c.start, c.length) for c in plan.prefills]
        assert len({h for h, _, _ in spans}) == len(spans), "a job is in a batch once"
        for chunk in plan.prefills:
            known = len(self.jobs[chunk.handle].tokens)
            assert chunk.length > 0 and chunk.last == (chunk.start + chunk.length == known)
        incoming = {p for m in self.under_way if m.direction is Direction.IN for p in m.pages.tolist()}
        outgoing = {p for m in self.under_way if m.direction is Direction.OUT for p in m.pages.tolist()}
        read: set[int] = set()
        written: set[int] = set()
        for handle, start, length in spans:
            self._check_own(handle, start)
            first, last = start // self.facts.page_tokens, (start + length - 1) // self.facts.page_tokens
            pages = self.jobs[handle].pages
            assert last < len(pages), f"{handle} has a page for every token it computes"
            read.update(pages[: last + 1])
            for page in pages[first : last + 1]:
                assert page not in written, "two jobs write one page"
                written.add(page)
            for position in range(start, start + length):
                self.device[pages[position // self.facts.page_tokens]][position % self.facts.page_tokens] = (
                    handle,
                    position,
                )
        assert not read & incoming, "nobody reads a page that is being filled"
        assert not written & outgoing, "nobody writes a page that is being copied"
        emitting = decode + [c.handle for c in plan.prefills if c.last]
        failed = [(h, "not finite") for h in emitting if self.random.random() < self.fail_share]
        bad = {h for h, _ in failed}
        handles = [h for h in emitting if h not in bad]
        tokens = []
        for handle in handles:
            job = self.jobs[handle]
            tokens.append(token_of(handle, job.emitted))
            job.tokens.append(tokens[-1])
        return handles, tokens, failed

    def _check_own(self, handle: int, upto: int) -> None:
        """All KV of the job before `upto` is where its table says."""
        size, pages = self.facts.page_tokens, self.jobs[handle].pages
        for position in range(upto):
            cell = self.device[pages[position // size]][position % size]
            assert cell == (handle, position), f"job {handle} finds {cell} in place of its KV at {position}"

    # poll
    # -----------------------------------------------------------------------------------------------------
    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        plan, handles, tokens, failed = self.queue.pop(0)
        started = self.clock.now_ns()
        self.clock.advance(1_000_000 if plan.computes else 100_000)
        landed = [m for m in self.under_way if self.random.random() < 0.4]
        if not plan.computes and self.under_way and not landed:
            landed = [self.random.choice(self.under_way)]
        self.random.shuffle(landed)
        for move in landed:
            self._land(move)
        return IterationOutcome(
            seq=plan.seq,
            generation=plan.generation,
            started_ns=started,
            ended_ns=self.clock.now_ns(),
            handles=np.array(handles, dtype=np.int64),
            tokens=np.array(tokens, dtype=np.int32),
            landed=tuple(m.move_id for m in landed),
            failed=tuple(failed),
        )

    def _land(self, move: Move) -> None:
        self.under_way = [m for m in self.under_way if m.move_id != move.move_id]
        for page, slot in zip(move.pages.tolist(), move.host_slots.tolist(), strict=True):
            if move.direction is Direction.OUT:
                self.host[slot] = list(self.device[page])
            else:
                self.device[page] = list(self.host[slot])
