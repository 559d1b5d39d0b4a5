"""What each case runs on the executor is what its line says, and what is counted is what was done."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from skipjoin.bench.device.race import roofline_ns
from skipjoin.bench.device.step.cases import (
    WAITING,
    chunks_of,
    drain,
    engine_iterations,
    lanes_of,
    loop_of,
    measure_decode,
    measure_idle,
    measure_moves,
    measure_prefill,
    places_of,
    samples,
    work_of_steps,
)
from skipjoin.bench.device.step.deck import Deck, Traffic, decode_steps
from skipjoin.bench.device.step.row import COPY_SHARE, IDLE, ROOFLINE, SLOWER
from skipjoin.bench.device.step.stage import Iteration, Times
from skipjoin.bench.device.step.work import decode_work
from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvariantViolation
from skipjoin.core.outcome import IterationOutcome
from skipjoin.core.plan import Direction

ROUNDS = 3
ROUNDED = 1e-9


def heard() -> None:
    return None


def contexts_seen(stage) -> list[int]:
    """The context of the first job in each forward pass from now on."""
    seen: list[int] = []
    build = stage.executor._build

    def watching(plan):
        batch = build(plan)
        seen.append(int(batch.forward.positions.max()) + 1)
        return batch

    stage.executor._build = watching
    return seen


def test_steps_have_the_contexts_that_the_work_is_counted_for(stage, decode) -> None:
    seen = contexts_seen(stage)
    deck = Deck(stage, decode.batch, decode.context, decode.most_tokens)
    for _ in range(2):
        decode_steps(stage, deck, decode.steps)
    assert seen == 2 * list(range(decode.context, decode.context + decode.steps + 1))
    timed = [decode_work(stage.model, [context] * decode.batch) for context in seen[1 : decode.steps + 1]]
    work = work_of_steps(stage.model, decode)
    assert work.bytes == pytest.approx(np.mean([one.bytes for one in timed]), abs=1)
    assert work.flops == pytest.approx(np.mean([one.flops for one in timed]), abs=1)


def test_a_forward_pass_lies_inside_its_step_and_every_step_is_marked(stage, decode) -> None:
    deck = Deck(stage, decode.batch, decode.context, decode.most_tokens)
    steps = decode_steps(stage, deck, decode.steps)
    assert 0 < steps.forward_ns < steps.step_ns
    marks = stage.executor.iterations
    assert [one.decodes for one in marks] == [decode.batch] * decode.steps
    assert all(one.begun.ns_until(one.forwarded) > 0 <= one.forwarded.ns_until(one.ended) for one in marks)
    assert all(before.ended.ns_until(after.begun) > 0 for before, after in pairwise(marks))
    spans = sum(one.begun.ns_until(one.ended) for one in marks)
    assert spans < steps.step_ns * decode.steps


def test_with_two_plans_in_flight_the_same_steps_are_run(stage, quick, decode, idle) -> None:
    """As on a device that computes by itself."""
    stage.ahead = True
    depths = []
    submit = stage.executor.submit
    stage.executor.submit = lambda plan: (submit(plan), depths.append(len(stage.executor._launched)))[0]
    seen = contexts_seen(stage)
    decode_steps(stage, Deck(stage, decode.batch, decode.context, decode.most_tokens), decode.steps)
    assert max(depths) == 2 and not stage.executor._launched
    assert seen == list(range(decode.context, decode.context + decode.steps + 1))
    depths.clear()
    ahead, behind = measure_idle(stage, idle.model_copy(update={"most": 0.5}), ROUNDS, heard)
    assert max(depths) == 2, "the engine launched early"
    assert samples(quick, ROUNDS, ahead=True) == ROUNDS * (1 + 1 + len(lanes_of(ahead=True)) + 2)
    assert set(lanes_of(ahead=True)) - set(lanes_of(ahead=False)) == {WAITING}
    assert (ahead.what, behind.what) == ("iteration, run ahead", "iteration, one plan at a time")
    assert (ahead.target, behind.target) == (0.5, None), "as a server runs it"


def test_lines_of_a_decode(stage, decode) -> None:
    whole, forward = measure_decode(stage, decode.model_copy(update={"least": 0.5}), ROUNDS, heard)
    assert (whole.of, forward.of) == (ROOFLINE, ROOFLINE)
    assert whole.share.median <= forward.share.median and whole.value.low <= whole.value.median <= whole.value.high
    assert whole.tokens_per_s == pytest.approx(decode.batch / whole.value.median * 1e3)
    assert (whole.target, forward.target) == (0.5, None)
    assert len(stage.seen["copy"]) == ROUNDS, "speeds of the same rounds"
    work = work_of_steps(stage.model, decode)
    assert all(speed > 0 for rates in stage.seen.values() for speed in rates)
    least = [
        roofline_ns(work, dict(zip(stage.seen, round_, strict=True)))
        for round_ in zip(*stage.seen.values(), strict=True)
    ]
    for row in (whole, forward):
        low, high = min(least) / (row.value.high * 1e6), max(least) / (row.value.low * 1e6)
        assert low - ROUNDED <= row.share.low <= row.share.median <= row.share.high <= high + ROUNDED
    assert len(stage.executor._table) == 0, "the executor forgot the jobs"


def test_a_prefill_computes_every_token_once_and_gives_one(stage, prefill) -> None:
    plans = []
    submit = stage.executor.submit
    stage.executor.submit = lambda plan: (plans.append(plan), submit(plan))[1]
    (row,) = measure_prefill(stage, prefill, ROUNDS, heard)
    chunks = [(c.start, c.length, c.last) for plan in plans for c in plan.prefills]
    assert chunks == (ROUNDS + 1) * [(0, 40, False), (40, 40, False), (80, 10, True)]
    assert chunks_of(prefill) == [(0, 40), (40, 40), (80, 10)]
    assert row.tokens_per_s == pytest.approx(prefill.tokens / row.value.median * 1e3)


def test_moves_go_on_beside_every_step_and_bring_every_byte(stage, moves) -> None:
    places = places_of(stage, moves)
    taken = [page for pages, _ in (*places[Direction.OUT], *places[Direction.IN]) for page in pages.tolist()]
    deck = Deck(stage, moves.batch, moves.context, moves.most_tokens)
    assert len(set(taken)) == len(taken) and not set(taken) & set(deck._tables.flatten().tolist())
    pools = stage.executor.pools
    pools.host.normal_()
    plans = []
    submit = stage.executor.submit
    stage.executor.submit = lambda plan: (plans.append(plan), submit(plan))[1]
    traffic = Traffic(places, tuple(Direction), stage.clock)
    decode_steps(stage, deck, moves.steps, traffic)
    drain(stage, deck, traffic)
    assert traffic.in_flight == 0
    begun = [move for plan in plans for move in plan.moves]
    assert len(begun) >= 2 * moves.in_flight, "both ways, as many as may be"
    for direction in Direction:
        pages = sum(len(move.pages) for move in begun if move.direction is direction)
        assert traffic.landed_pages[direction] == pages > 0
        assert traffic.last_landed_ns[direction] > 0
        for at, slots in places[direction]:
            assert torch.equal(pools.device[torch.from_numpy(at)], pools.host[torch.from_numpy(slots)])


def test_a_plan_that_starts_moves_waits_where_it_shall_be_alone(stage, moves) -> None:
    """As the engine launches."""
    stage.ahead = True
    deck = Deck(stage, moves.batch, moves.context, moves.most_tokens)
    plans = []
    submit = stage.executor.submit
    stage.executor.submit = lambda plan: (plans.append((plan, len(stage.executor._launched))), submit(plan))[1]
    for alone, most in ((False, 1), (True, 0)):
        plans.clear()
        for _ in range(8):
            traffic = Traffic(places_of(stage, moves), tuple(Direction), stage.clock)
            decode_steps(stage, deck, moves.steps, traffic, alone=alone)
            drain(stage, deck, traffic)
        assert max(before for plan, before in plans if plan.moves) == most


def test_a_place_is_taken_until_its_move_has_landed(stage, moves) -> None:
    clock = ManualClock(0)
    traffic = Traffic(places_of(stage, moves), (Direction.OUT,), clock)
    begun = traffic.moves()
    assert (
        len(begun) == moves.in_flight == traffic.in_flight
        and traffic.moves() == ()
        and traffic.dry == {Direction.OUT: 0}
    )
    clock.move_to(70)
    traffic.heard(IterationOutcome(0, 0, 0, 0, landed=(begun[0].move_id,)))
    (again,) = traffic.moves()
    assert again.pages is begun[0].pages and again.move_id != begun[0].move_id
    assert (traffic.landed_pages, traffic.last_landed_ns) == ({Direction.OUT: 3}, {Direction.OUT: 70})
    traffic.heard(IterationOutcome(0, 0, 0, 0, landed=(begun[1].move_id, again.move_id)))
    assert traffic.in_flight == 0
    traffic.moves()
    assert traffic.dry == {Direction.OUT: 1}, "nothing was on its way"


def test_lines_of_moves(stage, moves) -> None:
    rows = measure_moves(stage, moves.model_copy(update={"most_slower": 0.1, "least_rate": 0.2}), ROUNDS, heard)
    assert [row.what for row in rows] == [
        "step, no moves", "step, moves out", "step, moves in", "step, moves both ways",
        "moves out", "moves in", "moves out, both ways at once", "moves in, both ways at once",
    ]  # fmt: skip
    assert [row.of for row in rows] == [None, *[SLOWER] * 3, *[COPY_SHARE] * 4]
    assert [row.target for row in rows] == [None, None, None, 0.1, 0.2, 0.2, None, None]
    assert all(row.value.low > 0 for row in rows)
    alone, *others = rows[:4]
    for row in others:
        low, high = row.value.low / alone.value.high - 1, row.value.high / alone.value.low - 1
        assert low - ROUNDED <= row.share.low <= row.share.high <= high + ROUNDED
    for row in rows[4:]:
        limits = [speed / 2 for speed in stage.seen["copy"]]  # a copy reads and writes every byte
        low, high = row.value.low / max(limits), row.value.high / min(limits)
        assert low - ROUNDED <= row.share.low <= row.share.high <= high + ROUNDED
        assert row.bound == "memory", "a CPU has no link"


def test_the_engine_decodes_all_jobs_in_every_iteration_that_counts(stage, idle) -> None:
    iterations = engine_iterations(stage, idle, ahead=False)
    assert len(iterations) == idle.iterations - idle.warm
    assert all((one.decodes, one.prefills) == (idle.batch, 0) for one in iterations)
    loop = loop_of(iterations)
    assert 0 < loop.idle < 1, "a host that decides and computes does one after the other"
    assert len(stage.executor._table) == 0, "the executor forgot the jobs"


def test_lines_of_the_engine(stage, idle) -> None:
    (row,) = measure_idle(stage, idle.model_copy(update={"most": 0.5}), ROUNDS, heard)
    assert (row.of, row.target, row.what) == (IDLE, 0.5, "iteration, one plan at a time")


def marked(*spans: tuple[int, int, int]) -> list[Iteration]:
    clock = ManualClock(0)
    times = Times(torch.device("cpu"), clock)

    def at(ns: int):
        clock._now_ns = ns
        return times.mark()

    return [Iteration(1, 0, *(at(ns) for ns in span)) for span in spans]


def test_idle_is_what_lies_between_an_end_and_the_next_begin() -> None:
    loop = loop_of(marked((0, 5, 10), (12, 18, 20), (20, 29, 30), (35, 49, 50)))
    assert loop.iteration_ns == pytest.approx(40 / 3)
    assert loop.idle == pytest.approx((2 + 0 + 5) / 40)


def test_plans_launched_early_leave_no_gap() -> None:
    """Their marks still lie one behind the other, for the device comes to them in order."""
    assert loop_of(marked((0, 8, 10), (10, 18, 20), (20, 28, 30))).idle == 0


def test_an_iteration_without_all_its_tokens_is_no_measurement(stage, decode) -> None:
    deck = Deck(stage, decode.batch, decode.context, decode.most_tokens)
    with torch.no_grad():
        stage.executor.pools.device.fill_(float("nan"))
    with pytest.raises(InvariantViolation, match="no token"):
        decode_steps(stage, deck, 2)
