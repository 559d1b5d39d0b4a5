"""Unchanged turns taken as one: the same run, effect for effect, as when each of them is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import Effect, TurnEffects
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.plan import IterationPlan
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine import invariants
from skipjoin.engine.params import EngineParams
from skipjoin.kvstore.params import KvParams
from skipjoin.scheduler.registry import POLICY_NAMES
from skipjoin.sim.executor import SimExecutor
from skipjoin.sim.world import Machine, Run, World
from skipjoin.workload.requests import Workload

COST = LinearCostModel(1e6, 1e4, 0.5, 1e3, 2e4, 2e3)
MS = 1_000_000
PAGES = 40


class _Told(World):
    """Keeps every effect that the world is told of, with its time: nothing but tokens may happen in
    a turn that is not taken.
    """

    def __init__(self, machine: Machine, policy: str, workload: Workload, *, fold: bool) -> None:
        super().__init__(machine, policy, workload, fold=fold)
        self.told: list[tuple[int, tuple[Effect, ...]]] = []
        self.taken = 0
        step = self._turn.step

        def counted(events: Sequence[object] = ()) -> TurnEffects:
            self.taken += 1
            return step(events)  # type: ignore[arg-type]

        self._turn.step = counted  # type: ignore[method-assign]

    def _apply(self, effects: TurnEffects) -> None:
        self.told.append((effects.stats.seq, effects.effects))
        super()._apply(effects)

    def summary(self, run: Run) -> tuple[object, ...]:
        """All that a run leaves behind."""
        jobs, state = run.jobs, self._turn.state
        invariants.check(state, self._clock.now_ns())
        columns = tuple(column.tobytes() for column in (jobs.first_token_ns, jobs.end_ns, jobs.output_tokens))
        numbers = (jobs.preemptions, jobs.bytes_moved, jobs.tokens_recomputed, run.turns, run.virtual_ns, run.ends_ns)
        clocks = (state.steps, state.decode_ns, state.plans, state.planner.books.running.context_sum)
        books = (state.ledger.device.free, state.ledger.host.free, state.ledger.clean)
        return columns, numbers, clocks, books, tuple(self.told)


def _workload(jobs: list[tuple[int, int, int]], warmup: int = 0) -> Workload:
    """Jobs as (milliseconds since the one before, prompt tokens, output tokens)."""
    gaps, prompts, outputs = zip(*jobs, strict=True)
    arrival_ns = np.cumsum(np.asarray(gaps, dtype=np.int64) * MS)
    return Workload(
        name="drawn",
        arrival_ns=arrival_ns - arrival_ns[0],
        prompt_tokens=np.asarray(prompts, dtype=np.int32),
        output_tokens=np.asarray(outputs, dtype=np.int32),
        warmup=warmup,
        refused=0,
        seed=0,
        recorded=True,
        timed=True,
    )


def _both(machine: Machine, policy: str, workload: Workload) -> tuple[_Told, _Told]:
    worlds = tuple(_Told(machine, policy, workload, fold=fold) for fold in (True, False))
    folded, plain = (world.summary(world.run()) for world in worlds)
    assert folded == plain
    assert worlds[1].taken >= worlds[0].taken
    return worlds[0], worlds[1]


JOB = st.tuples(
    st.sampled_from([0, 0, 1, 7, 60, 900]), st.integers(1, 200), st.sampled_from([1, 2, 5, 17, 40, 90, 150, 300])
)
PARAMS = st.builds(
    EngineParams,
    max_batch=st.sampled_from([1, 2, 5, 16]),
    starvation=st.sampled_from(["granted", "paper", "off"]),
    tail=st.sampled_from([0.0, 0.65, 1.0]),
    kv=st.builds(
        KvParams,
        mode=st.sampled_from(["proactive", "reactive", "recompute"]),
        floor_pages=st.sampled_from([0, 3, 16]),
        clean_reserve=st.sampled_from([0.0, 0.1]),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(POLICY_NAMES),
    jobs=st.lists(JOB, min_size=1, max_size=24),
    params=PARAMS,
    pages=st.sampled_from([PAGES, 80, 400]),
    host=st.sampled_from([0, 30, 1000]),
    move_token_ns=st.sampled_from([0.0, 2e3, 3e5, 3e6]),
    overlap=st.booleans(),
)
def test_random_runs_are_the_same_folded_or_not(
    policy: str,
    jobs: list[tuple[int, int, int]],
    params: EngineParams,
    pages: int,
    host: int,
    move_token_ns: float,
    overlap: bool,
) -> None:
    machine = Machine(
        replace(COST, move_token_ns=move_token_ns), ExecutorFacts(1, pages, host, 16, 160, None, 1), params, overlap
    )
    _both(machine, policy, _workload(jobs, warmup=min(2, len(jobs) - 1)))


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("policy", ["las", "skipjoin", "adaptive", "fcfs-swap"])
def test_a_move_that_lands_while_the_batch_stands_ends_the_standing(policy: str, overlap: bool) -> None:
    """Little room and a slow link: jobs are on their way for many iterations of those that run."""
    for seed in range(3):
        draw = np.random.Generator(np.random.PCG64(seed))
        jobs = [
            (int(draw.choice([0, 7, 60, 300])), int(draw.integers(20, 160)), int(draw.choice([40, 150, 300])))
            for _ in range(16)
        ]
        params = EngineParams(max_batch=5, kv=KvParams(floor_pages=3))
        facts = ExecutorFacts(1, 60, 1000, 16, 160, None, 1)
        machine = Machine(replace(COST, move_token_ns=3e6), facts, params, overlap)
        folded, plain = _both(machine, policy, _workload(jobs))
        assert folded.taken < plain.taken


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_most_turns_of_long_outputs_are_not_taken(policy: str) -> None:
    machine = Machine(COST, ExecutorFacts(1, 1000, 1000, 16, 160, None, 1), EngineParams(max_batch=8))
    folded, plain = _both(machine, policy, _workload([(50, 60, 400 + 90 * job) for job in range(6)]))
    assert folded.taken < plain.taken / 3


def test_an_executor_is_spared_nothing_that_it_owes() -> None:
    facts = ExecutorFacts(1, 10, 10, 16, 160, None, 1)
    executor = SimExecutor(COST, facts, ManualClock(0))
    executor.submit(IterationPlan(0, 1))
    with pytest.raises(InvariantViolation, match="spared"):
        executor.ran_on(1, 5)
