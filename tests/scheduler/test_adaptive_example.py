"""The worked example of scheduler/adaptive/policy.py."""

from __future__ import annotations

from skipjoin.core.ids import Handle
from skipjoin.core.policy import JobAttributes, Tick
from skipjoin.cost.linear import LinearCostModel
from skipjoin.scheduler.adaptive import policy as module
from skipjoin.scheduler.adaptive.demand import Demand
from skipjoin.scheduler.adaptive.policy import AdaptivePolicy

MS = 1_000_000
COST = LinearCostModel(19.0 * MS, 0.1 * MS, 0.0, 0.0, 1.0 * MS)
NOW = Tick(50 * MS, 0, 0)


def _rows() -> list[list[int]]:
    """The lines of the example as numbers, without their units."""
    _, _, example = (module.__doc__ or "").partition("while it runs\n")
    lines = example.partition("\n\n")[0].splitlines()
    return [[int(word) for word in line.split() if word != "ms"] for line in lines]


def _policy(rows: list[list[int]]) -> AdaptivePolicy:
    """All jobs of the example, waiting."""
    policy = AdaptivePolicy(COST, Demand(COST, 64))
    for job, prompt, arrives_ms, *_ in rows:
        arrival_ns = arrives_ms * MS
        attributes = JobAttributes(Handle(job), arrival_ns, prompt, prompt, COST.prompt_ns(prompt), 1000)
        policy.submitted(attributes, Tick(arrival_ns, 0, 0))
    return policy


def _order(policy: AdaptivePolicy) -> list[int]:
    return [handle for _, handle in policy.order(NOW)]


def test_the_worked_example_is_true() -> None:
    rows = _rows()
    assert len(rows) == 3
    policy = _policy(rows)
    assert policy.tail == 0.65
    assert _order(policy) == [2, 3, 1]
    for job, _, arrives_ms, level, _, head_start_ms, ranks_ms, runs_ms in rows:
        handle = Handle(job)
        assert policy.level(handle) == level
        rank_ns = policy.key(handle, NOW)[0]
        assert round(rank_ns / MS) == ranks_ms
        assert round(arrives_ms - rank_ns / MS) == head_start_ms
        policy.join(handle, NOW)
        assert round(policy.key(handle, NOW)[0] / MS) == runs_ms
        if job == 1:
            assert _order(policy) == [1, 2, 3]
        policy.leave(handle, NOW)


def test_what_the_jobs_of_the_example_expect() -> None:
    """A level expects twice its quantum, and W follows the sum."""
    rows = _rows()
    expected_ms = [row[4] for row in rows]
    policy = _policy(rows)
    assert [2 * policy.ladder.quantum_ns(row[3]) // MS for row in rows] == expected_ms
    assert sum(expected_ms) == 280
