"""The bound of the queue, its shares and its hint."""

from __future__ import annotations

import pytest

from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import Overloaded
from skipjoin.core.ids import DEFAULT_TENANT, TenantId
from skipjoin.serving.door.backlog import Backlog
from skipjoin.serving.door.shares import Shares

RED, BLUE = TenantId("red"), TenantId("blue")


def test_a_full_queue_refuses_and_takes_again_after_an_end() -> None:
    refused: list[bool] = []
    backlog = Backlog(Shares(2), ManualClock(), lambda: refused.append(True))
    backlog.found(DEFAULT_TENANT)
    backlog.admit(DEFAULT_TENANT)
    with pytest.raises(Overloaded) as full:
        backlog.admit(DEFAULT_TENANT)
    assert full.value.limit == "2 jobs"
    backlog.ended(DEFAULT_TENANT)
    backlog.admit(DEFAULT_TENANT)
    backlog.took_back(DEFAULT_TENANT)
    backlog.admit(DEFAULT_TENANT)
    assert refused == [True]


def test_a_tenant_cannot_fill_the_queue_of_the_others() -> None:
    backlog = Backlog(Shares(8, [RED, BLUE]), ManualClock())
    for _ in range(6):
        backlog.admit(RED)
    with pytest.raises(Overloaded) as full:
        backlog.admit(RED)
    assert full.value.limit == "6 jobs"
    for _ in range(2):
        backlog.admit(BLUE)
    with pytest.raises(Overloaded) as full:
        backlog.admit(BLUE)
    assert full.value.limit == "8 jobs"


def test_the_hint_shrinks_as_jobs_end_faster() -> None:
    hints = []
    for gap_ns in (10**9, 10**7):
        clock = ManualClock()
        backlog = Backlog(Shares(1000), clock)
        for _ in range(1000):
            backlog.found(DEFAULT_TENANT)
        for _ in range(200):
            clock.advance(gap_ns)
            backlog.ended(DEFAULT_TENANT)
        hints.append(backlog.retry_after_s())
    assert 0.5 <= hints[1] < hints[0] <= 60


def test_an_idle_queue_hints_within_bounds() -> None:
    assert 0.5 <= Backlog(Shares(1), ManualClock()).retry_after_s() <= 60
