"""How fast virtual time passes: processor time of the run itself, start-up and drain run apart. No correctness here."""

from __future__ import annotations

import pytest

from skipjoin.core.clock import thread_cpu_ns
from skipjoin.core.ports import ExecutorFacts
from skipjoin.engine.params import EngineParams
from skipjoin.profiler.profiles import load_profile
from skipjoin.sim.drain import drain_rate
from skipjoin.sim.world import Machine, simulate
from skipjoin.workload.requests import make_workload
from skipjoin.workload.shape import load_shape


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "least"), [("fcfs", 200), ("skipjoin", 200), ("adaptive", 100)])
def test_many_times_real_time_on_the_chat_shape(policy: str, least: int) -> None:
    profile = load_profile("opt-13b-a100")
    pages = profile.kv_tokens // 16
    facts = ExecutorFacts(1, pages, 32 * pages, 16, 16 * profile.token_bytes, None, 1)
    machine = Machine(profile.model, facts, EngineParams(max_batch=64))
    workload = make_workload(
        load_shape("azure-conv"), requests=1000, warmup=200, seed=0, poisson=False, room_tokens=pages * 16
    )
    workload = workload.at_rate(0.9 * drain_rate(machine, workload))
    ratios = []
    for _ in range(3):
        before_ns = thread_cpu_ns()
        run = simulate(machine, policy, workload)
        ratios.append(run.virtual_ns / (thread_cpu_ns() - before_ns))
    assert max(ratios) >= least, ratios
