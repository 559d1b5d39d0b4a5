"""What the door refuses before the engine hears of it, and what it fills in."""

from __future__ import annotations

import asyncio

import pytest

from skipjoin.core.errors import InvalidInput, NeverFits
from skipjoin.core.ids import TenantId
from skipjoin.core.pool import NewJob
from skipjoin.core.ports import ExecutorFacts
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import ChatMessage, JobSpec
from skipjoin.serving.facts import EngineFacts, EngineWords
from skipjoin.serving.intake import Intake, check_job_id
from skipjoin.serving.text import ByteTokenizer

ROOM = 640
FACTS = EngineFacts(
    ExecutorFacts(1, ROOM // 16, 0, 16, 1, 2000, 257), "skipjoin", EngineWords(8, "cpu", "float32", "m", "p")
)


def _job(spec: JobSpec, request_id: str | None = None) -> NewJob:
    intake = Intake(ByteTokenizer(), SamplingParams(temperature=0.5), default_max_new_tokens=100, job_cap_s=60.0)
    return asyncio.run(intake.job(spec, TenantId("t"), request_id, FACTS))


def test_what_is_left_out_is_filled_in() -> None:
    job = _job(JobSpec(text="hello"))
    assert job.prompt.tolist() == list(b"hello")
    assert job.sampling.temperature == 0.5
    assert job.sampling.max_new_tokens == 100
    assert job.sampling.seed is not None
    assert job.deadline_unix_ns == job.submitted_unix_ns + 60 * 10**9


def test_the_default_length_shrinks_with_the_room() -> None:
    assert _job(JobSpec(token_ids=(1,) * (ROOM - 7))).sampling.max_new_tokens == 7


def test_the_context_bounds_where_the_pool_does_not() -> None:
    small = EngineFacts(ExecutorFacts(1, 1000, 0, 16, 1, 64, 257), "fcfs", FACTS.words)
    assert small.job_tokens == 64


def test_equal_bodies_have_equal_digests_whatever_was_drawn() -> None:
    one, two = _job(JobSpec(text="a")), _job(JobSpec(text="a"))
    assert one.sampling.seed != two.sampling.seed
    assert one.body_digest == two.body_digest
    others = [
        JobSpec(text="b"),
        JobSpec(text="a", sampling=SamplingParams(temperature=0.5, seed=1)),
        JobSpec(text="a", sampling=SamplingParams(temperature=0.5, max_new_tokens=100)),
        JobSpec(text="a", timeout_ns=10**9),
        JobSpec(text="a", cancel_on_disconnect=True),
    ]
    digests = {_job(spec).body_digest for spec in others}
    assert len(digests) == len(others)
    assert one.body_digest not in digests


def test_a_conversation_and_its_tokens() -> None:
    job = _job(JobSpec(messages=(ChatMessage("user", "hi"),)))
    assert bytes(job.prompt.tolist()).endswith(b"assistant: ")


@pytest.mark.parametrize(
    ("spec", "error", "field"),
    [
        (JobSpec(text=""), InvalidInput, "text"),
        (JobSpec(token_ids=()), InvalidInput, "token_ids"),
        (JobSpec(messages=()), InvalidInput, "messages"),
        (JobSpec(messages=(ChatMessage("root", "x"),)), InvalidInput, "messages[0].role"),
        (JobSpec(text="a\ud800"), InvalidInput, "text"),
        (JobSpec(token_ids=(0, 1, -1)), InvalidInput, "token_ids"),
        (JobSpec(token_ids=(257,)), InvalidInput, "token_ids"),
        (JobSpec(token_ids=(2**31 - 1,)), InvalidInput, "token_ids"),
        (JobSpec(token_ids=(2**70,)), InvalidInput, "token_ids"),
        (JobSpec(token_ids=(1,) * ROOM), NeverFits, "token_ids"),
        (JobSpec(text="x" * 100_000), NeverFits, "text"),
        (JobSpec(text="abc", sampling=SamplingParams(max_new_tokens=ROOM - 2)), NeverFits, "sampling.max_new_tokens"),
        (JobSpec(text="abc", sampling=SamplingParams(stop_token_ids=(257,))), InvalidInput, "stop_token_ids"),
        (JobSpec(text="abc", timeout_ns=61 * 10**9), InvalidInput, "timeout"),
    ],
)
def test_bad_input_names_its_field(spec: JobSpec, error: type[InvalidInput], field: str) -> None:
    with pytest.raises(error) as refused:
        _job(spec)
    assert refused.value.field == field
    assert refused.value.limit is not None or field in refused.value.message


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "new\nline", "é"])
def test_bad_request_ids_are_refused(request_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _job(JobSpec(text="a"), request_id)
    assert refused.value.field == "request_id"


@pytest.mark.parametrize("job_id", ["", "..", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n", "' OR 1=1 --"])
def test_what_names_no_job_is_refused(job_id: str) -> None:
    with pytest.raises(InvalidInput):
        check_job_id(job_id)


def test_too_many_messages_are_counted() -> None:
    with pytest.raises(InvalidInput, match=r"4097 messages.*1\.\.4096"):
        _job(JobSpec(messages=(ChatMessage("user", "x"),) * 4097))
