"""Every case of a scenario, one after the other on one model, and the speeds they were held
against.

Owns the order of work, which targets apply here, and what becomes of a case that cannot be
measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..roofline import SpeedRow, speed_rows
from .decode import Told, measure_decode, measure_prefill
from .idle import measure_idle
from .moves import lanes_of, measure_moves
from .row import Absent, Row
from .scenario import Case, Decode, Idle, Moves, Prefill, StepScenario
from .stage import Stage


def study(scenario: StepScenario, stage: Stage, rounds: int, told: Told) -> Iterator[Row | Absent | SpeedRow]:
    """The rows of each case as soon as it is done, the speeds last. `told` hears of every sample."""
    applies = stage.model.device.type in scenario.bars_for
    for case in scenario.cases:
        try:
            rows = measured(stage, case, rounds, told)
        except MemoryError as full:
            # Of the device's memory: other cases may still fit. What was launched is not theirs.
            while stage.executor.poll(None) is not None:
                pass
            yield Absent(case.name, case.kind, str(full))
            continue
        yield from (row if applies else replace(row, target=None) for row in rows)
    yield from speed_rows(stage.seen)


def measured(stage: Stage, case: Case, rounds: int, told: Told) -> list[Row]:
    """The rows of one case."""
    match case:
        case Decode():
            return measure_decode(stage, case, rounds, told)
        case Prefill():
            return measure_prefill(stage, case, rounds, told)
        case Moves():
            return measure_moves(stage, case, rounds, told)
        case Idle():
            return measure_idle(stage, case, rounds, told)


def samples(scenario: StepScenario, rounds: int, *, ahead: bool) -> int:
    """How often `told` is called."""
    lanes = {Moves: len(lanes_of(ahead=ahead)), Idle: 2 if ahead else 1}
    return rounds * sum(lanes.get(type(case), 1) for case in scenario.cases)
