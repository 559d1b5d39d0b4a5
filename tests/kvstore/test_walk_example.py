"""The worked example of kvstore/planning/walk.py, on a real engine."""

from __future__ import annotations

from collections.abc import Sequence

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.events import Event, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.plan import IterationPlan
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.turn import Turn
from skipjoin.kvstore.params import KvParams
from skipjoin.sim.executor import SimExecutor

COST = LinearCostModel(500_000, 20_000, 50, 100, 10_000, 1_000)
FACTS = ExecutorFacts(1, 9, 9, 4, 64, None, 256)
A, B, C, D = (Handle(number) for number in range(4))


class _Plans(SimExecutor):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(COST, FACTS, clock)
        self.plans: list[IterationPlan] = []

    def submit(self, plan: IterationPlan) -> None:
        self.plans.append(plan)
        super().submit(plan)


def _job(handle: Handle, prompt_tokens: int) -> Event:
    sampling = SamplingParams(temperature=0.0, seed=0, max_new_tokens=12)
    return Submitted(handle, prompt_tokens, Asked(sampling, handle), 0)


def _runs(plan: IterationPlan) -> Sequence[int]:
    return [*plan.decode.handles.tolist(), *(chunk.handle for chunk in plan.prefills)]


def test_the_worked_example_is_true() -> None:
    clock = ManualClock(0)
    executor = _Plans(clock)
    params = EngineParams(max_batch=3, kv=KvParams(mode="reactive", floor_pages=1))
    state = assemble("priority", COST, FACTS, params)
    turn, ledger = Turn(state, executor, clock), state.ledger
    turn.step([_job(A, 13), _job(D, 6)])
    for _ in range(3):
        turn.step()
    a, d = state.rows[A].kv.table, state.rows[D].kv.table
    assert (len(a.blocks), len(d.blocks), ledger.device.free) == (4, 3, 2)

    turn.step([_job(B, 9), _job(C, 2)])
    first = executor.plans[-1]
    assert first.new_pages.handles.tolist() == [A], "A runs, on a fifth page"
    assert [move.handle for move in first.moves] == [D] and len(first.moves[0].pages) == 3, "D makes room for B"
    assert _runs(first) == [A], "neither B nor C enters"

    while not executor.plans[-1].admits:
        turn.step()
    second = executor.plans[-1]
    assert _runs(second) == [A, B], (
        "B enters when D's copy has landed, and C is not let in before the floor is free again"
    )
    turn.step()
    assert ledger.device.free == 1
