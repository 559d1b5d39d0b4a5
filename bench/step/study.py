"""Every case of a scenario, one after the other on one model, and the speeds that they were held against.

Owns the order of work, which targets apply here, and what becomes of a case that cannot be measured. It renders nothing; the command prints each
row as it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import assert_never

from ..kernels.study import SpeedRow
from .decode import Told, measure_decode, measure_prefill
from .figures import Absent, Row
from .idle import measure_idle
from .moves import lanes_of, measure_moves
from .scenario import Case, Decode, Idle, Moves, Prefill, StepScenario
from .stage import Stage

FEWEST_ROUNDS = 3

Line = Row | Absent | SpeedRow


def study(scenario: StepScenario, stage: Stage, rounds: int, told: Told) -> Iterator[Line]:
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
    for name, rates in stage.seen.items():
        if rates:
            unit = "GFLOP/s" if name == "gemm" else "GB/s"
            yield SpeedRow(name, unit, median(rates), min(rates), max(rates))


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
        case _:
            assert_never(case)


def samples(scenario: StepScenario, rounds: int, *, ahead: bool) -> int:
    """How often `told` is called."""
    lanes = {Moves: len(lanes_of(ahead=ahead)), Idle: 2 if ahead else 1}
    return rounds * sum(lanes.get(type(case), 1) for case in scenario.cases)
