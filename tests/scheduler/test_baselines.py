"""What each baseline promises, on streams small enough to follow by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvalidSettings
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import Handle, TenantId
from skipjoin.core.policy import JobAttributes, Policy, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.params import EngineParams
from skipjoin.scheduler.account import JobEntry
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.lines import HighestResponseRatio
from skipjoin.scheduler.oracles import standard_normal
from skipjoin.scheduler.params import LadderParams
from skipjoin.scheduler.registry import ORACLE_NAMES, POLICY_NAMES, SLICE_QUANTA, make_policy
from skipjoin.sim.world import Machine, simulate
from skipjoin.workload.requests import Workload

COST = LinearCostModel(100.0, 1.0, 0.0, 0.0, 0.0)  # a decode part is 100 ns, a prompt token 1 ns
A, B, C = Handle(1), Handle(2), Handle(3)
T0 = Tick(0, 0, 0)
SLICE = SLICE_QUANTA * 10


def policy(name: str) -> Policy:
    return make_policy(name, COST, LadderParams(base_quantum_ns=10), max_batch=1)


def submit(
    one: Policy,
    handle: Handle,
    prompt: int = 50,
    output: int = 10,
    arrival: int = 0,
    tick: Tick = T0,
    tenant: str = "one",
    priority: int = 0,
) -> None:
    facts = JobAttributes(
        handle,
        arrival,
        prompt,
        prompt,
        prompt,
        100,
        0,
        TenantId(tenant),
        Asked(priority=priority),
        output_tokens=output,
    )
    one.submitted(facts, tick)


def begin(one: Policy, handle: Handle, tick: Tick, prompt: int = 50) -> None:
    one.join(handle, tick)
    one.charge(handle, prompt, prompt, tick)
    one.decoding(handle, tick)


def later(tick: Tick, ns: int, steps: int = 1) -> Tick:
    """The same after `steps` iterations that took `ns` together."""
    return Tick(tick.now_ns + ns, tick.decode_ns + ns, tick.steps + steps)


def order(one: Policy, tick: Tick = T0) -> list[Handle]:
    return [handle for _, handle in one.order(tick)]


def test_las_lets_whoever_has_had_less_go_first_at_the_end_of_a_slice() -> None:
    las = policy("las")
    for handle in (A, B):
        submit(las, handle)
    begin(las, A, T0)
    assert las.next_crossing_ns() == SLICE - 50
    assert order(las, later(T0, SLICE - 51)) == [A, B]
    assert order(las, later(T0, SLICE - 50)) == [B, A]
    version = las.version
    las.advance(later(T0, SLICE - 50))
    assert las.version == version + 1
    assert las.next_crossing_ns() == 2 * SLICE - 50


def test_a_newcomer_runs_at_once_under_las_and_takes_its_turn_under_ps() -> None:
    for name, expected in (("las", [C, B, A]), ("ps", [B, C, A])):
        one = policy(name)
        for handle in (A, B):
            submit(one, handle)
        begin(one, A, T0)
        tick = later(T0, 2 * SLICE)
        one.leave(A, tick)
        begin(one, B, tick)
        tick = later(tick, SLICE)
        submit(one, C, arrival=tick.now_ns, tick=tick)  # A had two slices and a bit, B one and a bit
        assert order(one, tick) == expected


def test_fcfs_swap_ranks_as_fcfs_and_may_use_the_host() -> None:
    swap, drop = policy("fcfs-swap"), policy("fcfs")
    assert (swap.swaps, drop.swaps) == (True, False)
    for one in (swap, drop):
        assert (one.preempts, one.lower_may_pass) == (False, False)
        submit(one, A, arrival=5)
        submit(one, B, arrival=3)
        assert order(one) == [B, A]


def test_the_most_urgent_goes_first_and_equals_by_arrival() -> None:
    urgent = policy("priority")
    assert (urgent.preempts, urgent.swaps, urgent.lower_may_pass) == (True, True, True)
    submit(urgent, A, arrival=1, priority=1)
    submit(urgent, B, arrival=3, priority=-1)
    submit(urgent, C, arrival=2, priority=1)
    assert order(urgent) == [B, A, C]
    begin(urgent, A, T0)
    late = later(T0, 1000)
    assert order(urgent, late) == [B, A, C]  # running is no merit
    assert urgent.key(A, late) == (1, 1, A)
    version = urgent.version
    urgent.removed(B, late)
    assert (order(urgent, late), urgent.version) == ([A, C], version + 1)


def test_fcfs_recomputes_or_swaps_the_newest_and_nobody_passes() -> None:
    # twelve jobs of 16 + 200 tokens, 14 pages each, in 60 pages: some have to leave while they grow
    count = 12
    workload = Workload(
        name="growing",
        arrival_ns=np.arange(count, dtype=np.int64) * 1_000_000,
        prompt_tokens=np.full(count, 16, dtype=np.int32),
        output_tokens=np.full(count, 200, dtype=np.int32),
        warmup=0,
        refused=0,
        seed=0,
        recorded=True,
        timed=True,
    )
    cost = LinearCostModel(1e6, 1e5, 0.0, 1e3, 2e4, 2e3)
    machine = Machine(cost, ExecutorFacts(1, 60, 2000, 16, 160, None, 1), EngineParams(max_batch=12))
    drop, swap = (simulate(machine, name, workload, strict=True).jobs for name in ("fcfs", "fcfs-swap"))
    for jobs in (drop, swap):
        assert jobs.preemptions > 0
        assert jobs.first_token_ns.tolist() == sorted(jobs.first_token_ns.tolist())
    assert drop.bytes_moved == 0 < drop.tokens_recomputed
    assert swap.bytes_moved > 0
    assert swap.tokens_recomputed < drop.tokens_recomputed / 4


def test_sjf_runs_to_completion_whoever_comes() -> None:
    sjf = policy("sjf-oracle")
    submit(sjf, A, output=10)
    submit(sjf, B, output=8)
    assert order(sjf) == [B, A]
    begin(sjf, A, T0)
    submit(sjf, C, output=1)
    assert order(sjf) == [A, C, B]
    sjf.leave(A, later(T0, 100))  # pages ran short: it comes back first
    assert order(sjf, later(T0, 100)) == [A, C, B]
    sjf.removed(A, later(T0, 200))
    assert order(sjf, later(T0, 200)) == [C, B]


def test_errors_of_estimates_are_log_normal_and_their_own_every_job() -> None:
    draws = [standard_normal(0, Handle(number)) for number in range(4000)]
    mean = sum(draws) / len(draws)
    spread = math.sqrt(sum((draw - mean) ** 2 for draw in draws) / len(draws))
    assert abs(mean) < 0.05
    assert abs(spread - 1) < 0.04
    assert abs(sum(abs(draw) < 1 for draw in draws) / len(draws) - 0.6827) < 0.02
    assert len(set(draws)) == len(draws)
    assert [standard_normal(0, Handle(number)) for number in range(10)] == draws[:10]
    assert standard_normal(1, A) != standard_normal(0, A)


def test_srpt_with_errors_ranks_by_its_estimates() -> None:
    small, large = sorted((A, B, C), key=lambda handle: standard_normal(0, handle))[::2]
    for name, sigma in (("srpt-0.5", 0.5), ("srpt-1.0", 1.0)):
        one = policy(name)
        for handle in (small, large):
            submit(one, handle, output=1000)
        assert order(one) == [small, large]
        expected = round(1000 * math.exp(sigma * standard_normal(0, small)))
        assert one.key(small, T0) == (50 + (expected - 1) * 100, small)
        begin(one, small, T0)
        outlived = later(T0, expected * 100, expected)
        assert one.key(small, outlived) == (0, small)
        assert not one.moves_are_free


def test_trail_keeps_who_has_most_of_its_output_behind_it() -> None:
    trail = policy("trail")
    submit(trail, A, output=1000)
    length = round(1000 * math.exp(0.5 * standard_normal(0, A)))
    begin(trail, A, T0)
    submit(trail, B, prompt=1, output=1)
    steps = math.ceil(0.8 * length) - 1  # one token came with the prompt
    assert order(trail, later(T0, 100 * (steps - 1), steps - 1)) == [B, A]
    kept = later(T0, 100 * steps, steps)
    assert order(trail, kept) == [A, B]
    trail.leave(A, kept)
    assert order(trail, kept) == [A, B]


def test_gamma_boost_is_arrival_with_a_bounded_head_start() -> None:
    boost = policy("gamma-boost")
    submit(boost, A, prompt=1000, output=1)  # demand 1000: class 1024, the mean so far; W = 102,400
    head_start = 102_400 * math.log(1 / (1 - math.exp(-0.01)))
    assert boost.key(A, T0) == (-round(head_start), A)
    submit(boost, B, prompt=1, output=1, arrival=10_000)  # much smaller
    assert order(boost) == [B, A]
    submit(boost, C, prompt=1, output=1, arrival=10**9)  # smaller than A, but years later
    assert order(boost) == [B, A, C]
    place = boost.key(A, T0)
    begin(boost, A, T0)
    assert boost.key(A, later(T0, 10**6)) == place


def test_hrrn_lets_a_wait_outgrow_a_size() -> None:
    # 256 output tokens of 100 ns are expected of everybody: sizes 25,601 and 30,600 are one class,
    # 45,600 is the next
    hrrn = policy("hrrn")
    submit(hrrn, A, prompt=20_000)
    submit(hrrn, B, prompt=1, arrival=40_000, tick=Tick(40_000, 0, 0))
    submit(hrrn, C, prompt=5_000, arrival=40_000, tick=Tick(40_000, 0, 0))
    assert order(hrrn) == [A, B, C]  # A has waited, nobody else has
    hrrn.removed(C, Tick(70_000, 0, 0))
    assert order(hrrn) == [A, B]  # 70,000 / 65,536 against 30,000 / 32,768
    submit(hrrn, C, prompt=5_000, arrival=100_000, tick=Tick(100_000, 0, 0))
    assert order(hrrn, Tick(101_000, 0, 0)) == [B, A, C]  # 60,000 / 32,768 has overtaken 100,000 / 65,536
    begin(hrrn, A, Tick(100_000, 0, 0))
    assert order(hrrn) == [A, B, C]  # and is not passed any more


def test_hrrn_learns_what_to_expect_from_outputs_that_came_to_their_end() -> None:
    hrrn = HighestResponseRatio(Demand(COST, 1))
    for handle in (A, B):
        submit(hrrn, handle)
        begin(hrrn, handle, T0)
    hrrn.removed(A, later(T0, 100, 1), finished=False)
    fresh = JobEntry(JobAttributes(C, 0, 50, 50, 50, 100), T0)
    assert hrrn.line(fresh) == 32_768  # 256 tokens
    hrrn.removed(B, later(T0, 100, 9))  # 10 tokens
    assert hrrn.line(fresh) == 16_384  # 133 tokens


def test_vtc_serves_whose_tenant_had_least_and_counts_prompts_as_they_begin() -> None:
    vtc = policy("vtc")
    for number, tenant in enumerate(["loud", "loud", "loud", "quiet", "quiet"], start=1):
        submit(vtc, Handle(number), prompt=10 * number, tenant=tenant)
    assert order(vtc) == [1, 4, 2, 3, 5]  # loud: 0, 10, 30; quiet: 0, 40
    begin(vtc, Handle(1), T0, prompt=10)
    assert order(vtc) == [1, 4, 2, 3, 5]  # as was foreseen
    vtc.removed(Handle(1), later(T0, 100, 19))  # 20 output tokens: loud is at 50
    assert order(vtc) == [4, 5, 2, 3]
    assert vtc.key(Handle(3), T0) == (1, 70, 0, 3)


def test_a_tenant_that_was_away_has_saved_nothing_up() -> None:
    vtc = policy("vtc")
    submit(vtc, A, prompt=500, tenant="loud")
    begin(vtc, A, T0, prompt=500)
    submit(vtc, B, tenant="loud")
    submit(vtc, C, arrival=5, tenant="new")
    assert [vtc.key(handle, T0)[1] for handle in (B, C)] == [502, 502]  # a prompt and the token that came with it
    assert order(vtc) == [A, B, C]


@pytest.mark.parametrize("name", ORACLE_NAMES)
def test_oracles_refuse_a_job_without_a_length(name: str) -> None:
    one = policy(name)
    with pytest.raises(InvalidSettings, match=f"{name} needs"):
        one.submitted(JobAttributes(A, 0, 1, 1, 1, 1), T0)
    assert order(one) == []


@pytest.mark.parametrize("name", sorted(set(POLICY_NAMES) - set(ORACLE_NAMES)))
def test_the_others_do_not_ask_for_lengths(name: str) -> None:
    one = policy(name)
    one.submitted(JobAttributes(A, 0, 1, 1, 1, 1), T0)
    assert order(one) == [A]
