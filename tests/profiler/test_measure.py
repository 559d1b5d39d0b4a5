"""The sweep drives any executor by legal plans, and its rows give back the costs that a simulated
one was built from.
"""

from __future__ import annotations

import pytest

from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import InvalidProfile
from skipjoin.core.executor import ExecutorFacts
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import parse_profile, render_profile
from skipjoin.profiler.measure import Sweep, measure, profile_of
from skipjoin.sim.executor import SimExecutor
from skipjoin.sim.strict import StrictExecutor

PLANTED = load_profile("opt-13b-a100").model
FACTS = ExecutorFacts(
    generation=3,
    device_pages=4_000,
    host_pages=500,
    page_tokens=16,
    page_bytes=16 * 819_200,
    max_context_tokens=4_096,
    vocab_size=500,
)


def sweep_of(
    facts: ExecutorFacts, *, max_batch: int = 16, max_prefill_tokens: int = 512, budget_s: float = 10.0
) -> tuple[Sweep, ManualClock]:
    clock = ManualClock()
    executor = StrictExecutor(SimExecutor(PLANTED, facts, clock))
    shares: list[float] = []
    found = measure(
        executor,
        executor.start(),
        clock,
        max_batch=max_batch,
        max_prefill_tokens=max_prefill_tokens,
        budget_s=budget_s,
        progress=shares.append,
    )
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return found, clock


@pytest.mark.parametrize("budget_s", [0.001, 10.0, 1e4])
def test_the_planted_costs_come_back_whatever_the_budget(budget_s: float) -> None:
    sweep, _ = sweep_of(FACTS, budget_s=budget_s)
    profile = profile_of(sweep, FACTS, model_name="m", device="simulated", dtype="none")
    for name in ("fixed_ns", "prefill_token_ns", "prefill_pair_ns", "decode_context_ns", "decode_job_ns"):
        assert getattr(profile.model, name) == pytest.approx(getattr(PLANTED, name), rel=1e-3), name
    assert profile.model.move_token_ns == pytest.approx(PLANTED.move_token_ns, rel=1e-3)
    assert sweep.link_out_gbps == pytest.approx(22.0, rel=1e-3)
    assert (profile.kv_tokens, profile.host_kv_tokens, profile.token_bytes) == (64_000, 8_000, 819_200)
    assert profile.fit is not None
    assert profile.fit.worst < 1e-3
    assert parse_profile(render_profile(profile), "here").fit == profile.fit


def test_a_larger_budget_measures_more_and_a_small_one_ends_early() -> None:
    short, clock = sweep_of(FACTS, max_batch=64, budget_s=4.0)
    assert clock.now_ns() < 5e9  # shapes that would not end in time are left out
    long, _ = sweep_of(FACTS, max_batch=64, budget_s=1e4)
    assert len(long.rows) > 2 * len(short.rows)
    assert max(row.decode_jobs for row in long.rows) == 64
    assert max(row.chunks[0][1] for row in long.rows if row.chunks) > 0  # a chunk behind another
    assert any(row.chunks and row.decode_jobs for row in short.rows)  # a mixed iteration


def test_without_host_pages_the_link_is_not_made_up() -> None:
    facts = ExecutorFacts(1, 600, 0, 16, 1_600, 1_024, 100)
    sweep, _ = sweep_of(facts, max_batch=8)
    assert (sweep.link_out_gbps, sweep.link_in_gbps) == (None, None)
    profile = profile_of(sweep, facts, model_name="m", device="d", dtype="t")
    assert profile.model.move_ns(1_000) == 0
    assert parse_profile(render_profile(profile), "here").link_out_gbps is None


@pytest.mark.parametrize("max_batch", [1, 3])
def test_a_batch_of_one_can_be_profiled(max_batch: int) -> None:
    facts = ExecutorFacts(1, 60, 4, 16, 1_600, 512, 100)
    sweep, _ = sweep_of(facts, max_batch=max_batch)
    assert profile_of(sweep, facts, model_name="m", device="d", dtype="t").model.fixed_ns > 0


@pytest.mark.parametrize(
    "facts", [ExecutorFacts(1, 8, 8, 16, 16, 4_096, 100), ExecutorFacts(1, 4_000, 8, 16, 16, 64, 100)]
)
def test_a_pool_or_context_too_small_to_measure_says_so(facts: ExecutorFacts) -> None:
    with pytest.raises(InvalidProfile) as caught:
        sweep_of(facts, max_batch=64)
    assert caught.value.field == "kv_tokens"
