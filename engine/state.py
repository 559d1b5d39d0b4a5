"""The engine's state: rows, policy, planner, clocks and plans in flight.

Owns what happens to it at each point of a turn: events are applied, a plan is decided, launched,
and its outcome absorbed. It does not read a clock nor call an executor: engine/turn does both, live
and in simulation alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..core.cost_model import CostModel
from ..core.effects import (
    Effect,
    Finished,
    LevelChanged,
    Preempted,
    PromptsNeeded,
    Recomputed,
    Resumed,
    Started,
    TokensEmitted,
)
from ..core.errors import InvariantViolation
from ..core.ids import Handle
from ..core.job import FinishReason
from ..core.outcome import IterationOutcome
from ..core.plan import Admit, Direction
from ..core.policy import Policy, Tick
from ..cost.online import CorrectedCostModel
from ..kvstore.job_kv import DECODE, JobKv
from ..kvstore.ledger import Ledger
from ..kvstore.planning.decision import Decision
from ..kvstore.planning.planner import Planner
from ..scheduler.lengths.forecast import Forecast
from ..scheduler.lengths.learned import write
from .dues import DueHeap
from .emission import Emission, Ending
from .rows import Phase, Row

STOP, LENGTH = FinishReason.STOP, FinishReason.LENGTH
"""The ends at which a job had all the tokens that it asked for."""


class InFlight(NamedTuple):
    """A launched plan that is not answered yet. `step` numbers its decode part; `factor` corrected
    what it was predicted to take.
    """

    decision: Decision
    step: int
    launch_ns: int
    factor: float


class EngineState:
    """Made by engine/assemble. `make_policy` gives a fresh policy by name and dial (None: as
    configured), for a switch while it runs.

    All of them learn in the same `forecast`, so that a switch forgets nothing.
    """

    def __init__(
        self,
        policy: Policy,
        planner: Planner,
        emission: Emission,
        cost: CostModel,
        make_policy: Callable[[str, float | None], Policy],
        forecast: Forecast,
        *,
        max_tokens: int,
        run_ahead: bool = False,
        validates: bool = False,
    ) -> None:
        """`max_tokens`: the most that prompt and output of one job may be together. `run_ahead`:
        engine/turn's.
        """
        self.policy = policy
        self.cost = cost
        self.corrected = cost if isinstance(cost, CorrectedCostModel) else None
        self.make_policy = make_policy
        self._forecast = forecast
        self.max_tokens = max_tokens
        self.run_ahead = run_ahead
        self.validates = validates
        self.rows: dict[Handle, Row] = {}
        self.emission = emission
        self.planner = planner
        self.ledger: Ledger = planner.books.ledger
        """The books of both pools."""
        self.dues = DueHeap(self.rows.__contains__)
        self.in_flight: deque[InFlight] = deque()
        self.decode_ns = 0
        self.steps = 0
        self.plans = 0
        self.charged = False

    def learned(self) -> bytes:
        """What policies learned so far, for an engine to come."""
        return write(self._forecast)

    def tick(self, now_ns: int) -> Tick:
        """This instant on the three clocks."""
        return Tick(now_ns, self.decode_ns, self.steps)

    def next_due_ns(self) -> int | None:
        """When something happens without an event: a deadline, or a change of the policy's order."""
        times = [at for at in (self.dues.next_ns(), self.policy.next_change_ns()) if at is not None]
        return min(times, default=None)

    @property
    def busy(self) -> bool:
        """Whether another turn has something to do without an event."""
        return bool(self.in_flight or self.ledger.tickets or self.planner.books.ready_jobs)

    @property
    def unanswered_steps(self) -> int:
        """Launched iterations whose decode tokens are not known yet."""
        return sum(1 for launched in self.in_flight if len(launched.decision.plan.decode))

    def repeats(self, now_ns: int) -> bool:
        """Whether a plan of now would be the last decode batch once more, whatever the tokens in
        flight are, if they end nobody.

        That holds while nothing changed, and while nobody reaches the length that was asked for
        with a token in flight.
        """
        if self.charged or self.emission.may_end(self.steps - 1):
            return False
        return self.planner.unchanged(self.policy, self.tick(now_ns)) is not None

    def _admit(self, handles: Sequence[Handle]) -> tuple[Admit, ...]:
        """What the executor must know of jobs that enter."""
        admits = []
        for handle in handles:
            row = self.rows[handle]
            if row.slot >= 0:
                # Dropped in this very plan: it still has tokens in the ring.
                self.emission.leave(row, self.steps)
            admits.append(row.admit())
        return tuple(admits)

    # steps 4 and 5 --------------------------------------------------------------------------------
    def decide(self, now_ns: int, effects: list[Effect]) -> Decision:
        """The next plan: demotions and offers that are due first, then the planner."""
        policy, tick = self.policy, self.tick(now_ns)
        change_ns, crossing_ns = policy.next_change_ns(), policy.next_crossing_ns()
        if (
            self.charged
            or (change_ns is not None and change_ns <= now_ns)
            or (crossing_ns is not None and crossing_ns <= self.decode_ns)
        ):
            self.charged = False
            self.note_levels(policy.advance(tick), effects)
        decision = self.planner.plan(policy, tick, self.plans, self._admit)
        if not decision.repeated:
            self.note_levels(decision.granted, effects)
        return decision

    def note_levels(self, changes: Sequence[LevelChanged], effects: list[Effect]) -> None:
        """Jobs changed their levels."""
        rows = self.rows
        for handle, old, new, _ in changes:
            if new > old:
                rows[handle].demotions += 1
            elif new < old:
                rows[handle].promotions += 1
        effects += changes

    # step 6 ---------------------------------------------------------------------------------------
    def launch(self, decision: Decision, now_ns: int, effects: list[Effect]) -> None:
        """The plan goes to the executor: charges, joins and leaves count from here."""
        if not decision.repeated:
            self._apply(decision, now_ns, effects)
        if decision.idle:
            return
        factor = 1.0 if self.corrected is None else self.corrected.correction.factor
        self.in_flight.append(InFlight(decision, self.steps, now_ns, factor))
        self.plans += 1
        if len(decision.plan.decode):
            self.decode_ns += decision.decode_ns
            self.steps += 1

    def _apply(self, decision: Decision, now_ns: int, effects: list[Effect]) -> None:
        policy, rows, tick = self.policy, self.rows, self.tick(now_ns)
        for handle, tokens in decision.recomputed:
            rows[handle].recomputed_tokens += tokens
            effects.append(Recomputed(handle, tokens))
        for kv in decision.left:
            self.preempted(rows[kv.handle], tick, tick.steps, effects)
        self._join(decision.joined, tick, effects)
        charge, decoding, decode = policy.charge, policy.decoding, Phase.DECODE
        for kv, service_ns, tokens in decision.charged:
            charge(kv.handle, service_ns, tokens, tick)
        self.charged = self.charged or bool(decision.charged)
        came = [rows[kv.handle] for kv in decision.decoding]
        for row in came:
            decoding(row.handle, tick)
            row.enter(decode, now_ns)
        for handle in decision.returning:
            rows[handle].enter(Phase.MOVING, now_ns)
        if decision.asked:
            effects.append(PromptsNeeded(tuple(decision.asked)))
        self.emission.arrange(decision.plan.decode, came, self.steps)
        self.planner.settled(policy.version)

    def _join(self, joined: Sequence[JobKv], tick: Tick, effects: list[Effect]) -> None:
        rows, join, level_of, prefill = self.rows, self.policy.join, self.policy.level, Phase.PREFILL
        for kv in joined:
            handle = kv.handle
            row = rows[handle]
            join(handle, tick)
            row.enter(prefill, tick.now_ns)
            level = level_of(handle)
            effects.append(Resumed(handle, level) if row.started else Started(handle, level))
            row.started = True

    def preempted(self, row: Row, tick: Tick, steps: int, effects: list[Effect]) -> None:
        """The job left the batch unfinished, with the tokens of the iterations before `steps`."""
        handle = row.handle
        self.emission.leave(row, steps)
        self.policy.leave(handle, tick)
        row.enter(Phase.PREEMPTED, tick.now_ns)
        row.preemptions += 1
        effects.append(Preempted(handle, self.policy.level(handle)))

    # step 7 ---------------------------------------------------------------------------------------
    def absorb(self, outcome: IterationOutcome, now_ns: int, effects: list[Effect]) -> TokensEmitted | None:
        """The oldest plan in flight is answered: tokens, ends, landed moves. An answer of another
        generation is void.
        """
        if not self.in_flight or self.in_flight[0].decision.plan.seq != outcome.seq:
            raise InvariantViolation(f"The executor answered plan {outcome.seq}, which is not the oldest in flight.")
        launched = self.in_flight.popleft()
        if outcome.generation != self.ledger.generation:
            return None
        if outcome.landed:
            self._land(outcome, now_ns)
        plan = launched.decision.plan
        emitted, endings = self.emission.absorb(plan, outcome, launched.step, self.rows, now_ns)
        tick = self.tick(now_ns)
        if endings:
            self.finish(endings, tick, effects)
        for handle, why in outcome.failed:
            row_failed = self.rows.get(handle)
            if row_failed is not None:
                self.finish([(row_failed, FinishReason.FAILED)], tick, effects, ("JOB_FAILED", why), missing=1)
        return emitted

    def _land(self, outcome: IterationOutcome, now_ns: int) -> None:
        for ticket in self.planner.landed(outcome.landed, outcome.generation):
            row = self.rows.get(ticket.handle)
            if ticket.direction is Direction.IN and row is not None and row.phase is Phase.MOVING:
                row.enter(Phase.PREEMPTED, now_ns)

    def finish(
        self,
        endings: Sequence[Ending],
        tick: Tick,
        effects: list[Effect],
        failure: tuple[str, str] | None = None,
        *,
        missing: int = 0,
    ) -> None:
        """The last word about some jobs: everything they hold is freed. `missing`: tokens of each
        that were launched and never came, beside those in flight.
        """
        in_flight = self.unanswered_steps
        # Tokens that are not here yet and will not be wanted: whoever decodes stands in all that is
        # in flight.
        missed = [missing + in_flight * (row.kv.stage is DECODE) for row, _ in endings]
        rows, forget, removed, now_ns = self.rows, self.emission.forget, self.policy.removed, tick.now_ns
        for row, reason in endings:
            forget(row)
            removed(row.handle, tick, finished=reason is STOP or reason is LENGTH)
            del rows[row.handle]
        self.planner.remove([row.kv for row, _ in endings], tick.steps)
        effects += [
            Finished(row.handle, reason, row.kv.generated - never_came, row.account(now_ns), failure)
            for (row, reason), never_came in zip(endings, missed, strict=True)
        ]
