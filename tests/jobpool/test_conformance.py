"""What the port promises, asked of every implementation."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from job_pools import NOW, check_log, end, entry, job_id, logged, new_job, submit_one

from skipjoin.core.errors import (
    Conflict,
    InvalidInput,
    InvariantViolation,
    NotFound,
    OffsetOutOfRange,
    SkipjoinError,
    WrongState,
)
from skipjoin.core.ids import TenantId
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.jobpool import JobPool
from skipjoin.core.outcome import TokenLogprobs
from skipjoin.core.pool import JobQuery, JobRecord, LogBatch, LogEntry, NewJob, OpenJob, Swept, view_of

RED = TenantId("red")


def test_a_stored_job_is_the_one_that_was_given(pool: JobPool) -> None:
    given = new_job(
        7, tenant="red", request_id="r-7", prompt=range(3000), logprobs=3, deadline_unix_ns=NOW + 5, priority=-9,
        earlier_output_tokens=77,
    )  # fmt: skip
    assert submit_one(pool, given).state is JobState.ACCEPTED
    stored = pool.get(given.job_id)
    for field in fields(NewJob):
        if field.name != "prompt":
            assert getattr(stored.job, field.name) == getattr(given, field.name), field.name
    assert view_of(stored).prompt_tokens == 3000
    (listed,) = pool.list(JobQuery(None)).jobs
    assert view_of(listed) == view_of(stored)
    assert (stored.state, stored.epoch, stored.output_tokens, stored.crashes) == (JobState.ACCEPTED, None, 0, 0)
    assert (stored.finish, stored.failure, stored.cancel_requested) == (None, None, False)
    (claimed,) = pool.claim(pool.open_epoch("a"), 1)
    assert claimed.job.prompt.dtype == np.int32
    assert claimed.job.prompt.tolist() == list(range(3000))


def test_a_repeated_request_is_the_first_job(pool: JobPool) -> None:
    first = submit_one(pool, new_job(1, request_id="same", body="b"))
    again = submit_one(pool, new_job(2, request_id="same", body="b"))
    assert again.job.job_id == first.job.job_id == job_id(1)
    with pytest.raises(NotFound):
        pool.get(job_id(2))
    (other,) = pool.submit([new_job(3, request_id="same", body="another")])
    assert isinstance(other, Conflict)
    assert other.field == "request_id"
    assert submit_one(pool, new_job(4, tenant="red", request_id="same", body="another")).job.job_id == job_id(4)


def test_the_first_of_a_request_is_told_without_storing(pool: JobPool) -> None:
    first = submit_one(pool, new_job(1, request_id="same", body="b"))
    repeat = pool.first_of(new_job(2, request_id="same", body="b"))
    assert repeat is not None
    assert repeat.job.job_id == first.job.job_id
    with pytest.raises(Conflict):
        pool.first_of(new_job(3, request_id="same", body="another"))
    assert pool.first_of(new_job(4, request_id="new", body="b")) is None
    assert pool.first_of(new_job(5)) is None
    assert pool.depth().accepted == 1


def test_repeats_within_one_commit(pool: JobPool) -> None:
    answers = pool.submit(
        [
            new_job(1, request_id="a", body="b"),
            new_job(2, request_id="a", body="b"),
            new_job(3, request_id="a", body="c"),
            new_job(4),
        ]
    )
    assert [a.job.job_id if isinstance(a, JobRecord) else type(a) for a in answers] == [
        job_id(1), job_id(1), Conflict, job_id(4),
    ]  # fmt: skip
    assert pool.depth().accepted == 2


def test_a_repeated_request_tells_how_far_the_job_is(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1, request_id="a", body="b"))
    pool.claim(epoch, 9)
    logged(pool, epoch, 1, [3])
    assert submit_one(pool, new_job(2, request_id="a", body="b")).output_tokens == 3
    pool.commit(epoch, LogBatch(ends=(end(1),)))
    assert submit_one(pool, new_job(3, request_id="a", body="b")).state is JobState.SUCCEEDED


def test_an_id_is_given_once(pool: JobPool) -> None:
    submit_one(pool, new_job(1))
    (answer,) = pool.submit([new_job(1, body="other")])
    assert isinstance(answer, InvariantViolation)


def test_claims_are_oldest_first_and_once(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n) for n in range(5)])
    first = pool.claim(epoch, 3)
    assert [r.job.job_id for r in first] == [job_id(n) for n in range(3)]
    assert all(r.state is JobState.CLAIMED and r.epoch == epoch for r in first)
    assert [r.job.job_id for r in pool.claim(epoch, 3)] == [job_id(3), job_id(4)]
    assert pool.claim(epoch, 3) == []
    assert pool.get(job_id(0)).epoch == epoch


@pytest.mark.parametrize("counts", [[1], [511], [512], [513], [300, 300], [1] * 40, [1500], [511, 1, 511, 1, 7]])
def test_a_later_owner_takes_over_what_was_logged(pool: JobPool, counts: list[int]) -> None:
    old = pool.open_epoch("a")
    pool.submit([new_job(n, prompt=[n + 5], priority=-3 * n, earlier_output_tokens=40 + n) for n in range(2)])
    pool.claim(old, 9)
    length = logged(pool, old, 0, counts)
    check_log(pool, 0, length)
    new = pool.open_epoch("b")
    assert new > old
    taken = pool.claim(new, 9)
    assert [len(r.generated) for r in taken] == [length, 0]
    assert [r.job.prompt.tolist() for r in taken] == [[5], [6]]
    assert [(r.job.asked.priority, r.job.earlier_output_tokens) for r in taken] == [(0, 40), (-3, 41)]
    length = logged(pool, new, 0, [4])
    check_log(pool, 0, length)


def test_old_owners_write_nothing(pool: JobPool) -> None:
    old = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(old, 1)
    new = pool.open_epoch("b")
    for write in (
        lambda: pool.commit(old, LogBatch((entry(1, 0, 1),))),
        lambda: pool.commit(old, LogBatch(ends=(end(1),))),
        lambda: pool.claim(old, 1),
        lambda: pool.mark_crash(old, [job_id(1)]),
    ):
        with pytest.raises(WrongState):
            write()
    stored = pool.get(job_id(1))
    assert (stored.state, stored.output_tokens, stored.crashes) == (JobState.CLAIMED, 0, 0)
    assert len(pool.claim(new, 1)) == 1


def _refused_batches() -> dict[str, LogBatch]:
    return {
        "a gap": LogBatch((entry(2, 2, 1), entry(1, 4, 1))),
        "a repeat": LogBatch((entry(2, 2, 1), entry(1, 2, 1))),
        "an unclaimed job": LogBatch((entry(2, 2, 1), entry(3, 0, 1))),
        "an unknown job": LogBatch((entry(2, 2, 1), entry(9, 0, 1))),
        "an ended job": LogBatch((entry(2, 2, 1), entry(4, 0, 1))),
        "an end of an ended job": LogBatch((entry(2, 2, 1),), (end(4),)),
        "two ends": LogBatch((entry(2, 2, 1),), (end(1), end(1))),
        "two entries": LogBatch((entry(1, 3, 1), entry(1, 4, 1))),
        "logprobs of another number": LogBatch((entry(2, 2, 2, (None,)),)),
    }


@pytest.mark.parametrize("what", list(_refused_batches()))
def test_a_commit_that_does_not_fit_is_refused_as_a_whole(pool: JobPool, what: str) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n) for n in (1, 2, 4)])
    pool.claim(epoch, 9)
    submit_one(pool, new_job(3))
    pool.commit(epoch, LogBatch((entry(1, 0, 3), entry(2, 0, 2)), (end(4),)))
    with pytest.raises(InvariantViolation):
        pool.commit(epoch, _refused_batches()[what])
    check_log(pool, 1, 3)
    check_log(pool, 2, 2)
    assert pool.get(job_id(1)).state is JobState.CLAIMED
    pool.commit(epoch, LogBatch((entry(1, 3, 1), entry(2, 2, 1))))
    check_log(pool, 1, 4)


@pytest.mark.parametrize("reason", list(FinishReason))
def test_ends(pool: JobPool, reason: FinishReason) -> None:
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(epoch, 1)
    pool.commit(epoch, LogBatch((entry(1, 0, 2),), (end(1, reason, NOW + 9),)))
    stored = pool.get(job_id(1))
    assert (stored.state, stored.finish, stored.finished_unix_ns) == (reason.state, reason, NOW + 9)
    assert stored.failure == (("POISON_JOB", "It broke.") if reason is FinishReason.FAILED else None)
    assert stored.account_json == '{"queued_ns":1}'
    check_log(pool, 1, 2)
    assert pool.tokens(job_id(1), 2).record.state.final
    assert pool.claim(pool.open_epoch("b"), 9) == []


def test_an_empty_entry_is_no_entry(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(epoch, 1)
    pool.commit(epoch, LogBatch((entry(1, 0, 0),)))
    pool.commit(epoch, LogBatch())
    check_log(pool, 1, 0)


def test_logprobs_lie_beside_their_tokens(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(1, logprobs=2), new_job(2)])
    pool.claim(epoch, 9)
    given = tuple(
        None if at % 5 == 0 else TokenLogprobs(-at / 7, ((at, -0.5), (3, float("-inf")))) for at in range(900)
    )
    for start in range(0, 900, 90):
        rows = entry(1, start, 90, given[start : start + 90])
        pool.commit(epoch, LogBatch((rows, entry(2, start, 90))))
    for offset in (0, 89, 511, 512, 513, 899, 900):
        assert pool.tokens(job_id(1), offset).logprobs == given[offset:]
    assert pool.tokens(job_id(2), 0).logprobs is None
    pool.commit(epoch, LogBatch((LogEntry(job_id(1), 900, np.array([5], dtype=np.int32)),), (end(1),)))
    assert pool.tokens(job_id(1), 899).logprobs == (given[899], None)


@pytest.mark.parametrize("offset", [-1, 4, 2**40])
def test_offsets_beyond_the_log(pool: JobPool, offset: int) -> None:
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(epoch, 1)
    logged(pool, epoch, 1, [3])
    with pytest.raises(OffsetOutOfRange) as refused:
        pool.tokens(job_id(1), offset)
    assert (refused.value.field, refused.value.limit) == ("offset", "0..3")


def test_what_is_not_there_is_not_found(pool: JobPool) -> None:
    for ask in (lambda: pool.get(job_id(1)), lambda: pool.tokens(job_id(1), 0), lambda: pool.cancel(job_id(1), "")):
        with pytest.raises(NotFound):
            ask()


def test_cancel(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(1), new_job(2), new_job(3)])
    pool.claim(epoch, 2)
    waiting = pool.cancel(job_id(3), "no longer needed")
    assert (waiting.state, waiting.finish) == (JobState.CANCELLED, FinishReason.CANCELLED)
    assert waiting.finished_unix_ns is not None
    running = pool.cancel(job_id(1), "\ud800")
    assert (running.state, running.cancel_requested) == (JobState.CLAIMED, True)
    pool.commit(epoch, LogBatch((entry(1, 0, 1),), (end(1, FinishReason.CANCELLED),)))
    pool.commit(epoch, LogBatch(ends=(end(2),)))
    over = pool.cancel(job_id(2), "too late")
    assert (over.state, over.cancel_requested) == (JobState.SUCCEEDED, False)
    assert pool.claim(pool.open_epoch("b"), 9) == []


def test_a_cancel_outlives_its_owner(pool: JobPool) -> None:
    submit_one(pool, new_job(1))
    pool.claim(pool.open_epoch("a"), 1)
    pool.cancel(job_id(1), "")
    (taken,) = pool.claim(pool.open_epoch("b"), 1)
    assert taken.cancel_requested


def test_crashes_are_counted_for_claimed_jobs(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(1), new_job(2)])
    pool.claim(epoch, 1)
    pool.mark_crash(epoch, [job_id(1), job_id(2), job_id(9)])
    pool.mark_crash(epoch, [job_id(1)])
    assert [pool.get(job_id(n)).crashes for n in (1, 2)] == [2, 0]
    assert [r.crashes for r in pool.claim(pool.open_epoch("b"), 9)] == [2, 0]


def test_the_sweep_expires_and_forgets(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(1, deadline_unix_ns=NOW), new_job(2, deadline_unix_ns=NOW + 2), new_job(3, request_id="r")])
    assert pool.sweep(NOW - 1, 100) == Swept()
    assert pool.sweep(NOW, 100) == Swept((job_id(1),))
    assert (pool.get(job_id(1)).state, pool.get(job_id(1)).finished_unix_ns) == (JobState.EXPIRED, NOW)
    assert [r.job.job_id for r in pool.claim(epoch, 9)] == [job_id(2), job_id(3)]
    logged(pool, epoch, 3, [600, 5])
    pool.commit(epoch, LogBatch(ends=(end(3, finished_unix_ns=NOW + 1),)))
    assert pool.sweep(NOW + 100, 100) == Swept()
    assert pool.sweep(NOW + 101, 100) == Swept(forgotten=1)  # job 1; the claimed job 2 is the engine's to expire
    with pytest.raises(NotFound):
        pool.get(job_id(1))
    assert pool.sweep(NOW + 102, 100) == Swept(forgotten=1)
    with pytest.raises(NotFound):
        pool.tokens(job_id(3), 0)
    assert submit_one(pool, new_job(4, request_id="r", body="another")).job.job_id == job_id(4)
    assert pool.get(job_id(2)).state is JobState.CLAIMED


def test_depth_counts_by_state(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n) for n in range(6)])
    pool.claim(epoch, 3)
    pool.commit(epoch, LogBatch(ends=(end(0),)))
    depth = pool.depth()
    assert (depth.accepted, depth.claimed, depth.final) == (3, 2, 1)


def test_unfinished_jobs_have_their_tenant_and_their_deadline(pool: JobPool) -> None:
    assert pool.unfinished() == []
    epoch = pool.open_epoch("a")
    others = [replace(new_job(n, deadline_unix_ns=NOW + n), tenant=TenantId("other")) for n in (4, 5, 6)]
    pool.submit([*(new_job(n) for n in range(4)), *others])
    pool.claim(epoch, 3)
    pool.commit(epoch, LogBatch(ends=(end(0),)))
    pool.cancel(new_job(6).job_id, "")
    mine = [OpenJob(job_id(n), new_job(0).tenant, None) for n in (1, 2, 3)]
    assert sorted(pool.unfinished()) == sorted(
        [*mine, *(OpenJob(job_id(n), TenantId("other"), NOW + n) for n in (4, 5))]
    )


def _listed(pool: JobPool, query: JobQuery) -> list[list[str]]:
    pages = []
    while True:
        page = pool.list(query)
        pages.append([record.job.job_id for record in page.jobs])
        if not page.next_page_token:
            return pages
        query = JobQuery(query.tenant, query.states, query.page_size, page.next_page_token)


def test_lists_are_newest_first_in_pages_of_one_tenant(pool: JobPool) -> None:
    pool.submit([new_job(n, tenant="red" if n % 2 else "blue") for n in range(10)])
    assert _listed(pool, JobQuery(RED, page_size=2)) == [
        [job_id(9), job_id(7)], [job_id(5), job_id(3)], [job_id(1)],
    ]  # fmt: skip
    assert _listed(pool, JobQuery(RED, page_size=5)) == [[job_id(n) for n in (9, 7, 5, 3, 1)]]
    assert _listed(pool, JobQuery(None)) == [[job_id(n) for n in range(9, -1, -1)]]
    assert _listed(pool, JobQuery(TenantId("nobody"))) == [[]]


def test_lists_by_state(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n) for n in range(4)])
    pool.claim(epoch, 2)
    pool.commit(epoch, LogBatch(ends=(end(0),)))
    for states, numbers in (
        ({JobState.SUCCEEDED}, [0]),
        ({JobState.CLAIMED, JobState.ACCEPTED}, [3, 2, 1]),
        ({JobState.FAILED}, []),
    ):
        assert _listed(pool, JobQuery(None, frozenset(states))) == [[job_id(n) for n in numbers]]


def test_new_jobs_do_not_disturb_a_list(pool: JobPool) -> None:
    pool.submit([new_job(n) for n in range(4)])
    first = pool.list(JobQuery(None, page_size=2))
    pool.submit([new_job(n) for n in range(4, 8)])
    second = pool.list(JobQuery(None, page_size=2, page_token=first.next_page_token))
    assert [r.job.job_id for r in second.jobs] == [job_id(1), job_id(0)]


def test_page_tokens_grant_nothing(pool: JobPool) -> None:
    pool.submit([new_job(n, tenant="red" if n < 6 else "blue") for n in range(9)])
    token = pool.list(JobQuery(RED, page_size=2)).next_page_token
    good = JobQuery(RED, page_size=2, page_token=token)
    assert [r.job.job_id for r in pool.list(good).jobs] == [job_id(3), job_id(2)]
    flipped = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    for query in (
        JobQuery(TenantId("blue"), page_size=2, page_token=token),
        JobQuery(None, page_size=2, page_token=token),
        JobQuery(RED, frozenset({JobState.FAILED}), 2, token),
        JobQuery(RED, page_size=2, page_token=flipped),
        *(
            JobQuery(RED, page_size=2, page_token=text)
            for text in ("1", "x" * 32, token + "A", token + "=", "é", " ", "\x00")
        ),
    ):
        with pytest.raises(InvalidInput) as refused:
            pool.list(query)
        assert refused.value.field == "page_token"


def test_errors_show_nothing_of_the_inside(pool: JobPool) -> None:
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    said = []
    for ask in (
        lambda: pool.get(job_id(2)),
        lambda: pool.commit(epoch, LogBatch((entry(1, 0, 1),))),
        lambda: pool.commit(epoch + 1, LogBatch()),
        lambda: pool.list(JobQuery(None, page_token="'; DROP TABLE job; --")),
    ):
        with pytest.raises(SkipjoinError) as refused:
            ask()
        said.append(str(refused.value))
    for word in ("SELECT", "sqlite", "DROP", "/", "KeyError", job_id(2)):
        assert not any(word in text for text in said), word
