"""Bounds on the mean JCT: by hand, against every schedule of a small instance, and against what the
simulator reaches.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.executor import ExecutorFacts
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.params import EngineParams
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.registry import POLICY_NAMES
from skipjoin.sim.bounds import LABELS, Bounds, bounds, srpt_ends_ns, work_ns
from skipjoin.sim.world import Machine, simulate
from skipjoin.workload.requests import Workload, make_workload
from skipjoin.workload.shape import load_shape

# 1 ms fixed, 10 us a prompt token, 2 ns a pair, 1 us a token of context, 20 us a job
COST = LinearCostModel(1e6, 1e4, 2.0, 1e3, 2e4)


def _jobs(*jobs: tuple[int, int, int], warmup: int = 0) -> Workload:
    """Jobs as (arrival in ns, prompt tokens, output tokens)."""
    columns = np.asarray(jobs)
    return Workload(
        name="by hand",
        arrival_ns=columns[:, 0].astype(np.int64),
        prompt_tokens=columns[:, 1].astype(np.int32),
        output_tokens=columns[:, 2].astype(np.int32),
        warmup=warmup,
        refused=0,
        seed=0,
        recorded=True,
        timed=True,
    )


def test_the_shortest_work_left_goes_first_by_hand() -> None:
    # 10 of work at 0; at 2 comes 3, ends at 5; at 4 comes 8, which is no shorter than the 8 left;
    # at 30 one comes to an idle server.
    assert srpt_ends_ns([0, 2, 4, 30], [10, 3, 8, 1]) == [13, 5, 21, 31]
    assert srpt_ends_ns([0, 0, 0], [3, 1, 2]) == [6, 1, 3]
    assert srpt_ends_ns([], []) == []


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=5))
def test_no_order_of_priorities_is_better_in_sum(jobs: list[tuple[int, int]]) -> None:
    """On one server the best schedule is a preemptive one by some fixed order; all of them are
    tried.
    """
    arrivals, works = zip(*sorted(jobs), strict=True)
    best = min(sum(_by_priority(arrivals, works, order)) for order in permutations(range(len(jobs))))
    assert sum(srpt_ends_ns(arrivals, works)) == best


def _by_priority(arrivals: tuple[int, ...], works: tuple[int, ...], order: tuple[int, ...]) -> list[int]:
    left, ends, now = list(works), [0] * len(works), 0
    while any(left):
        job = next((one for one in order if left[one] and arrivals[one] <= now), None)
        now += 1
        if job is not None:
            left[job] -= 1
            ends[job] = now
    return ends


def test_work_is_priced_as_cheaply_as_a_batch_allows() -> None:
    # A prompt of 100 in chunks of one token: 1 ms and 2 ns * (1 + ... + 100); then 2 tokens at
    # contexts 101 and 102, each 20 us, its context and an eighth of the fixed millisecond. The
    # price takes the smaller context for both.
    slots = work_ns(Demand(COST, 8), 100, 3)
    assert slots == 1_000_000 + 2 * 5050 + 2 * (20_000 + 101_000 + 125_000)
    # With room for 400 tokens a context of 101 blocks a quarter of the fixed time.
    assert work_ns(Demand(COST, 2**62, 400), 100, 3) == 1_010_100 + 2 * (20_000 + 101_000 + 1_000_000 * 101 // 400)


def test_bounds_by_hand() -> None:
    jobs = _jobs((0, 100, 1), (0, 50, 1), (7, 100, 3), warmup=1)
    alone = (COST.alone_ns(50, 1) + COST.alone_ns(100, 3)) / 2e9
    short, long = work_ns(Demand(COST, 8), 50, 1), work_ns(Demand(COST, 8), 100, 3)
    assert bounds(COST, 8, 10**9, jobs) == Bounds(pytest.approx(alone), pytest.approx((short + short + long - 7) / 2e9))
    assert bounds(COST, 8, 10**9, jobs, oracle=3.5).as_json()["oracle"] == 3.5
    tight = bounds(COST, 8, 103, jobs).work
    assert tight > bounds(COST, 8, 10**9, jobs).work  # where KV is scarcer than slots, it sets the price
    assert set(LABELS) == set(bounds(COST, 8, 103, jobs).as_json())


@pytest.mark.parametrize("policy", POLICY_NAMES)
@pytest.mark.parametrize(("batch", "pages"), [(4, 400), (32, 60)])
def test_no_policy_is_below_the_bounds(policy: str, batch: int, pages: int) -> None:
    """In overload, with the batch and with the KV room as what is short."""
    profile = load_profile("opt-13b-a100")
    workload = make_workload(
        load_shape("azure-conv"),
        requests=120,
        warmup=15,
        seed=6,
        poisson=False,
        room_tokens=pages * 16,
        scale_lengths=0.1,
    ).at_rate(20.0)
    facts = ExecutorFacts(1, pages, 2000, 16, 16 * profile.token_bytes, None, 1)
    jobs = simulate(Machine(profile.model, facts, EngineParams(max_batch=batch)), policy, workload).jobs
    mean_s = float((jobs.end_ns - jobs.arrival_ns).mean()) / 1e9
    proved = bounds(profile.model, batch, pages * 16, workload)
    assert mean_s >= max(proved.work, proved.alone)
    assert proved.work > 0.1 * mean_s  # a bound that says something
