"""Single rules of a turn, each in the smallest world that shows it."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.effects import (
    AccountGiven,
    Finished,
    LevelChanged,
    PromptsNeeded,
    Recomputed,
    SnapshotGiven,
    Started,
)
from skipjoin.core.events import (
    AccountAsked,
    CancelRequested,
    PolicyChosen,
    PromptArrived,
    SnapshotAsked,
    Submitted,
)
from skipjoin.core.ids import Handle
from skipjoin.core.job import FinishReason
from skipjoin.core.plan import Direction
from skipjoin.core.sampling import SamplingParams
from skipjoin.engine.params import EngineParams
from skipjoin.kvstore.params import KvParams

from .shadow import prompt_of, token_of
from .world import COST, World, generated


def job(
    handle: int, prompt: int, new: int, *, ignore_eos: bool = True, now: int = 0, late: bool = False, **rest
) -> Submitted:
    sampling = SamplingParams(max_new_tokens=new, ignore_eos=ignore_eos, seed=0, **rest.pop("sampling", {}))
    tokens = None if late else prompt_of(handle, prompt)
    return Submitted(
        Handle(handle), prompt, Asked(sampling), now, prompt=tokens, has_prompt=not late, output_tokens=new, **rest
    )


def params(max_batch: int = 4, *, quantum_ms: int = 10_000, **kv) -> EngineParams:
    from skipjoin.scheduler.params import LadderParams

    return EngineParams(
        max_batch=max_batch,
        kv=KvParams(**{"floor_pages": 0, "clean_reserve": 0.0, **kv}),
        ladder=LadderParams(base_quantum_ns=quantum_ms * 1_000_000),
    )


def members(world: World) -> list[set[int]]:
    """Who was in the batch, plan by plan."""
    return [
        set(plan.decode.handles.tolist()) | {chunk.handle for chunk in plan.prefills}
        for plan in world.executor.plans
        if plan.computes
    ]


def moves(world: World, direction: Direction) -> list[int]:
    return [m.handle for plan in world.executor.plans for m in plan.moves if m.direction is direction]


def test_unchanged_turns_are_the_same_batch_object_and_touch_no_order() -> None:
    world = World("skipjoin", params(8), device_pages=300, host_pages=0)
    world.step([job(i, 5, 100) for i in range(8)])
    world.drain()
    batches = [plan.decode for plan in world.executor.plans if len(plan.decode) == 8]
    assert len(batches) > 90 and len({id(batch) for batch in batches}) == 1
    # 8 jobs, 5 + 100 tokens: the last is never computed, so 26 pages each.
    assert sum(len(plan.new_pages.pages) for plan in world.executor.plans) == 8 * (26 - 2)


def test_cancel_frees_everything_at_once() -> None:
    world = World("skipjoin", params(), device_pages=20, host_pages=20)
    world.step([job(0, 30, 20), job(1, 10, 5)])
    world.step([CancelRequested(Handle(0))])
    assert world.finished[0].reason is FinishReason.CANCELLED
    world.step()
    assert 0 not in world.executor.jobs
    world.drain()
    assert world.finished[1].reason is FinishReason.LENGTH


@pytest.mark.parametrize("policy", ["fcfs", "skipjoin", "mlfq", "srpt-oracle"])
def test_a_job_that_can_never_fit_is_failed_with_its_reason(policy: str) -> None:
    world = World(policy, params(), device_pages=5, host_pages=5)
    effects = world.step([job(0, 15, 6)])
    end = effects.effects[0]
    assert isinstance(end, Finished) and end.failure is not None and end.failure[0] == "NEVER_FITS"
    assert "20" in end.failure[1]
    world.step([job(1, 15, 5)])
    world.drain()
    assert world.finished[1].reason is FinishReason.LENGTH


def test_fcfs_runs_to_completion_and_nobody_passes_one_that_does_not_fit() -> None:
    world = World("fcfs", params(), device_pages=10, host_pages=50)
    world.step([job(0, 20, 12), job(1, 24, 4), job(2, 4, 4)])
    world.drain()
    assert not moves(world, Direction.OUT)
    ends = list(world.finished)
    assert ends.index(0) < ends.index(2), "the small job waited behind the one that did not fit"
    assert all({1, 2}.isdisjoint(batch) for batch in members(world)[:12]), "and ran only when that one ran"


def test_the_best_ranked_moves_the_worst_out_and_the_worst_comes_back_unhurt() -> None:
    world = World("srpt-oracle", params(2), device_pages=12, host_pages=40)
    world.step([job(0, 24, 20)])
    for _ in range(3):
        world.step()
    world.step([job(1, 30, 3)])
    world.drain()
    assert moves(world, Direction.OUT) == [0] and moves(world, Direction.IN) == [0]
    assert list(world.finished) == [1, 0]
    assert world.finished[0].account.preemptions == 1 and world.finished[0].account.recomputed_tokens == 0
    assert world.finished[0].account.moving_ns > 0


def test_a_job_that_the_host_cannot_take_is_no_victim_and_the_newcomer_waits() -> None:
    world = World("srpt-oracle", params(2), device_pages=12, host_pages=3)
    world.step([job(0, 24, 20)])
    for _ in range(3):
        world.step()
    world.step([job(1, 30, 3)])
    world.drain()
    assert list(world.finished) == [0, 1]
    assert not moves(world, Direction.OUT)
    assert all(end.account.recomputed_tokens == 0 for end in world.finished.values())


def test_recompute_drops_the_victim_and_loses_no_token() -> None:
    world = World("srpt-oracle", params(2, mode="recompute"), device_pages=12, host_pages=40)
    world.step([job(0, 24, 20)])
    for _ in range(3):
        world.step()
    effects = world.step([job(1, 30, 3)])
    assert any(isinstance(effect, Recomputed) and effect.handle == 0 for effect in effects.effects)
    world.drain()
    assert list(world.finished) == [1, 0] and not moves(world, Direction.OUT)
    assert world.emitted[0] == [token_of(0, i) for i in range(20)]


def test_a_victim_is_computed_again_where_the_link_is_slower_than_that() -> None:
    slow = dataclasses.replace(COST, move_token_ns=200_000)
    world = World("srpt-oracle", params(2), device_pages=12, host_pages=40, cost=slow)
    world.step([job(0, 24, 20)])
    for _ in range(3):
        world.step()
    world.step([job(1, 30, 3)])
    world.drain()
    assert list(world.finished) == [1, 0] and not moves(world, Direction.OUT)
    assert world.finished[0].account.recomputed_tokens > 0


def test_when_everybody_is_short_the_worst_is_recomputed_and_all_end() -> None:
    # Both fit when they enter; both grow; the host takes nobody.
    world = World("skipjoin", params(2), device_pages=10, host_pages=0)
    world.step([job(0, 12, 28), job(1, 12, 28)])
    world.drain()
    assert sum(end.account.recomputed_tokens for end in world.finished.values()) > 0
    assert {end.reason for end in world.finished.values()} == {FinishReason.LENGTH}


def test_the_shadow_sees_an_early_free() -> None:
    """The control of all of these tests: a page given back while its job still needs it is found
    out.
    """
    world = World("fcfs", params(3), device_pages=12, host_pages=0)
    world.step([job(0, 10, 20)])
    world.step()
    ledger = world.state.ledger
    ledger.device.give(ledger.blocks.page[world.state.rows[Handle(0)].kv.table.blocks[0]])
    world.turn.step([job(1, 8, 4)])
    with pytest.raises(AssertionError, match="job 0 finds"):
        world.turn.step()


def test_write_behind_makes_the_eviction_free() -> None:
    world = World("srpt-oracle", params(2, clean_reserve=0.5), device_pages=12, host_pages=40)
    world.step([job(0, 24, 20)])
    for _ in range(12):
        world.step()
    assert world.state.ledger.clean > 0 and moves(world, Direction.OUT)
    free = world.state.ledger.device.free
    world.step([job(1, 30, 3)])
    assert world.state.ledger.device.free + 8 > free, "clean pages were free at once"
    world.drain()
    assert list(world.finished) == [1, 0]


@pytest.mark.parametrize("policy", ["fcfs", "skipjoin", "mlfq", "srpt-oracle"])
def test_a_suspect_runs_with_nobody_else(policy: str) -> None:
    world = World(policy, params(), device_pages=40, host_pages=40)
    world.step([job(0, 6, 30), job(1, 6, 6, alone=True), job(2, 6, 30), job(3, 2, 5, alone=True)])
    world.drain()
    for batch in members(world):
        assert batch.isdisjoint({1, 3}) or len(batch) == 1
    assert len(world.finished) == 4


@pytest.mark.parametrize("mode", ["proactive", "reactive"])
def test_no_job_runs_two_turns_in_a_row_while_another_can(mode: str) -> None:
    given = EngineParams(max_batch=3, kv=KvParams(mode=mode, floor_pages=0), preempt_every_turn=True)
    world = World("skipjoin", given, device_pages=100, host_pages=100)
    world.step([job(i, 5, 20) for i in range(9)])
    world.drain()
    batches = members(world)
    busy = [pair for pair in pairwise(batches) if len(pair[1]) == 3]
    assert len(busy) > 40 and all(before.isdisjoint(after) for before, after in busy)


@pytest.mark.parametrize("iteration_ms", [0.0, 6.0])
def test_the_predicted_iteration_keeps_its_bound_and_chunks_end_on_pages(iteration_ms: float) -> None:
    given = EngineParams(max_batch=8, kv=KvParams(floor_pages=0), iteration_ms=iteration_ms)
    world = World("skipjoin", given, device_pages=400, host_pages=0)
    world.step([job(i, 3, 60) for i in range(4)])
    for handle in range(4, 8):
        world.step([job(handle, 300, 10)])
    world.drain()
    quanta_ns = 4 * COST.decode_ns(1, 0)
    assert 0 < quanta_ns < 6_000_000
    quiet_ns = max(quanta_ns, round(iteration_ms * 1e6))
    mixed = [plan for plan in world.executor.plans if plan.prefills]
    assert len(mixed) > 4
    chunked = [chunk for plan in mixed for chunk in plan.prefills if not chunk.last]
    assert chunked and all((chunk.start + chunk.length) % 4 == 0 for chunk in chunked)
    for plan in mixed:
        assert plan.predicted_ns is not None
        chunks_ns = sum(COST.chunk_ns(chunk.length, chunk.start) for chunk in plan.prefills)
        decode_ns = plan.predicted_ns - chunks_ns
        assert plan.predicted_ns <= max(2 * decode_ns, quiet_ns) + len(plan.prefills)
    # The room is used, not only kept to.
    assert max(plan.predicted_ns or 0 for plan in mixed) > 0.8 * quiet_ns


def test_a_late_prompt_is_asked_for_once_and_then_runs() -> None:
    world = World("skipjoin", params(), device_pages=20, host_pages=0)
    first = world.step([job(0, 6, 3, late=True)])
    assert PromptsNeeded((Handle(0),)) in first.effects
    assert not world.turn.busy
    assert not any(isinstance(effect, PromptsNeeded) for effect in world.step().effects)
    effects = world.step([PromptArrived(Handle(0), prompt_of(0, 6))])
    assert any(isinstance(effect, Started) for effect in effects.effects)
    world.drain()


def test_deadlines_bound_the_wait_and_end_the_job() -> None:
    world = World("fcfs", params(1), device_pages=20, host_pages=0)
    now = world.clock.now_ns()
    world.step([job(0, 6, 3, late=True, deadline_ns=now + 5_000_000)])
    assert world.turn.next_due_ns() == now + 5_000_000
    world.clock.move_to(now + 5_000_000)
    effects = world.step()
    assert isinstance(effects.effects[0], Finished) and effects.effects[0].reason is FinishReason.EXPIRED
    assert world.turn.next_due_ns() is None


def test_a_takeover_goes_on_behind_the_log_and_an_ended_one_ends() -> None:
    world = World("skipjoin", params(), device_pages=20, host_pages=0)
    world.before = {0: 4, 1: 5}
    world.step([job(0, 6, 7, generated=generated(0, 4)), job(1, 6, 5, generated=generated(1, 5))])
    assert world.finished[1].reason is FinishReason.LENGTH and world.finished[1].output_tokens == 5
    world.drain()
    assert world.emitted[0] == [token_of(0, i) for i in range(4, 7)]


def test_stop_strings_are_matched_over_token_bytes() -> None:
    world = World("skipjoin", params(), device_pages=40, host_pages=0, token_bytes=[bytes([97 + i]) for i in range(23)])
    text = "".join(chr(97 + token_of(0, i)) for i in range(20))
    stop = text[6:9]
    world.step([job(0, 6, 20, sampling={"stop": (stop,)})])
    world.drain()
    assert world.finished[0].reason is FinishReason.STOP
    assert world.finished[0].output_tokens == text.index(stop) + 3


def test_a_stop_string_without_a_tokenizer_is_refused() -> None:
    world = World("skipjoin", params(), device_pages=40, host_pages=0)
    world.step([job(0, 6, 20, sampling={"stop": ("x",)})])
    assert world.finished[0].failure is not None and world.finished[0].failure[0] == "INVALID_INPUT"


def test_a_policy_switch_says_who_changed_level() -> None:
    given = EngineParams(max_batch=2, kv=KvParams(floor_pages=0))
    world = World("skipjoin", given, device_pages=60, host_pages=60)
    world.step([job(i, 40, 20) for i in range(4)])
    for _ in range(10):
        world.step()
    before = {handle: world.state.policy.level(handle) for handle in world.state.rows}
    assert set(before.values()) != {1}
    effects = world.step([PolicyChosen("fcfs")])
    told = {e.handle for e in effects.effects if isinstance(e, LevelChanged)}
    assert told == {handle for handle, level in before.items() if level != 1}
    world.drain()


def test_accounts_and_snapshots_answer() -> None:
    world = World("skipjoin", params(2), device_pages=30, host_pages=10)
    world.step([job(i, 8, 10) for i in range(5)])
    effects = world.step([AccountAsked(Handle(0), 5), AccountAsked(Handle(99), 6), SnapshotAsked(7)])
    given = [effect for effect in effects.effects if isinstance(effect, AccountGiven)]
    assert given[0].account is not None and given[0].phase in ("prefill", "decode") and given[1].account is None
    snapshot = next(effect for effect in effects.effects if isinstance(effect, SnapshotGiven))
    assert snapshot.live_jobs == 5 and snapshot.running_jobs == 2 and snapshot.policy == "skipjoin"
    kv = snapshot.kv
    assert kv.device_free + kv.device_owned + kv.device_in_flight == kv.device_total == 30
    world.drain()


def test_a_job_whose_logits_failed_hurts_nobody() -> None:
    world = World("skipjoin", params(8), device_pages=200, host_pages=0, seed=3, fail_share=0.02)
    world.step([job(i, 5, 30) for i in range(8)])
    world.drain()
    reasons = [end.reason for end in world.finished.values()]
    assert FinishReason.FAILED in reasons and FinishReason.LENGTH in reasons


def test_positions_are_columns_of_int32() -> None:
    world = World("fcfs", params(), device_pages=40, host_pages=0)
    tokens = world.step([job(0, 6, 5), job(1, 6, 5)]).tokens
    assert tokens is not None and tokens.positions.dtype == np.int32 and tokens.handles.dtype == np.int64
    assert tokens.positions.tolist() == [0, 0]
    world.drain()
