"""The simulated executor: virtual time by the cost model, contexts, moves on the link."""

from __future__ import annotations

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle, MoveId
from skipjoin.core.plan import Admit, DecodeBatch, Direction, IterationPlan, Move, PrefillChunk, no_int32
from skipjoin.core.sampling import SamplingParams
from skipjoin.cost.linear import LinearCostModel
from skipjoin.sim.executor import SimExecutor

# A 1000, 10 a prefill token, 1 a pair, 1 a context token, 100 a decode job, 5 a moved token
COST = LinearCostModel(1000.0, 10.0, 1.0, 1.0, 100.0, 5.0)
FACTS = ExecutorFacts(
    generation=1,
    device_pages=100,
    host_pages=100,
    page_tokens=16,
    page_bytes=1600,
    max_context_tokens=None,
    vocab_size=50,
)
SAMPLING = SamplingParams(temperature=0.0, seed=1, max_new_tokens=10, ignore_eos=True)


def admit(handle: int, known: int) -> Admit:
    return Admit(Handle(handle), no_int32(), known, known, Asked(SAMPLING), seed=handle)


def batch(*handles: int) -> DecodeBatch:
    return DecodeBatch(np.asarray(handles, dtype=np.int64))


def move(number: int, direction: Direction, pages: int, handle: int = 1) -> Move:
    slots = np.arange(pages, dtype=np.int32)
    return Move(MoveId(number), direction, Handle(handle), slots, slots)


class Bench:
    """An executor, its clock and a plan counter."""

    def __init__(self, **options: object) -> None:
        self.clock = ManualClock(1_000_000)
        self.executor = SimExecutor(COST, FACTS, self.clock, **options)  # type: ignore[arg-type]
        self.seq = 0

    def run(self, **parts: object) -> tuple[int, list[int], tuple[int, ...]]:
        """Submit and poll one plan: (time it took, handles with a token, landed moves)."""
        before = self.clock.now_ns()
        self.seq += 1
        self.executor.submit(IterationPlan(seq=self.seq, generation=1, **parts))  # type: ignore[arg-type]
        assert self.clock.now_ns() == before
        outcome = self.executor.poll(None)
        assert outcome is not None
        assert outcome.seq == self.seq
        assert outcome.ended_ns == self.clock.now_ns()
        assert len(outcome.tokens) == len(outcome.handles)
        return self.clock.now_ns() - before, outcome.handles.tolist(), tuple(outcome.landed)


def test_prefill_in_chunks_then_decode_at_growing_context() -> None:
    bench = Bench()
    took, handles, _ = bench.run(admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 6, False),))
    assert (took, handles) == (1000 + 6 * 10 + 6 * 6, [])
    took, handles, _ = bench.run(prefills=(PrefillChunk(Handle(1), 6, 4, True),))
    assert (took, handles) == (1000 + 4 * 10 + 4 * 10, [1])
    alone = batch(1)
    assert bench.run(decode=alone)[:2] == (1000 + 11 + 100, [1])  # the token computed is the 11th
    assert bench.run(decode=alone)[0] == 1000 + 12 + 100


def test_a_job_that_left_the_batch_comes_back_with_its_context() -> None:
    bench = Bench()
    whole = (PrefillChunk(Handle(1), 0, 10, True), PrefillChunk(Handle(2), 0, 20, True))
    _, handles, _ = bench.run(admits=(admit(1, 10), admit(2, 20)), prefills=whole)
    assert handles == [1, 2]
    both, second = batch(1, 2), batch(2)
    assert bench.run(decode=both)[0] == 1000 + 11 + 21 + 200
    assert bench.run(decode=second)[0] == 1000 + 22 + 100
    assert bench.run(decode=second)[0] == 1000 + 23 + 100
    assert bench.run(decode=batch(2, 1))[:2] == (1000 + 24 + 12 + 200, [2, 1])


def test_decode_and_chunks_together_order_of_tokens_and_recompute() -> None:
    bench = Bench()
    bench.run(admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),))
    chunks = (PrefillChunk(Handle(3), 0, 5, True), PrefillChunk(Handle(2), 0, 5, False))
    took, handles, _ = bench.run(decode=batch(1), admits=(admit(2, 10), admit(3, 5)), prefills=chunks)
    assert handles == [1, 3]
    assert took == 1000 + 2 * (5 * 10 + 5 * 5) + 11 + 100
    # job 1 (12 tokens known) is recomputed: dropped and admitted again in one plan
    took, handles, _ = bench.run(
        dropped=(Handle(1),), admits=(admit(1, 12),), prefills=(PrefillChunk(Handle(1), 0, 12, True),)
    )
    assert (took, handles) == (1000 + 12 * 10 + 12 * 12, [1])
    assert bench.run(decode=batch(1))[0] == 1000 + 13 + 100


