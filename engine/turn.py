"""One turn: events in, effects out.

Owns the three clock reads and the order of a turn (docs/architecture.md); everything else is state. It does not know whether its executor
is real or simulated; serving, sim, bench and `skipjoin.LLM` step it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.clock import Clock
from ..core.effects import Effect, TokensEmitted, TurnEffects, TurnStats
from ..core.errors import ExecutorLost
from ..core.events import Event
from ..core.outcome import IterationOutcome
from ..core.plan import IterationPlan
from ..core.ports import Executor
from ..kvstore.decision import Decision
from ..profiler.online import CorrectedCostModel
from . import intake
from .recording import Recorder
from .state import EngineState

DEPTH = 1
"""Plans in flight: launched before the oldest is waited for.

With more than one, no iteration would be the answer to the plan of its turn, and a corrected cost model would learn nothing: a prediction would have
to keep the factor that it was made by.
"""


class Turn:
    """Steps an engine. `decide` and `settle` are steps 2-5 and 7 of a turn, for whoever times them apart from the executor."""

    def __init__(
        self, state: EngineState, executor: Executor, clock: Clock, *, recorder: Recorder | None = None
    ) -> None:
        self.state = state
        self._executor = executor
        self._clock = clock
        self._recorder = recorder
        self._corrected = state.cost if isinstance(state.cost, CorrectedCostModel) else None
        self._effects: list[Effect] = []
        self._drained_ns = 0
        self._launched_ns = 0
        self._decision: Decision | None = None

    def step(self, events: Sequence[Event] = ()) -> TurnEffects:
        """One whole turn; waits for the executor. Raises ExecutorLost when the executor is gone."""
        plan = self.decide(events)
        outcome = None
        if plan is not None:
            self._executor.submit(plan)
        if len(self.state.in_flight) >= DEPTH:
            outcome = self._executor.poll(None)
            if outcome is None:
                raise ExecutorLost("The executor gave no answer to a plan.")
        return self.settle(outcome)

    def decide(self, events: Sequence[Event] = ()) -> IterationPlan | None:
        """Apply events and decide the next plan; None when the executor has nothing to do."""
        state = self.state
        effects: list[Effect] = []
        self._effects = effects
        self._drained_ns = self._clock.now_ns()
        if self._recorder is not None:
            self._recorder.events(events)
        intake.apply(state, events, self._drained_ns, effects)
        self._decision = decision = state.decide(self._drained_ns, effects)
        self._launched_ns = self._clock.now_ns()
        state.launch(decision, self._launched_ns, effects)
        return None if decision.idle else decision.plan

    def settle(self, outcome: IterationOutcome | None) -> TurnEffects:
        """Absorb the oldest plan's outcome, if there is one; the effects of the turn. What it took corrects later predictions, and no charge."""
        state, now_ns = self.state, self._clock.now_ns()
        tokens: TokensEmitted | None = None
        if outcome is not None:
            tokens = state.absorb(outcome, now_ns, self._effects)
        stats = self._stats(now_ns, self._measured_ns(outcome))
        if self._corrected is not None and stats.measured_ns is not None and stats.predicted_ns is not None:
            self._corrected.observed(stats.predicted_ns, stats.measured_ns)
        effects = TurnEffects(stats, tokens, tuple(self._effects))
        if self._recorder is not None:
            self._recorder.turn((self._drained_ns, self._launched_ns, now_ns), outcome, effects)
        return effects

    @property
    def busy(self) -> bool:
        """Whether to step again without waiting for events."""
        return self.state.busy

    def next_due_ns(self) -> int | None:
        """Bound for waiting on the inbox when not busy, on the clock; None: wait for ever."""
        return self.state.next_due_ns()

    def _measured_ns(self, outcome: IterationOutcome | None) -> int | None:
        """What this turn's iteration took: None without compute, and for the answer to another plan or from pools that are gone."""
        decision = self._decision
        if outcome is None or decision is None or not decision.plan.computes:
            return None
        plan = decision.plan
        if outcome.seq != plan.seq or outcome.generation != plan.generation:
            return None
        return outcome.ended_ns - outcome.started_ns

    def _stats(self, now_ns: int, measured_ns: int | None) -> TurnStats:
        state, decision = self.state, self._decision
        assert decision is not None, "a turn is decided before it is settled"
        plan = decision.plan
        return TurnStats(
            seq=plan.seq,
            now_ns=now_ns,
            decode_jobs=len(plan.decode),
            prefill_tokens=decision.prefill_tokens,
            live_jobs=len(state.rows),
            free_pages=state.ledger.device.free,
            pages_out=decision.pages_out,
            pages_in=decision.pages_in,
            planning_ns=self._launched_ns - self._drained_ns,
            predicted_ns=plan.predicted_ns,
            measured_ns=measured_ns,
        )
