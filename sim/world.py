"""The world in virtual time: feeds a workload into the engine's own turn and notes how each job
fared.

Owns the loop and what is kept of every job. It does not know policies, plans or pages:
engine/assemble builds the pure half exactly as for serving, and a `SimExecutor` stands where the
device would. The command, the drain run and the studies call `simulate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..core.asked import Asked
from ..core.clock import ManualClock
from ..core.cost_model import CostModel
from ..core.effects import Finished, TurnEffects
from ..core.errors import InvariantViolation
from ..core.events import Event, Submitted
from ..core.executor import ExecutorFacts
from ..core.ids import Handle
from ..core.job import FinishReason
from ..core.plan import Move
from ..core.sampling import SamplingParams
from ..cost.online import CorrectedCostModel
from ..engine.assemble import assemble
from ..engine.params import EngineParams
from ..engine.turn import Turn
from ..engine.unchanged import run_on
from ..workload.origins import Origins
from ..workload.requests import Workload
from ..workload.statistics import JobResults
from .executor import SAMPLED, SimExecutor
from .strict import StrictExecutor

MAX_IDLE_TURNS = 10_000
"""Turns in a row without a step of the clock or the end of a job before the world says that the
engine is stuck.
"""

Progress = Callable[[int], None]
"""Called with the number of jobs that ended since the last call."""

Watch = Callable[[int, TurnEffects], None]
"""Called after every turn with the time it began and what came of it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is simulated: the cost model and the pools, and how many turns an engine may batch.
    `overlap`: KV moves beside the computing.
    """

    cost: CostModel
    facts: ExecutorFacts
    params: EngineParams
    overlap: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a workload: the counted jobs, when every job ended (int64 ns, in order of
    ending), the turns it took, and what the policy learned, for a run that goes on from there.
    """

    jobs: JobResults
    ends_ns: tuple[int, ...]
    turns: int
    virtual_ns: int
    learned: bytes


