"""The bound of the queue and its hint."""

from __future__ import annotations

import pytest

from skipjoin.core.clock import ManualClock
from skipjoin.core.errors import Overloaded
from skipjoin.serving.backlog import Backlog


def test_a_full_queue_refuses_and_takes_again_after_an_end() -> None:
    backlog = Backlog(2, 1, ManualClock())
    backlog.admit()
    with pytest.raises(Overloaded):
        backlog.admit()
    backlog.ended()
    backlog.admit()
    assert backlog.refused == 1


def test_the_hint_shrinks_as_jobs_end_faster() -> None:
    hints = []
    for gap_ns in (10**9, 10**7):
        clock = ManualClock()
        backlog = Backlog(1000, 1000, clock)
        for _ in range(200):
            clock.advance(gap_ns)
            backlog.ended()
        hints.append(backlog.retry_after_s())
    assert 0.5 <= hints[1] < hints[0] <= 60


def test_an_idle_queue_hints_within_bounds() -> None:
    assert 0.5 <= Backlog(1, 1, ManualClock()).retry_after_s() <= 60
