"""Calendar, ranking and ladder against the plainest thing that does the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.errors import InvalidSettings
from skipjoin.core.ids import Handle, Level
from skipjoin.scheduler import ranking
from skipjoin.scheduler.calendar import Calendar
from skipjoin.scheduler.ladder import Ladder
from skipjoin.scheduler.params import LadderParams, check_starvation
from skipjoin.scheduler.queues import LevelQueues
from skipjoin.scheduler.ranking import Ranking

changes = st.lists(
    st.tuples(st.sampled_from(["set", "discard", "pop"]), st.integers(0, 9), st.integers(0, 30)), max_size=300
)


@given(changes)
def test_calendar_is_a_dict_with_a_minimum(steps: list[tuple[str, int, int]]) -> None:
    calendar, plain = Calendar(), dict[Handle, int]()
    for what, who, when in steps:
        handle = Handle(who)
        if what == "set":
            calendar.set(handle, when)
            plain[handle] = when
        elif what == "discard":
            calendar.discard(handle)
            plain.pop(handle, None)
        else:
            due = sorted((at, one) for one, at in plain.items() if at <= when)
            assert calendar.pop_due(when) == [one for _, one in due]
            for _, one in due:
                del plain[one]
        assert calendar.next_ns == min(plain.values(), default=None)
        assert len(calendar) == len(plain)
        assert {one: calendar.get(one) for one in plain} == plain


def test_calendar_forgets_what_was_struck_out() -> None:
    calendar = Calendar()
    calendar.set(Handle(0), 0)
    for when in range(10_000):
        calendar.set(Handle(1), 10_000 - when)
    assert len(calendar._heap) < 200  # lazy deletion must not keep ten thousand stale entries
    assert calendar.pop_due(0) == [0]
    assert calendar.next_ns == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=400), st.integers(1, 8))
def test_ranking_is_a_sorted_set(steps: list[tuple[bool, int]], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_CHUNK", chunk)
        fast, plain = Ranking(), set[tuple[int, ...]]()
        for add, number in steps:
            key = (number // 7, number)
            if key in plain:
                assert key in fast
                fast.remove(key)
                plain.remove(key)
            elif add:
                fast.add(key)
                plain.add(key)
            else:
                assert key not in fast
                with pytest.raises(KeyError):
                    fast.remove(key)
            assert list(fast) == sorted(plain)
            assert len(fast) == len(plain)


def test_quanta_double_from_the_base() -> None:
    ladder = Ladder(10, 2.0)
    assert [ladder.quantum_ns(level) for level in (1, 2, 3, 4, 10)] == [10, 20, 40, 80, 5120]


@pytest.mark.parametrize(
    ("first_iteration_ns", "level"),
    [(1, 1), (10, 1), (11, 2), (20, 2), (21, 3), (40, 3), (41, 4), (10 * 2**20 + 1, 22)],
)
def test_entry_is_the_highest_level_that_covers_the_first_iteration(first_iteration_ns: int, level: int) -> None:
    assert Ladder(10, 2.0).entry_level(first_iteration_ns) == level


@pytest.mark.parametrize(
    ("level", "carried_ns", "next_ns", "lands"),
    [
        (1, 0, 5, 2),  # one level is enough
        (1, 0, 20, 2),
        (1, 0, 21, 3),  # the next iteration needs more than level 2 has
        (1, 15, 5, 2),
        (1, 16, 5, 3),  # what was carried counts against the new quantum
        (3, 500, 200, 8),
    ],
)
def test_drop_is_as_far_as_the_next_iteration_needs(level: int, carried_ns: int, next_ns: int, lands: int) -> None:
    assert Ladder(10, 2.0).level_after(level, carried_ns, next_ns) == lands


@given(st.integers(1, 10**9), st.floats(1.1, 16.0), st.integers(0, 10**13))
def test_quanta_rise_and_cover(base_ns: int, ratio: float, service_ns: int) -> None:
    ladder = Ladder(base_ns, ratio)
    level = ladder.entry_level(service_ns)
    assert ladder.quantum_ns(level) >= service_ns
    if level > 1:
        assert ladder.quantum_ns(level - 1) < service_ns
    quanta = [ladder.quantum_ns(one) for one in range(1, level + 3)]
    assert quanta == sorted(set(quanta))


def test_places_stay_until_placed_anew() -> None:
    queues = LevelQueues()
    for number in range(4):
        queues.place(Handle(number), Level(2))
    before = queues.key(Handle(2))
    queues.remove(Handle(0))
    queues.place(Handle(1), Level(2))
    queues.place(Handle(9), Level(1))
    assert [handle for _, handle in queues.order()] == [9, 2, 3, 1]
    assert queues.key(Handle(2)) == before
    assert queues.counts() == [1, 3]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_quantum_ns", 0),
        ("base_quantum_ns", 1.5),
        ("ratio", 1.0),
        ("ratio", float("nan")),
        ("starvation_floor_ns", -1),
        ("starvation_factor", float("inf")),
        ("paper_alpha_ns", True),
    ],
)
def test_parameters_out_of_bounds_are_named(field: str, value: object) -> None:
    with pytest.raises(InvalidSettings) as caught:
        LadderParams(**{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.limit


def test_unknown_starvation_rule_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="sometimes"):
        check_starvation("sometimes")
