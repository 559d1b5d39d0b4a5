"""What the door refuses before the engine hears of it, and what it fills in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvalidInput, NeverFits
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import TenantId
from skipjoin.core.pool import NewJob
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import ChatMessage, JobSpec
from skipjoin.serving.door.intake import Intake, check_job_id
from skipjoin.serving.door.text import ByteTokenizer, PlainText
from skipjoin.serving.facts import EngineFacts, EngineWords

ROOM = 640
FACTS = EngineFacts(
    ExecutorFacts(1, ROOM // 16, 0, 16, 1, 2000, 257), "skipjoin", EngineWords(8, "cpu", "float32", "m", "p")
)


def _job(spec: JobSpec, request_id: str | None = None, tokenizer: ByteTokenizer | None = None) -> NewJob:
    tokenizer = tokenizer or ByteTokenizer()
    intake = Intake(tokenizer, SamplingParams(temperature=0.5), default_max_new_tokens=100, job_cap_s=60.0)
    return asyncio.run(intake.job(spec, TenantId("t"), request_id, FACTS))


def test_what_is_left_out_is_filled_in() -> None:
    job = _job(JobSpec(text="hello"))
    assert job.prompt.tolist() == list(b"hello")
    assert job.asked.sampling.temperature == 0.5
    assert job.asked.sampling.max_new_tokens == 100
    assert job.asked.sampling.seed is not None
    assert job.deadline_unix_ns == job.submitted_unix_ns + 60 * 10**9


def test_the_default_length_shrinks_with_the_room() -> None:
    assert _job(JobSpec(token_ids=(1,) * (ROOM - 7))).asked.sampling.max_new_tokens == 7


def test_the_context_bounds_where_the_pool_does_not() -> None:
    small = EngineFacts(ExecutorFacts(1, 1000, 0, 16, 1, 64, 257), "fcfs", FACTS.words)
    assert small.job_tokens == 64


def test_equal_bodies_have_equal_digests_whatever_was_drawn() -> None:
    one, two = _job(JobSpec(text="a")), _job(JobSpec(text="a"))
    assert one.asked.sampling.seed != two.asked.sampling.seed
    assert one.body_digest == two.body_digest
    others = [
        JobSpec(text="b"),
        JobSpec(text="a", asked=Asked(SamplingParams(temperature=0.5, seed=1)), sampling_given=None),
        JobSpec(text="a", asked=Asked(SamplingParams(temperature=0.5, max_new_tokens=100)), sampling_given=None),
        JobSpec(text="a", timeout_ns=10**9),
        JobSpec(text="a", cancel_on_disconnect=True),
        JobSpec(text="a", asked=Asked(priority=1)),
        JobSpec(text="a", asked=Asked(priority=-1)),
    ]
    digests = {_job(spec).body_digest for spec in others}
    assert len(digests) == len(others)
    assert one.body_digest not in digests


def test_a_body_without_a_priority_has_the_digest_that_it_had_before_there_were_any() -> None:
    """A submit that is repeated after an update of the server is still the first job."""
    stored = "1a63756097c6e0c8aa337e98ddaf02a985c9d24120b3de8c88f4aecf1b6d5622"
    assert _job(JobSpec(text="a")).body_digest.hex() == stored


def test_a_priority_is_taken_as_it_is() -> None:
    specs = [JobSpec(text="a", asked=Asked(priority=given)) for given in (-100, 0, 7)]
    assert [_job(spec).asked.priority for spec in specs] == [-100, 0, 7]


class _BeginsTexts(ByteTokenizer):
    """As a model whose texts begin with a token of their own; conversations say themselves how they
    begin.
    """

    def encode(self, text: str, most_tokens: int | None = None) -> list[int]:
        return [0, *super().encode(text, most_tokens)]


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), _BeginsTexts()])
@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        (["user"], 0),
        (["user", "assistant:", "user"], 0),
        (["user", "assistant:four", "user"], 4),
        (["user", "assistant:the older one", "user", "assistant:new", "user", "system"], 3),
        (["assistant:twenty tokens in all"], 20),
    ],
)
def test_the_newest_answer_of_a_conversation_is_counted(tokenizer: ByteTokenizer, said: list[str], tokens: int) -> None:
    turns = tuple(ChatMessage(role, text) for role, _, text in (one.partition(":") for one in said))
    assert _job(JobSpec(messages=turns), tokenizer=tokenizer).earlier_output_tokens == tokens


def test_a_plain_prompt_has_no_earlier_answer() -> None:
    assert _job(JobSpec(text="assistant: hello")).earlier_output_tokens == 0
    assert _job(JobSpec(token_ids=(1, 2))).earlier_output_tokens == 0


def test_a_long_answer_is_counted_in_part_and_never_beyond_the_prompt() -> None:
    class Short(ByteTokenizer):
        """Its template leaves almost everything out."""

        asked = 0

        def encode(self, text: str, most_tokens: int | None = None) -> Sequence[int]:
            self.asked = max(self.asked, len(text))
            return super().encode(text, most_tokens)

        def render(self, messages: Sequence[ChatMessage], most_tokens: int | None = None) -> PlainText:
            return PlainText("abc")

    short = Short()
    job = _job(JobSpec(messages=(ChatMessage("assistant", "x" * 1_000_000),)), tokenizer=short)
    assert (job.earlier_output_tokens, short.asked) == (3, 2**16)


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
        (
            JobSpec(text="abc", asked=Asked(SamplingParams(max_new_tokens=ROOM - 2)), sampling_given=None),
            NeverFits,
            "sampling.max_new_tokens",
        ),
        (
            JobSpec(text="abc", asked=Asked(SamplingParams(stop_token_ids=(257,))), sampling_given=None),
            InvalidInput,
            "stop_token_ids",
        ),
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
