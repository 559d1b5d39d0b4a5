"""The values a client sees: what is stored comes out as its owner may see it, and bad ones cannot
be made.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvalidInput, InvariantViolation
from skipjoin.core.ids import JobId, TenantId
from skipjoin.core.job import FinishReason, JobAccount, JobState
from skipjoin.core.pool import JobRecord, NewJob, finish_of, view_of
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import Chunk, Finish, JobSpec, check_request_id

NS = st.integers(0, 2**62)


@given(st.builds(JobAccount, *[NS] * 9, first_token_ns=st.none() | NS))
def test_an_account_survives_its_json(account: JobAccount) -> None:
    text = account.to_json()
    assert "\n" not in text
    assert JobAccount.from_json(text) == account


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"queued_ns": 1, "other": 2}', "nonsense"])
def test_an_account_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvariantViolation):
        JobAccount.from_json(text)


def test_the_view_of_a_record_holds_what_its_owner_may_see() -> None:
    account = JobAccount(1, 2, 3, 4, 5)
    sampling = SamplingParams(seed=3, max_new_tokens=9)
    asked = Asked(sampling, priority=-4)
    job = NewJob(
        JobId("a" * 32), TenantId("acme"), "r1", b"digest", np.arange(7, dtype=np.int32), asked, 10, 20, True, 8
    )
    record = JobRecord(
        job,
        JobState.FAILED,
        epoch=4,
        output_tokens=6,
        crashes=2,
        cancel_requested=True,
        finish=FinishReason.FAILED,
        failure=("POISON_JOB", "It crashed."),
        finished_unix_ns=15,
        account_json=account.to_json(),
    )
    view = view_of(record)
    assert (view.job_id, view.tenant, view.request_id) == (job.job_id, "acme", "r1")
    assert (view.state, view.finish, view.failure) == (JobState.FAILED, FinishReason.FAILED, record.failure)
    assert (view.prompt_tokens, view.output_tokens, view.sampling, view.account) == (7, 6, sampling, account)
    assert (view.submitted_unix_ns, view.deadline_unix_ns, view.finished_unix_ns) == (10, 20, 15)
    assert view.cancel_requested
    assert view.cancel_on_disconnect
    assert view.asked == asked
    assert view.priority == -4
    assert finish_of(record) == Finish(FinishReason.FAILED, 6, record.failure, account)
    assert view_of(JobRecord(job, JobState.ACCEPTED)).account is None


@pytest.mark.parametrize("bad", [-101, 101, 2**80, True, 1.0, "1", None])
def test_a_priority_is_a_whole_number_within_bounds(bad: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        JobSpec(text="a", asked=Asked(priority=bad))  # type: ignore[arg-type]
    assert (refused.value.field, refused.value.limit) == ("priority", "-100..100")
    assert [JobSpec(text="a", asked=Asked(priority=good)).asked.priority for good in (-100, 0, 100)] == [-100, 0, 100]


@pytest.mark.parametrize("bad", ["", "x" * 65, "a b", "a\n", "ü", "\x7f"])
def test_request_ids_are_short_and_printable(bad: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_request_id(bad)
    assert caught.value.field == "request_id"


def test_good_request_ids_pass() -> None:
    check_request_id("0b0e4a52-2f0f-4f57-9d3e-0d1bdf1f2a53")
    check_request_id("!" * 64)


def test_a_spec_has_one_prompt_and_a_positive_timeout() -> None:
    for wrong in ({}, {"text": "a", "token_ids": ()}, {"text": "a", "timeout_ns": 0}):
        with pytest.raises(InvalidInput):
            JobSpec(**wrong)  # type: ignore[arg-type]
    assert JobSpec(text="").text == ""


def test_a_chunk_knows_where_the_next_one_starts() -> None:
    assert Chunk(5, (1, 2, 3)).end == 8
    assert Chunk(5).end == 5
