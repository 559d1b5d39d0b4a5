"""The strict executor passes obedient plans and names every planted fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle, MoveId
from skipjoin.core.plan import (
    Admit,
    BlockTable,
    DecodeBatch,
    Direction,
    IterationPlan,
    Move,
    PageAppends,
    PrefillChunk,
    no_int32,
)
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.sim.executor import SimExecutor
from skipjoin.sim.strict import StrictExecutor

COST = LinearCostModel(1000.0, 10.0, 0.0, 1.0, 100.0, 5000.0)  # moves take longer than iterations
FACTS = ExecutorFacts(1, 12, 12, 4, 400, None, 1)
SAMPLING = SamplingParams(seed=1, max_new_tokens=50)


class Rig:
    """A strict executor with one call a plan."""

    def __init__(self) -> None:
        self.strict = StrictExecutor(SimExecutor(COST, FACTS, ManualClock()))
        self.seq = 0

    def do(self, **parts: object) -> tuple[int, ...]:
        self.seq += 1
        self.strict.submit(IterationPlan(seq=self.seq, generation=1, **parts))  # type: ignore[arg-type]
        outcome = self.strict.poll(None)
        assert outcome is not None
        return tuple(outcome.landed)


def enter(handle: int, known: int) -> Admit:
    return Admit(Handle(handle), no_int32(), known, known, Asked(SAMPLING), 1)


def table(handle: int, *pages: int) -> BlockTable:
    return BlockTable(Handle(handle), np.asarray(pages, dtype=np.int32))


def grow(handle: int, page: int) -> PageAppends:
    return PageAppends(np.asarray([handle], dtype=np.int64), np.asarray([page], dtype=np.int32))


def chunk(handle: int, start: int, length: int, last: bool = True) -> PrefillChunk:
    return PrefillChunk(Handle(handle), start, length, last)


def batch(*handles: int) -> DecodeBatch:
    return DecodeBatch(np.asarray(handles, dtype=np.int64))


def copy(number: int, direction: Direction, handle: int, pages: list[int], slots: list[int]) -> Move:
    return Move(
        MoveId(number), direction, Handle(handle), np.asarray(pages, dtype=np.int32), np.asarray(slots, dtype=np.int32)
    )


def started() -> Rig:
    """Job 1 with 7 known tokens (6 computed) in pages 3 and 5."""
    rig = Rig()
    rig.do(admits=(enter(1, 6),), tables=(table(1, 3, 5),), prefills=(chunk(1, 0, 6),))
    return rig


def parked() -> Rig:
    """Job 1 as in `started`, its blocks copied to host slots 8 and 9."""
    rig = started()
    assert rig.do(moves=(copy(1, Direction.OUT, 1, [3, 5], [8, 9]),)) == (1,)
    return rig


def test_a_full_block_may_be_copied_out_while_its_job_runs() -> None:
    rig = started()
    rig.do(decode=batch(1), moves=(copy(1, Direction.OUT, 1, [3], [8]),))
    rig.do(decode=batch(1))


def test_chunks_growth_a_round_trip_and_recompute_are_obedient() -> None:
    rig = Rig()
    rig.do(admits=(enter(1, 6),), tables=(table(1, 3),), prefills=(chunk(1, 0, 3, False),))
    rig.do(new_pages=grow(1, 5), prefills=(chunk(1, 3, 3),))
    rig.do(decode=batch(1))
    rig.do(decode=batch(1))  # the 8th token fills the second page
    rig.do(decode=batch(1), new_pages=grow(1, 0))
    out = copy(1, Direction.OUT, 1, [3, 5, 0], [8, 9, 7])
    rig.do(moves=(out,))
    # another job takes the pages, then job 1 comes back elsewhere
    rig.do(admits=(enter(2, 12),), tables=(table(2, 0, 3, 5),), prefills=(chunk(2, 0, 12),), dropped=())
    rig.do(moves=(copy(2, Direction.IN, 1, [10, 11, 6], [8, 9, 7]),), decode=batch())
    rig.do(decode=batch(1), tables=(table(1, 10, 11, 6),))
    rig.do(dropped=(Handle(1),), admits=(enter(1, 10),), tables=(table(1, 1, 2, 4),), prefills=(chunk(1, 0, 10),))
    rig.do(decode=batch(1, 2), new_pages=grow(2, 7))


FAULTS: dict[str, tuple[Callable[[], Rig], list[dict[str, object]], str]] = {
    "page freed under a move": (
        started,
        [
            {"moves": (copy(1, Direction.OUT, 1, [3], [8]),), "decode": batch(), "admits": (enter(2, 1),),
             "tables": (table(2, 6),), "prefills": (chunk(2, 0, 1),)},
            {"admits": (enter(4, 1),), "tables": (table(4, 3),), "prefills": (chunk(4, 0, 1),)},
            {},
        ],
        "changed from",
    ),
    "read before it landed": (
        parked,
        [{"moves": (copy(2, Direction.IN, 1, [0, 1], [8, 9]),), "admits": (enter(2, 1),), "tables": (table(2, 6),),
          "prefills": (chunk(2, 0, 1),)},
         {"decode": batch(1), "tables": (table(1, 0, 1),)}],
        "reads block 0",
    ),
    "batch and move touch one page": (
        started, [{"decode": batch(1), "moves": (copy(1, Direction.OUT, 1, [5], [8]),)}], "used by the batch",
    ),
    "two moves touch one page": (
        started,
        [{"moves": (copy(1, Direction.OUT, 1, [3], [8]), copy(2, Direction.OUT, 1, [3], [9]))}],
        "in two moves",
    ),
    "another job's page": (
        started,
        [{"admits": (enter(2, 4),), "tables": (table(2, 3),), "prefills": (chunk(2, 0, 4),)}, {"decode": batch(1)}],
        "reads block 0",
    ),
    "table too short": (started, [{"decode": batch(1)}, {"decode": batch(1)}, {"decode": batch(1)}], "needs 3 pages"),
    "table in the wrong order": (started, [{"decode": batch(1), "tables": (table(1, 5, 3),)}], "reads block 0"),
    "decode before the prefill ended": (
        Rig, [{"admits": (enter(1, 6),), "tables": (table(1, 3, 5),), "decode": batch(1)}], "decodes with 0 of 6",
    ),
    "a gap in the prefill": (
        Rig, [{"admits": (enter(1, 6),), "tables": (table(1, 3, 5),), "prefills": (chunk(1, 1, 5),)}], "from 1",
    ),
    "last said wrongly": (
        Rig, [{"admits": (enter(1, 6),), "tables": (table(1, 3, 5),), "prefills": (chunk(1, 0, 5),)}], "last=True",
    ),
    "twice in the batch": (started, [{"decode": batch(1, 1)}], "twice"),
    "dropped and run": (started, [{"dropped": (Handle(1),), "decode": batch(1)}], "dropped"),
    "a page outside the pool": (started, [{"new_pages": grow(1, 12)}], "outside the pool"),
    "stale copy after recompute": (
        parked,
        [{"dropped": (Handle(1),), "admits": (enter(1, 7),), "moves": (copy(2, Direction.IN, 1, [0, 1], [8, 9]),)},
         {"tables": (table(1, 0, 1),), "prefills": (chunk(1, 0, 7),)},
         {"decode": batch(1), "tables": (table(1, 3, 5),)}],
        "reads block 0",
    ),
    "a copy of nothing": (started, [{"moves": (copy(1, Direction.IN, 1, [0], [4]),)}], "copies None"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str) -> None:
    make, plans, words = FAULTS[name]
    rig = make()
    with pytest.raises(InvariantViolation, match=words):
        _do_all(rig, plans)


def _do_all(rig: Rig, plans: list[dict[str, object]]) -> None:
    for parts in plans:
        rig.do(**parts)