class World:
    """One run: a clock at 0, an engine, an executor, and the columns that the results are read
    from.
    """

    def __init__(
        self,
        machine: Machine,
        policy: str,
        workload: Workload,
        *,
        strict: bool = False,
        fold: bool = True,
        learned: bytes | None = None,
    ) -> None:
        count = len(workload)
        self._machine = machine
        self._workload = workload
        self._origins = workload.origins or Origins.unknown(count)
        self._clock = ManualClock(0)
        self._state = state = assemble(policy, machine.cost, machine.facts, machine.params, learned=learned)
        executor = SimExecutor(
            machine.cost,
            machine.facts,
            self._clock,
            free_moves=state.policy.moves_are_free,
            overlap=machine.overlap,
            on_move=self._moved,
        )
        self._turn = Turn(state, StrictExecutor(executor) if strict else executor, self._clock)
        # Who checks every plan wants to see every plan, and who learns from iterations wants all of
        # them.
        whole = strict or machine.params.validate_every_turn or isinstance(machine.cost, CorrectedCostModel)
        self._spared = executor if fold and not whole else None
        self._first_ns = np.zeros(count, dtype=np.int64)
        self._end_ns = np.zeros(count, dtype=np.int64)
        self._ended: list[int] = []
        self._preemptions = self._recomputed = self._pages_moved = 0

    def run(self, progress: Progress | None = None, watch: Watch | None = None) -> Run:
        """Serve every job to its end. Raises InvariantViolation when the engine gets stuck or ends
        a job wrongly.
        """
        arrivals = self._workload.arrival_ns.tolist()
        count, fed, turns, idle = len(arrivals), 0, 0, 0
        clock, turn, ended = self._clock, self._turn, self._ended
        while len(ended) < count:
            now_ns = clock.now_ns()
            events: list[Event] = []
            while fed < count and arrivals[fed] <= now_ns:
                events.append(self._submitted(fed, arrivals[fed]))
                fed += 1
            before = len(ended)
            effects = turn.step(events)
            turns += 1
            if effects.effects:
                self._apply(effects)
            if watch is not None:
                watch(now_ns, effects)
            arrival_ns = arrivals[fed] if fed < count else None
            if not turn.busy and len(ended) < count:
                self._wait(arrival_ns)
            elif watch is None and self._spared is not None:
                turns += self._run_on(self._spared, arrival_ns)
            if progress is not None and len(ended) > before:
                progress(len(ended) - before)
            idle = 0 if len(ended) > before or clock.now_ns() > now_ns else idle + 1
            if idle > MAX_IDLE_TURNS:
                raise InvariantViolation(f"The engine stands still with {count - len(ended)} jobs left.")
        return self._result(turns)

    def _run_on(self, executor: SimExecutor, arrival_ns: int | None) -> int:
        """Take the unchanged turns that follow as one; how many they are."""
        now_ns, landing_ns = self._clock.now_ns(), executor.next_landing_ns
        if landing_ns is not None and not self._machine.overlap:
            return 0  # the next iteration waits for the link
        turns, end_ns = run_on(self._turn.state, now_ns, arrival_ns, landing_ns, SAMPLED)
        if turns:
            executor.ran_on(turns, end_ns)
        return turns

    def _wait(self, arrival_ns: int | None) -> None:
        """Jump to the next arrival or to what the engine itself waits for."""
        times = [at for at in (arrival_ns, self._turn.next_due_ns()) if at is not None]
        if not times:
            raise InvariantViolation("Jobs are left and the engine waits for nothing.")
        self._clock.move_to(min(times))

    def _submitted(self, index: int, arrival_ns: int) -> Submitted:
        output_tokens = int(self._workload.output_tokens[index])
        return Submitted(
            handle=Handle(index),
            prompt_tokens=int(self._workload.prompt_tokens[index]),
            asked=_asked(output_tokens),
            arrival_ns=arrival_ns,
            tenant=self._origins.tenants[index],
            earlier_output_tokens=int(self._origins.earlier_output_tokens[index]),
            output_tokens=output_tokens,
        )

    def _apply(self, effects: TurnEffects) -> None:
        for effect in effects.effects:
            if isinstance(effect, Finished):
                self._finished(effect)

    def _finished(self, end: Finished) -> None:
        index, account = int(end.handle), end.account
        expected = int(self._workload.output_tokens[index])
        if end.reason is not FinishReason.LENGTH or end.output_tokens != expected or account.first_token_ns is None:
            raise InvariantViolation(
                f"Job {index} ended as {end.reason.value} with {end.output_tokens} of {expected} tokens."
            )
        arrival_ns = int(self._workload.arrival_ns[index])
        self._first_ns[index] = arrival_ns + account.first_token_ns
        self._end_ns[index] = arrival_ns + account.jct_ns
        self._ended.append(arrival_ns + account.jct_ns)
        if index >= self._workload.warmup:
            self._preemptions += account.preemptions
            self._recomputed += account.recomputed_tokens

    def _moved(self, move: Move) -> None:
        if move.handle >= self._workload.warmup:
            self._pages_moved += len(move.pages)

    def _result(self, turns: int) -> Run:
        work, cost = self._workload, self._machine.cost
        counted = slice(work.warmup, None)
        lengths = zip(work.prompt_tokens[counted].tolist(), work.output_tokens[counted].tolist(), strict=True)
        jobs = JobResults(
            arrival_ns=work.arrival_ns[counted],
            first_token_ns=self._first_ns[counted],
            end_ns=self._end_ns[counted],
            output_tokens=work.output_tokens[counted],
            alone_ns=np.asarray([cost.alone_ns(prompt, output) for prompt, output in lengths], dtype=np.int64),
            preemptions=self._preemptions,
            bytes_moved=self._pages_moved * self._machine.facts.page_bytes,
            tokens_recomputed=self._recomputed,
        )
        return Run(jobs, tuple(self._ended), turns, self._clock.now_ns(), self._state.learned())


def simulate(
    machine: Machine,
    policy: str,
    workload: Workload,
    progress: Progress | None = None,
    *,
    strict: bool = False,
    watch: Watch | None = None,
    fold: bool = True,
    learned: bytes | None = None,
) -> Run:
    """Serve `workload` under `policy` in virtual time. The same arguments give the same result to
    the last bit.

    `strict` checks every plan against the rules of core/plan.py, at the cost of speed; `watch` sees
    every turn. Where nobody watches, unchanged turns in a row are taken as one: `fold` False takes
    them one by one, and gives the same result. `learned` is an earlier run's. Raises
    InvalidSettings for a policy that does not exist, InvalidInput for `learned` of another form and
    InvariantViolation when the engine breaks its word.
    """
    return World(machine, policy, workload, strict=strict, fold=fold, learned=learned).run(progress, watch)


@lru_cache(maxsize=65_536)
def _asked(output_tokens: int) -> Asked:
    """Exactly `output_tokens` tokens, whatever they are."""
    return Asked(SamplingParams(temperature=0.0, seed=0, max_new_tokens=output_tokens, ignore_eos=True))
