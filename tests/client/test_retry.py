"""When a call is tried again: by the rules of client/retry.py, in virtual time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.client.retry import Attempts, RetryParams
from skipjoin.core import errors as e
from skipjoin.core.clock import ManualClock

S = 10**9


def attempts(targets: int = 1, timeout_s: float | None = None, **params: float) -> tuple[Attempts, ManualClock]:
    clock = ManualClock(5 * S)
    return Attempts(RetryParams(**params), targets, timeout_s, clock, random.Random(7)), clock


@given(st.lists(st.floats(0, 3), max_size=30), st.floats(0, 2))
def test_waits_grow_keep_below_the_bound_and_honour_the_hint(delays: list[float], hint: float) -> None:
    tried, clock = attempts(first_s=0.5, longest_s=4.0, give_up_s=10**6)
    for number, delay in enumerate(delays):
        tried.remaining_s()
        clock.advance(int(delay * S))
        wait = tried.failed(e.Unavailable("x"), hint)
        assert hint <= wait <= max(hint, min(4.0, 0.5 * 2**number))
        clock.advance(int(wait * S))


def test_the_wait_is_jittered() -> None:
    tried, _ = attempts(first_s=1.0, longest_s=1.0, give_up_s=10**6)
    assert len({tried.failed(e.Unavailable("x"), None) for _ in range(10)}) == 10


def test_every_target_is_tried_before_a_wait() -> None:
    tried, _ = attempts(targets=3, first_s=1.0)
    waits = [tried.failed(e.Unavailable("x"), 0.5) for _ in range(6)]
    assert [wait > 0 for wait in waits] == [False, False, True, False, False, True]


def test_it_gives_up_after_its_time_without_progress() -> None:
    tried, clock = attempts(first_s=1.0, longest_s=1.0, give_up_s=5.0)
    waited: list[float] = []

    def go_on() -> None:
        while True:
            tried.remaining_s()
            waited.append(tried.failed(e.Unavailable("x"), 1.0))
            clock.advance(int(waited[-1] * S))

    with pytest.raises(e.Unavailable):
        go_on()
    assert sum(waited) == 5.0


def test_progress_starts_the_count_anew() -> None:
    tried, clock = attempts(first_s=1.0, longest_s=1.0, give_up_s=2.0)
    for _ in range(50):
        tried.remaining_s()
        tried.progressed()
        clock.advance(int(tried.failed(e.Unavailable("x"), 1.0) * S))


def test_an_attempt_that_stood_for_long_counts_as_progress() -> None:
    tried, clock = attempts(give_up_s=2.0)
    for _ in range(5):
        tried.remaining_s()
        clock.advance(60 * S)
        tried.failed(e.Unavailable("x"), 1.0)


def test_a_deadline_bounds_attempts_and_waits_together() -> None:
    tried, clock = attempts(timeout_s=3.0, give_up_s=100.0)
    assert tried.remaining_s() == 3.0
    clock.advance(S)
    assert tried.remaining_s() == 2.0
    with pytest.raises(e.Unavailable):
        tried.failed(e.Unavailable("x"), 2.5)  # the wait would end after the deadline
    clock.advance(2 * S)
    assert tried.over
    with pytest.raises(e.DeadlineExceeded):
        tried.remaining_s()


@pytest.mark.parametrize("error", [e.Overloaded("x", retry_after_s=1), e.InternalError("x"), e.DeadlineExceeded("x")])
def test_only_unavailable_is_tried_again(error: e.SkipjoinError) -> None:
    tried, _ = attempts()
    with pytest.raises(type(error)):
        tried.failed(error, 0.1)


def test_a_server_too_busy_to_look_at_the_call_is_tried_again_at_different_times() -> None:
    busy = e.Overloaded("x", retry_after_s=0.5, field=e.OPEN_CALLS)
    waits = []
    for seed in range(20):
        tried = Attempts(RetryParams(), 1, None, ManualClock(5 * S), random.Random(seed))
        waits.append(tried.failed(busy, 0.5))
    assert all(0.5 <= wait_s <= 1.0 for wait_s in waits)
    assert max(waits) - min(waits) > 0.2


@pytest.mark.parametrize("bad", [-1.0, float("inf"), float("nan")])
def test_parameters_are_checked(bad: float) -> None:
    with pytest.raises(e.InvalidInput, match="first_s"):
        RetryParams(first_s=bad)
    with pytest.raises(e.InvalidInput, match="timeout_s"):
        attempts(timeout_s=bad)
