"""The engine checks its own books: when it is idle, and after every turn where that is asked for."""

from __future__ import annotations

import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.events import Event, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.assemble import assemble
from skipjoin.engine.params import EngineParams
from skipjoin.engine.turn import IDLE_CHECK_NS, Turn
from skipjoin.sim.executor import SimExecutor

COST = LinearCostModel(500_000, 20_000, 50, 100, 10_000, 1_000)
FACTS = ExecutorFacts(1, 40, 40, 4, 64, None, 256)


def _turn(clock: ManualClock, *, validates: bool) -> Turn:
    state = assemble("skipjoin", COST, FACTS, EngineParams(validate_every_turn=validates))
    return Turn(state, SimExecutor(COST, FACTS, clock), clock)


def _job(handle: int) -> Event:
    return Submitted(Handle(handle), 9, Asked(SamplingParams(temperature=0.0, seed=0, max_new_tokens=6)), 0)


def _break(turn: Turn) -> None:
    """A page is given back twice."""
    device = turn.state.ledger.device
    device.give(device.free_slots()[0])


def test_a_broken_rule_is_found_in_the_next_turn_where_every_turn_is_checked() -> None:
    turn = _turn(ManualClock(0), validates=True)
    turn.step([_job(0)])
    turn.step()
    _break(turn)
    with pytest.raises(InvariantViolation, match="free twice"):
        turn.step()


def test_a_busy_engine_is_not_stopped_for_a_check_and_an_idle_one_is_checked_now_and_then() -> None:
    clock = ManualClock(0)
    turn = _turn(clock, validates=False)
    turn.step()  # idle: checked, and not again for a while
    turn.step([_job(0)])
    _break(turn)
    while turn.busy:
        turn.step()
    turn.step()
    clock.move_to(clock.now_ns() + IDLE_CHECK_NS)
    with pytest.raises(InvariantViolation, match="free twice"):
        turn.step()
