"""One turn: events in, effects out.

Owns the three clock reads, the order of a turn (docs/architecture.md) and how far it runs ahead of
the executor; everything else is state. It does not know whether its executor is real or simulated;
serving, sim, bench and `skipjoin.LLM` step it.

With `EngineParams.run_ahead` a second plan is launched before the first is answered, so that a
device that computes while the host goes on is not idle between iterations. Only the unchanged batch
is launched so: nothing about it depends on the tokens in flight, but that a job that one of them
ends is computed once more, for nothing. Whatever else is to happen is decided when nothing is in
flight, so no page, move or place in the batch ever depends on an answer that is still to come.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.clock import Clock
from ..core.effects import Effect, TokensEmitted, TurnEffects, TurnStats
from ..core.errors import ExecutorLost
from ..core.events import Event
from ..core.executor import Executor
from ..core.outcome import IterationOutcome
from ..core.plan import IterationPlan
from ..kvstore.planning.decision import Decision
from . import intake, invariants
from .recording import Recorder
from .state import EngineState, InFlight

IDLE_CHECK_NS = 10_000_000_000
"""An idle engine checks its books, in some milliseconds, no more often than this."""

DEPTH_AHEAD = 2
"""Plans in flight when it runs ahead, the one that is waited for included; else there is one."""


class Turn:
    """Steps an engine. `decide` and `settle` are steps 2-5 and 7 of a turn, for whoever times them
    apart from the executor.
    """

    def __init__(
        self, state: EngineState, executor: Executor, clock: Clock, *, recorder: Recorder | None = None
    ) -> None:
        self.state = state
        self._executor = executor
        self._clock = clock
        self._recorder = recorder
        self._effects: list[Effect] = []
        self._checked_ns: int | None = None
        self._drained_ns = 0
        self._launched_ns = 0
        self._ended_ns = 0
        self._decision: Decision | None = None

    def step(self, events: Sequence[Event] = ()) -> TurnEffects:
        """One whole turn; waits for the executor. Raises ExecutorLost when the executor is gone."""
        plan = self.decide(events)
        outcome = None
        if plan is not None:
            self._executor.submit(plan)
        if self.waits():
            outcome = self._executor.poll(None)
            if outcome is None:
                raise ExecutorLost("The executor gave no answer to a plan.")
        return self.settle(outcome)

    def decide(self, events: Sequence[Event] = ()) -> IterationPlan | None:
        """Apply events and decide the next plan; None when the executor has nothing to do, or when
        what it does has to be known first.
        """
        state = self.state
        effects: list[Effect] = []
        self._effects = effects
        self._drained_ns = self._clock.now_ns()
        if self._recorder is not None:
            self._recorder.events(events)
        intake.apply(state, events, self._drained_ns, effects)
        if state.in_flight and not state.repeats(self._drained_ns):
            self._decision = None
            self._launched_ns = self._clock.now_ns()
            return None
        self._decision = decision = state.decide(self._drained_ns, effects)
        self._launched_ns = self._clock.now_ns()
        state.launch(decision, self._launched_ns, effects)
        return None if decision.idle else decision.plan

    def waits(self) -> bool:
        """Whether this turn, which was decided, waits for the oldest plan in flight: unless the
        next one may be launched beside it.
        """
        in_flight = len(self.state.in_flight)
        if not self.state.run_ahead or in_flight >= DEPTH_AHEAD or self._decision is None:
            return in_flight > 0
        return in_flight > 0 and not self.state.repeats(self._launched_ns)

    def settle(self, outcome: IterationOutcome | None) -> TurnEffects:
        """Absorb the oldest plan's outcome, if there is one; the effects of the turn. What it took
        corrects later predictions, and no charge.
        """
        state, now_ns = self.state, self._clock.now_ns()
        tokens: TokensEmitted | None = None
        answered: InFlight | None = None
        if outcome is not None:
            answered = state.in_flight[0] if state.in_flight else None
            tokens = state.absorb(outcome, now_ns, self._effects)
        measured_ns = None if outcome is None or answered is None else self._measured_ns(outcome, answered)
        stats = self._stats(now_ns, answered, measured_ns)
        if state.corrected is not None and answered is not None and measured_ns is not None:
            predicted_ns = answered.decision.plan.predicted_ns
            if predicted_ns is not None:
                state.corrected.observed(predicted_ns, measured_ns, answered.factor)
        effects = TurnEffects(stats, tokens, tuple(self._effects))
        if self._recorder is not None:
            self._recorder.turn((self._drained_ns, self._launched_ns, now_ns), outcome, effects)
        if state.validates or not state.busy:
            self._check(now_ns)
        return effects

    def _check(self, now_ns: int) -> None:
        """That the books agree: in every turn where that is asked for, else now and then when there
        is nothing to do. Raises InvariantViolation.
        """
        last_ns = self._checked_ns
        if self.state.validates or last_ns is None or now_ns - last_ns >= IDLE_CHECK_NS:
            self._checked_ns = now_ns
            invariants.check(self.state, now_ns)

    @property
    def busy(self) -> bool:
        """Whether to step again without waiting for events."""
        return self.state.busy

    def next_due_ns(self) -> int | None:
        """Bound for waiting on the inbox when not busy, on the clock; None: wait for ever."""
        return self.state.next_due_ns()

    def _measured_ns(self, outcome: IterationOutcome, answered: InFlight) -> int | None:
        """What the answered iteration took, from the end of the one before where it was launched
        earlier: None without compute, and from pools that are gone.
        """
        plan = answered.decision.plan
        started_ns, self._ended_ns = max(outcome.started_ns, self._ended_ns), outcome.ended_ns
        if not plan.computes or outcome.generation != plan.generation:
            return None
        return outcome.ended_ns - started_ns

    def _stats(self, now_ns: int, answered: InFlight | None, measured_ns: int | None) -> TurnStats:
        """Of the plan that was answered what it predicted and measured; of the plan that was
        decided what was begun with it.
        """
        state, decided = self.state, self._decision
        shown = answered.decision if answered is not None else decided
        assert shown is not None, "a turn is decided before it is settled"
        plan = shown.plan
        prefill_tokens, pages_out, pages_in = (
            (0, 0, 0) if decided is None else (decided.prefill_tokens, decided.pages_out, decided.pages_in)
        )
        return TurnStats(
            seq=plan.seq,
            now_ns=now_ns,
            decode_jobs=len(plan.decode),
            prefill_tokens=prefill_tokens,
            live_jobs=len(state.rows),
            free_pages=state.ledger.device.free,
            pages_out=pages_out,
            pages_in=pages_in,
            planning_ns=self._launched_ns - self._drained_ns,
            predicted_ns=None if answered is None else plan.predicted_ns,
            measured_ns=measured_ns,
        )
