"""The drain rate, where it can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from skipjoin.core.errors import InvalidSettings
from skipjoin.core.executor import ExecutorFacts
from skipjoin.cost.linear import LinearCostModel
from skipjoin.engine.params import EngineParams
from skipjoin.sim.drain import completion_rate, drain_rate
from skipjoin.sim.world import Machine
from skipjoin.workload.requests import Workload

S = 1_000_000_000


def test_completions_between_the_10th_and_the_90th_percentile() -> None:
    # ten completions: the first and the last are slow, the eight gaps between rank 1 and rank 9
    # take 0.5 s each
    ends = [int(end * S) for end in (5, 5.5, 6, 6.5, 7, 7.5, 8, 8.5, 9, 100)]
    assert completion_rate(ends) == pytest.approx(2.0)
    assert completion_rate(ends[::-1]) == pytest.approx(2.0)
    # a hundred: rank 10 to rank 90
    assert completion_rate([int(4 * S * rank) for rank in range(1, 101)]) == pytest.approx(0.25)


@pytest.mark.parametrize("ends", [[], [S], [S, S, S]])
def test_too_short_to_tell(ends: list[int]) -> None:
    with pytest.raises(InvalidSettings, match=r"too short.*--requests"):
        completion_rate(ends)
    with pytest.raises(InvalidSettings, match=r"too short.*: look elsewhere\.") as told:
        completion_rate(ends, field="elsewhere", advice="look elsewhere")
    assert told.value.field == "elsewhere"


def test_one_job_at_a_time_drains_at_the_time_of_its_prompt() -> None:
    # 1 ms fixed and 10 us a prompt token: a job of 10 prompt tokens and one output token takes 1.1
    # ms, batch 1
    cost = LinearCostModel(1e6, 1e4, 0.0, 0.0, 0.0)
    facts = ExecutorFacts(1, 200, 200, 16, 16, None, 1)
    count = 40
    workload = Workload(
        name="same",
        arrival_ns=np.arange(count, dtype=np.int64) * S,
        prompt_tokens=np.full(count, 10, dtype=np.int32),
        output_tokens=np.ones(count, dtype=np.int32),
        warmup=10,
        refused=0,
        seed=0,
        recorded=True,
        timed=True,
    )
    rate = drain_rate(Machine(cost, facts, EngineParams(max_batch=1)), workload)
    assert rate == pytest.approx(1000 / 1.1, rel=1e-6)
