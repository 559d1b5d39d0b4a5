"""Prefill budget, calendar and parameters, each alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidSettings
from skipjoin.core.ids import Handle
from skipjoin.cost.linear import LinearCostModel
from skipjoin.kvstore.job_kv import JobKv
from skipjoin.kvstore.params import KvParams
from skipjoin.kvstore.planning.budget import PrefillBudget
from skipjoin.kvstore.planning.due_steps import StepCalendar
from skipjoin.kvstore.planning.running import RunningBatch

COST = LinearCostModel(500_000, 20_000, 50, 100, 10_000, 5_000)
PAGE = 16


@given(
    rest=st.integers(1, 5000),
    before=st.integers(0, 5000),
    left_ns=st.integers(0, 200_000_000),
    left_tokens=st.integers(0, 2048),
)
def test_a_chunk_keeps_every_bound_and_ends_on_a_page(rest: int, before: int, left_ns: int, left_tokens: int) -> None:
    budget = PrefillBudget(COST, 4_000_000, 2048, PAGE)
    length, own_ns = budget.chunk(rest, before, left_ns, left_tokens, at_least=0)
    assert 0 <= length <= min(rest, left_tokens)
    assert own_ns == COST.chunk_ns(length, before)
    assert length == 0 or own_ns <= left_ns
    if PAGE <= length < rest:
        assert (before + length) % PAGE == 0
    # No page more would have fitted.
    more = length + PAGE - (before + length) % PAGE
    if more <= min(rest, left_tokens):
        assert COST.chunk_ns(more, before) > left_ns or more < PAGE


@given(rest=st.integers(1, 5000), before=st.integers(0, 5000))
def test_the_first_job_always_gets_on(rest: int, before: int) -> None:
    budget = PrefillBudget(COST, 4_000_000, 2048, PAGE)
    assert budget.chunk(rest, before, 0, 2048, at_least=PAGE)[0] == min(PAGE, rest)


def test_room_beside_decoding_is_twice_the_decode_part_or_the_quiet_time() -> None:
    budget = PrefillBudget(COST, 4_000_000, 2048, PAGE)
    assert budget.room_ns(0) == 4_000_000 - 500_000
    assert budget.room_ns(1_000_000) == 3_000_000
    assert budget.room_ns(9_000_000) == 9_000_000


def test_a_calendar_gives_each_bucket_once() -> None:
    calendar: StepCalendar[str] = StepCalendar()
    calendar.add(3, "a")
    calendar.add(3, "b")
    assert calendar.peek(3) == ["a", "b"] and calendar.peek(4) is None
    assert calendar.take(3) == ["a", "b"] and calendar.take(3) == []


def test_a_member_is_due_once_when_it_left_and_came_back_between_two_steps() -> None:
    running = RunningBatch(PAGE)
    job = JobKv(Handle(1), 10, 50, generated=1, ready=True, alone=False)
    job.computed, job.filling = 10, False
    job.table.blocks = [0]
    running.rearrange([job], steps=0)
    running.take_out(job, 0)
    running.rearrange([], steps=0)
    assert running.context_sum == 0 and len(running.decode) == 0
    running.rearrange([job], steps=0)
    assert job.grow_step == 6 and running.due(6) == [job] and running.due(5) == []
    assert running.context_sum == 11


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "magic"),
        ("floor_pages", -1),
        ("floor_pages", 1.5),
        ("growth_pages", True),
        ("clean_reserve", 0.6),
        ("clean_reserve", float("nan")),
        ("clean_reserve", "much"),
        ("prefetch", 10_000),
        ("lookahead", 0),
    ],
)
def test_bad_parameters_name_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidSettings) as refused:
        KvParams(**{field: value})
    assert refused.value.field == f"kv.{field}" and refused.value.limit


@pytest.mark.parametrize(
    ("pages", "swapped", "recomputed"), [(7, 0, 0), (8, 1, 1), (39, 1, 4), (128, 4, 16), (511, 15, 16), (4134, 16, 16)]
)
def test_a_small_pool_keeps_less_where_victims_are_swapped(pages: int, swapped: int, recomputed: int) -> None:
    assert KvParams().floor(pages, swaps=True) == swapped
    assert KvParams().floor(pages, swaps=False) == recomputed
    assert KvParams(floor_pages=0).floor(pages, swaps=True) == 0
