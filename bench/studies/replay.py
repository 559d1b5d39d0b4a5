"""A run served again in virtual time, as a server like vLLM schedules it, by a cost model.

Owns `Setup`, the engine parameters that stand for the other server's flags, the loop, and the fit
of coefficients to a run of which no iteration's time is known. Policy, planner and executor are
those of `simulate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...core.asked import Asked
from ...core.clock import ManualClock
from ...core.cost_model import CostModel
from ...core.effects import Finished
from ...core.errors import InvariantViolation
from ...core.events import Event, Submitted
from ...core.executor import ExecutorFacts
from ...core.ids import Handle
from ...core.outcome import IterationOutcome
from ...core.plan import Int64s, IterationPlan
from ...core.sampling import SamplingParams
from ...cost.linear import LinearCostModel
from ...cost.sweep_row import SweepRow
from ...engine.assemble import assemble
from ...engine.params import EngineParams
from ...engine.turn import Turn
from ...kvstore.params import KvParams
from ...profiler.fit import fit_sums
from ...scheduler.params import LadderParams
from ...sim.executor import SimExecutor
from .reading import MeasuredRun

PAGE_TOKENS = 16
NO_TIME_LIMIT_NS = 10**12
"""The level-1 quantum: the prefill budget in time never binds, only that in tokens, as in vLLM."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The other server's `max_num_seqs`, `max_num_batched_tokens` and room for KV in tokens."""

    max_batch: int
    batch_tokens: int
    kv_tokens: int

    def params(self) -> EngineParams:
        """Arrival order, chunked prefill by a token budget, no page kept free.

        When pages run out, the newest request is dropped and computed again.
        """
        return EngineParams(
            max_batch=self.max_batch,
            max_prefill_tokens=self.batch_tokens,
            starvation="off",
            kv=KvParams(mode="recompute", floor_pages=0, clean_reserve=0.0),
            ladder=LadderParams(base_quantum_ns=NO_TIME_LIMIT_NS),
        )

    def facts(self) -> ExecutorFacts:
        """Pools of that size and no host room."""
        return ExecutorFacts(
            generation=1,
            device_pages=self.kv_tokens // PAGE_TOKENS,
            host_pages=0,
            page_tokens=PAGE_TOKENS,
            page_bytes=1,
            max_context_tokens=None,
            vocab_size=256,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration: its end on the run's clock, and its batch with the simulated time."""

    end_ns: int
    row: SweepRow


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """The run with simulated times, and its iterations in order."""

    run: MeasuredRun
    steps: tuple[Step, ...]


def replay(cost: CostModel, run: MeasuredRun, setup: Setup) -> Replayed:
    """Serve the requests of `run`. Raises InvariantViolation when one cannot be served."""
    clock = ManualClock(0)
    facts = setup.facts()
    notes = _Notes(SimExecutor(cost, facts, clock))
    turn = Turn(assemble("fcfs", cost, facts, setup.params()), notes, clock)
    arrivals, count, fed, done = run.arrival_ns.tolist(), len(run), 0, 0
    first_ns, end_ns = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    while done < count:
        events: list[Event] = []
        while fed < count and arrivals[fed] <= clock.now_ns():
            events.append(_submitted(run, fed))
            fed += 1
        for effect in turn.step(events).effects:
            if isinstance(effect, Finished):
                index, account = int(effect.handle), effect.account
                if account.first_token_ns is None or effect.output_tokens != run.output_tokens[index]:
                    raise InvariantViolation(f"Request {index} ended as {effect.reason.value}.")
                first_ns[index] = arrivals[index] + account.first_token_ns
                end_ns[index] = arrivals[index] + account.jct_ns
                done += 1
        if not turn.busy and done < count:
            times = [at for at in (turn.next_due_ns(), arrivals[fed] if fed < count else None) if at is not None]
            if not times:
                raise InvariantViolation(f"{count - done} requests are left and nothing can run.")
            clock.move_to(min(times))
    served = MeasuredRun(run.name, run.arrival_ns, run.prompt_tokens, run.output_tokens, first_ns, end_ns, run.running)
    return Replayed(served, tuple(notes.steps))


def _submitted(run: MeasuredRun, index: int) -> Submitted:
    output = int(run.output_tokens[index])
    sampling = SamplingParams(temperature=0.0, seed=0, max_new_tokens=output, ignore_eos=True)
    return Submitted(
        handle=Handle(index),
        prompt_tokens=int(run.prompt_tokens[index]),
        asked=Asked(sampling),
        arrival_ns=int(run.arrival_ns[index]),
        output_tokens=output,
    )


class _Notes:
    """Passes everything on to an executor and writes every iteration down."""

    def __init__(self, executor: SimExecutor) -> None:
        self._executor = executor
        self._plan: IterationPlan | None = None
        self._known: dict[int, int] = {}
        self.steps: list[Step] = []

    def start(self) -> ExecutorFacts:
        return self._executor.start()

    def submit(self, plan: IterationPlan) -> None:
        for handle in plan.dropped:
            self._known.pop(handle, None)
        for admit in plan.admits:
            self._known[admit.handle] = admit.known_tokens
        self._plan = plan
        self._executor.submit(plan)

    def poll(self, timeout_ns: int | None) -> IterationOutcome | None:
        outcome, plan, known = self._executor.poll(timeout_ns), self._plan, self._known
        if outcome is None or plan is None or not plan.computes:
            return outcome
        members = plan.decode.handles.tolist()
        contexts = sum(known[handle] for handle in members)
        chunks = tuple((chunk.length, chunk.start) for chunk in plan.prefills)
        took_ns = outcome.ended_ns - outcome.started_ns
        self.steps.append(Step(outcome.ended_ns, SweepRow(chunks, len(members), contexts, took_ns)))
        for handle in outcome.handles.tolist():
            known[handle] += 1
        return outcome

    def close(self) -> None:
        self._executor.close()


Floats = NDArray[np.float64]
ROUNDS = 10
START = LinearCostModel(2e7, 4e4, 1.0, 100.0, 1e5)
"""Anything of the right order; where it starts does not matter after some rounds."""


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """Coefficients, the replay with them, and the fitted requests' mean relative error."""

    model: LinearCostModel
    replayed: Replayed
    error: float


def refit(run: MeasuredRun, setup: Setup, fitted: int) -> Refit:
    """Fit on the first `fitted` requests: the best of some rounds by their error."""
    model, best = START, None
    part = slice(0, fitted)
    for _ in range(ROUNDS):
        replayed = replay(model, run, setup)
        error = _error(run, replayed.run, part)
        if best is None or error < best.error:
            best = Refit(model, replayed, error)
        # Half way, so that rounds settle and do not swing: the schedule changes with the
        # coefficients.
        model = model.between(_solved(run, replayed, part))
    assert best is not None, "there is at least one round"
    return best


def _error(measured: MeasuredRun, simulated: MeasuredRun, part: slice) -> float:
    """Of latency and time to the first token, both against the measured latency.

    So a short wait does not outweigh all else.
    """
    latency = (measured.end_ns - measured.arrival_ns)[part]
    off = np.abs(simulated.end_ns - measured.end_ns)[part] + np.abs(simulated.first_ns - measured.first_ns)[part]
    return float((off / latency).mean())


def _solved(run: MeasuredRun, replayed: Replayed, part: slice) -> LinearCostModel:
    """The coefficients that explain the measured times by the iterations of the replay."""
    ends = np.array([step.end_ns for step in replayed.steps], dtype=np.int64)
    sums = np.vstack([np.zeros(5), np.cumsum([step.row.features() for step in replayed.steps], axis=0)])
    served = replayed.run
    features, times = [], []
    for begin, end, measured in (
        (served.first_ns, served.end_ns, run.end_ns - run.first_ns),
        (served.arrival_ns, served.end_ns, run.end_ns - run.arrival_ns),
    ):
        held = _sums_between(sums, ends, begin[part], end[part])
        known = (measured[part] > 0) & (held[:, 0] > 0)
        features.append(held[known])
        times.append(measured[part][known].astype(np.float64))
    return fit_sums(np.vstack(features), np.concatenate(times))


def _sums_between(sums: Floats, ends: Int64s, begin: Int64s, end: Int64s) -> Floats:
    """Features of the iterations that ended after `begin` and not after `end`."""
    out: Floats = sums[np.searchsorted(ends, end, "right")] - sums[np.searchsorted(ends, begin, "right")]
    return out