def test_a_job_that_was_never_admitted_is_our_bug() -> None:
    bench = Bench()
    with pytest.raises(InvariantViolation, match="never admitted"):
        bench.run(decode=batch(7))
    with pytest.raises(InvariantViolation, match="without a plan"):
        Bench().executor.poll(None)


def test_moves_share_a_direction_and_run_beside_the_computing() -> None:
    bench = Bench()
    page = 16 * 5
    bench.run(admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),))
    moves = (move(1, Direction.OUT, 10), move(2, Direction.IN, 4), move(3, Direction.OUT, 5))
    took, _, landed = bench.run(decode=batch(1), moves=moves)
    assert took == 1000 + 11 + 100  # unhurt by the moves
    assert landed == (2, 1)  # in after 4 pages, the first out after 10; the second out waits behind it
    assert 4 * page < 10 * page < took < 15 * page
    took, _, landed = bench.run()  # a plan of nothing waits for the next landing
    assert landed == (3,)
    assert took == 15 * page - (1000 + 11 + 100)
    assert bench.run() == (0, [], ())  # nothing under way: at once


def test_a_move_behind_an_idle_link_starts_at_its_plan() -> None:
    bench = Bench()
    bench.run(moves=(move(1, Direction.OUT, 2),))
    bench.clock.advance(10_000)
    assert bench.run(moves=(move(2, Direction.OUT, 3),)) == (3 * 80, [], (2,))


def test_free_moves_land_at_once_and_are_seen() -> None:
    seen: list[tuple[int, int]] = []
    bench = Bench(free_moves=True, on_move=lambda one: seen.append((one.handle, len(one.pages))))
    took, _, landed = bench.run(moves=(move(1, Direction.OUT, 50, 4), move(2, Direction.IN, 7, 9)))
    assert (took, landed) == (0, (1, 2))
    assert seen == [(4, 50), (9, 7)]


def test_time_out_moves_the_clock_by_the_timeout_only() -> None:
    bench = Bench()
    bench.executor.submit(IterationPlan(1, 1, admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),)))
    assert bench.executor.poll(0) is None
    assert bench.executor.poll(400) is None
    assert bench.clock.now_ns() == 1_000_400
    outcome = bench.executor.poll(10_000)
    assert outcome is not None
    assert (outcome.started_ns, outcome.ended_ns) == (1_000_000, 1_001_200)
    assert bench.clock.now_ns() == 1_001_200


def test_plans_in_flight_run_one_after_the_other() -> None:
    bench = Bench()
    both = batch(1)
    bench.executor.submit(IterationPlan(1, 1, admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),)))
    bench.executor.submit(IterationPlan(2, 1, decode=both))
    first, second = bench.executor.poll(None), bench.executor.poll(None)
    assert first is not None
    assert second is not None
    assert (second.seq, second.started_ns) == (2, first.ended_ns)
    assert second.ended_ns - second.started_ns == 1000 + 11 + 100


def test_scale_stretches_computing_and_moves() -> None:
    bench = Bench(scale=3.0)
    assert bench.run(moves=(move(1, Direction.IN, 2),))[0] == 3 * 160
    assert bench.run(admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),))[0] == 3 * 1200


def test_close_forgets() -> None:
    bench = Bench()
    bench.run(admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),))
    bench.executor.close()
    bench.executor.close()
    with pytest.raises(InvariantViolation):
        bench.run(decode=batch(1))


def test_without_overlap_an_iteration_waits_for_what_is_on_the_link() -> None:
    for overlap, waits in ((True, 0), (False, 2 * 16 * 5)):
        bench = Bench(overlap=overlap)
        bench.run(admits=(admit(1, 10),), prefills=(PrefillChunk(Handle(1), 0, 10, True),))
        moves = (move(1, Direction.OUT, 2, handle=2), move(2, Direction.IN, 1, handle=3))
        took, handles, landed = bench.run(decode=batch(1), moves=moves)
        assert (took, handles) == (1000 + 11 + 100 + waits, [1])
        assert set(landed) == {1, 2}
        # Nothing is on the link any more.
        assert bench.run(decode=batch(1))[0] == 1000 + 12 + 100
