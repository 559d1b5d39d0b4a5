"""The virtual world with the real engine: hand-computed runs, and relations that must hold under
every policy.
"""

from __future__ import annotations

import numpy as np
import pytest

from skipjoin.core.errors import InvalidSettings
from skipjoin.core.executor import ExecutorFacts
from skipjoin.cost.linear import LinearCostModel
from skipjoin.cost.profiles import load_profile
from skipjoin.engine.params import EngineParams
from skipjoin.scheduler.registry import ORACLE_NAMES, POLICY_NAMES
from skipjoin.sim.world import Machine, Run, simulate
from skipjoin.workload.requests import Workload, make_workload
from skipjoin.workload.shape import load_shape

MS = 1_000_000
# 1 ms fixed, 10 us a prompt token, 1 us a token of context, 20 us a job, 2 us a moved token
COST = LinearCostModel(1e6, 1e4, 0.0, 1e3, 2e4, 2e3)


def _machine(pages: int = 400, host: int = 4000, batch: int = 8) -> Machine:
    return Machine(COST, ExecutorFacts(1, pages, host, 16, 160, None, 1), EngineParams(max_batch=batch))


def _jobs(*jobs: tuple[float, int, int], warmup: int = 0) -> Workload:
    """Jobs as (arrival in ms, prompt tokens, output tokens)."""
    return Workload(
        name="by hand",
        arrival_ns=np.asarray([round(at * MS) for at, _, _ in jobs], dtype=np.int64),
        prompt_tokens=np.asarray([prompt for _, prompt, _ in jobs], dtype=np.int32),
        output_tokens=np.asarray([output for _, _, output in jobs], dtype=np.int32),
        warmup=warmup,
        refused=0,
        seed=0,
        recorded=True,
        timed=True,
    )


def _chat(policy: str, requests: int = 150, pages: int = 100, host: int = 2_000, strict: bool = False) -> Run:
    """Requests of the chat shape, a tenth as long, in a pool for about ten of them: overload."""
    profile = load_profile("opt-13b-a100")
    facts = ExecutorFacts(1, pages, host, 16, 16 * profile.token_bytes, None, 1)
    workload = make_workload(
        load_shape("azure-conv"),
        requests=requests,
        warmup=20,
        seed=4,
        poisson=False,
        room_tokens=pages * 16,
        scale_lengths=0.1,
    )
    machine = Machine(profile.model, facts, EngineParams(max_batch=32))
    return simulate(machine, policy, workload.at_rate(30.0), strict=strict)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_a_job_alone_takes_its_time_alone(policy: str) -> None:
    jobs = simulate(_machine(), policy, _jobs((5.0, 30, 4), (100.0, 20, 1))).jobs
    assert (jobs.end_ns - jobs.arrival_ns).tolist() == [COST.alone_ns(30, 4), COST.alone_ns(20, 1)]
    assert (jobs.first_token_ns - jobs.arrival_ns).tolist() == [COST.prompt_ns(30), COST.prompt_ns(20)]
    assert jobs.alone_ns is not None
    assert jobs.alone_ns.tolist() == [COST.alone_ns(30, 4), COST.alone_ns(20, 1)]
    assert (jobs.preemptions, jobs.bytes_moved, jobs.tokens_recomputed) == (0, 0, 0)


def test_two_jobs_share_iterations_under_fcfs() -> None:
    # 0: both prefill together, 1 + 0.1 + 0.2 ms; then two decodes together, 1 + 0.04 + contexts
    run = simulate(_machine(), "fcfs", _jobs((0.0, 10, 3), (0.0, 20, 3)))
    first = 1_300_000
    second = first + 1_040_000 + (11 + 21) * 1000
    third = second + 1_040_000 + (12 + 22) * 1000
    assert run.jobs.first_token_ns.tolist() == [first, first]
    assert run.jobs.end_ns.tolist() == [third, third]


def test_a_job_that_arrives_in_an_iteration_waits_for_its_end() -> None:
    run = simulate(_machine(), "fcfs", _jobs((0.0, 10, 2), (0.2, 10, 1)))
    # the first prefill ends at 1.1 ms; the next iteration decodes job 0 and prefills job 1
    end = 1_100_000 + 1_000_000 + 20_000 + 11 * 1000 + 100_000
    assert run.jobs.end_ns.tolist() == [end, end]


def test_skip_join_lets_a_short_job_pass_and_fcfs_does_not() -> None:
    jobs = _jobs((0.0, 50, 400), (50.0, 10, 2), warmup=1)
    one = _machine(batch=1)
    jct = {policy: int(simulate(one, policy, jobs).jobs.end_ns[0]) - 50 * MS for policy in ("fcfs", "skipjoin")}
    assert jct["skipjoin"] < 10 * MS < 200 * MS < jct["fcfs"]


def test_warm_up_jobs_are_served_and_not_counted() -> None:
    run = simulate(_machine(), "fcfs", _jobs((0.0, 10, 3), (0.0, 20, 3), (50.0, 30, 1), warmup=2))
    assert len(run.jobs) == 1
    assert len(run.ends_ns) == 3
    assert int(run.jobs.end_ns[0]) == 50 * MS + COST.prompt_ns(30)


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_overload_ends_every_job_and_twice_the_same(policy: str) -> None:
    run, again = _chat(policy), _chat(policy)
    assert len(run.jobs) == 150
    assert len(run.ends_ns) == 170
    assert (run.jobs.first_token_ns >= run.jobs.arrival_ns).all()
    assert (run.jobs.end_ns >= run.jobs.first_token_ns).all()
    assert run.jobs.alone_ns is not None
    assert ((run.jobs.end_ns - run.jobs.arrival_ns) >= run.jobs.alone_ns).all()
    assert run.jobs.end_ns.tolist() == again.jobs.end_ns.tolist()
    assert run.turns == again.turns
    assert run.jobs.preemptions == again.jobs.preemptions


def test_the_oracle_is_no_worse_than_fcfs_and_preemption_happens() -> None:
    runs = {policy: _chat(policy) for policy in POLICY_NAMES}
    mean = {policy: float((run.jobs.end_ns - run.jobs.arrival_ns).mean()) for policy, run in runs.items()}
    unaware = [mean[policy] for policy in POLICY_NAMES if policy not in ORACLE_NAMES]
    assert mean["srpt-oracle"] <= min(unaware) * 1.0001
    assert mean["srpt-oracle"] <= min(mean.values()) * 1.05  # not to preempt saves a little of what it knows
    assert mean["srpt-oracle"] < 0.9 * mean["fcfs"]
    skipjoin = runs["skipjoin"].jobs
    assert skipjoin.preemptions
    assert skipjoin.bytes_moved


@pytest.mark.parametrize("policy", POLICY_NAMES)
@pytest.mark.parametrize("host", [0, 30])
def test_a_bounded_or_missing_host_loses_nothing(policy: str, host: int) -> None:
    assert len(_chat(policy, requests=60, pages=50, host=host, strict=True).ends_ns) == 80


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_no_plan_breaks_a_rule_and_checking_changes_nothing(policy: str) -> None:
    strict, free = _chat(policy, requests=100, strict=True), _chat(policy, requests=100)
    assert strict.ends_ns == free.ends_ns


def test_an_unknown_policy() -> None:
    with pytest.raises(InvalidSettings, match="policy"):
        simulate(_machine(), "lifo", _jobs((0.0, 1, 1)))
