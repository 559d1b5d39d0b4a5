"""Due-heap, ring and parameters, each alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvalidSettings
from skipjoin.core.events import Submitted
from skipjoin.core.ids import Handle
from skipjoin.core.sampling import SamplingParams
from skipjoin.engine.dues import DueHeap
from skipjoin.engine.params import EngineParams
from skipjoin.engine.ring import RING, TokenRing
from skipjoin.engine.rows import Phase, Row
from skipjoin.kvstore.job_kv import JobKv


def row(handle: int, arrival_ns: int = 0, now_ns: int = 0) -> Row:
    facts = Submitted(Handle(handle), 4, Asked(SamplingParams(max_new_tokens=9, seed=1)), arrival_ns)
    return Row(facts, JobKv(Handle(handle), 4, 9, generated=0, ready=True, alone=False), now_ns)


def test_ended_jobs_do_not_come_due() -> None:
    alive = {Handle(1), Handle(2)}
    dues = DueHeap(alive.__contains__)
    for at, handle in ((30, 1), (10, 3), (20, 2)):
        dues.add(at, Handle(handle))
    assert dues.next_ns() == 20
    assert dues.pop(19) == [] and dues.pop(30) == [2, 1]
    assert dues.next_ns() is None


@given(st.lists(st.sampled_from(["write", "leave", "enter"]), max_size=400))
def test_the_ring_keeps_every_token_of_a_member(script: list[str]) -> None:
    ring, member, step, inside = TokenRing(3), row(1), 0, False
    other = row(2)
    ring.enter([other], 0)
    expected: list[int] = []
    for what in script:
        if what == "enter" and not inside:
            ring.enter([member], step)
            inside = True
        elif what == "leave" and inside:
            ring.leave(member, step)
            inside = False
        elif what == "write":
            rows = [other, member] if inside else [other]
            ring.write(step, np.array([r.slot for r in rows]), np.arange(len(rows), dtype=np.int32) + step)
            if inside:
                expected.append(step + 1)
            step += 1
            ring.flush_all(step, rows)
    if inside:
        ring.leave(member, step)
    ring.leave(other, step)
    assert list(member.out) == expected
    assert list(other.out) == list(range(step))


def test_the_ring_is_longer_than_one_flush() -> None:
    ring, member = TokenRing(1), row(1)
    ring.enter([member], 0)
    for step in range(3 * RING + 5):
        ring.write(step, np.array([member.slot]), np.array([step], dtype=np.int32))
        ring.flush_all(step + 1, [member])
    ring.leave(member, 3 * RING + 5)
    assert list(member.out) == list(range(3 * RING + 5))


def test_the_five_parts_sum_to_the_time_since_arrival() -> None:
    job = row(1, arrival_ns=100, now_ns=150)
    for phase, at in ((Phase.PREFILL, 200), (Phase.DECODE, 230), (Phase.PREEMPTED, 300), (Phase.MOVING, 340)):
        job.enter(phase, at)
    job.enter(Phase.DECODE, 400)
    account = job.account(500)
    assert account.jct_ns == 400
    assert (account.queued_ns, account.prefill_ns, account.decode_ns) == (100, 30, 170)
    assert (account.preempted_ns, account.moving_ns) == (40, 60)


def test_a_job_taken_up_from_another_engine_was_not_queued_all_the_time() -> None:
    facts = Submitted(
        Handle(1), 4, Asked(SamplingParams(max_new_tokens=9)), 100, generated=np.array([5, 6], dtype=np.int32)
    )
    job = Row(facts, JobKv(Handle(1), 4, 9, generated=2, ready=True, alone=False), 600)
    job.enter(Phase.PREFILL, 700)
    account = job.account(750)
    assert (account.queued_ns, account.preempted_ns, account.prefill_ns) == (0, 600, 50)
    assert account.jct_ns == 650


def test_an_arrival_in_the_future_is_now() -> None:
    assert row(1, arrival_ns=900, now_ns=150).account(160).jct_ns == 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_batch", 0),
        ("max_batch", True),
        ("max_prefill_tokens", 0),
        ("iteration_ms", -1),
        ("iteration_ms", float("nan")),
        ("starvation", "no"),
    ],
)
def test_bad_parameters_name_the_field(field: str, value: object) -> None:
    with pytest.raises(InvalidSettings) as refused:
        EngineParams(**{field: value})
    assert refused.value.field == field and refused.value.limit
