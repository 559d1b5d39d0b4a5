"""Every public value survives its message, and nonsense in a message names its field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.asked import Asked
from skipjoin.core.errors import InvalidInput
from skipjoin.core.ids import JobId, Level, TenantId
from skipjoin.core.job import FinishReason, JobAccount, JobState, LevelCause
from skipjoin.core.logprobs import TokenLogprobs
from skipjoin.core.sampling import MAX_SEED, SamplingParams
from skipjoin.core.view import ChatMessage, Chunk, Finish, JobEvent, JobEventKind, JobList, JobSpec, JobView
from skipjoin.proto import convert, terms
from skipjoin.proto import job_pool_pb2 as pb

NS = st.integers(0, 2**62)
UNIX_NS = st.integers(0, 253402300799 * 10**9)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TOKEN = st.integers(0, 2**31 - 1)
SAMPLING = st.builds(
    SamplingParams,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 2**20),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0, 10, exclude_min=True),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    seed=st.none() | st.integers(0, MAX_SEED),
    max_new_tokens=st.none() | st.integers(1, 2**20),
    stop=st.lists(TEXT.filter(bool), max_size=3).map(tuple),
    stop_token_ids=st.lists(TOKEN, max_size=3).map(tuple),
    ignore_eos=st.booleans(),
    logprobs=st.none() | st.integers(0, 20),
)
PRIORITY = st.integers(-100, 100)
ASKED = st.builds(Asked, SAMPLING, PRIORITY)
PROMPT = st.one_of(
    st.fixed_dictionaries({"text": TEXT}),
    st.fixed_dictionaries({"token_ids": st.lists(TOKEN, max_size=9).map(tuple)}),
    st.fixed_dictionaries(
        {"messages": st.lists(st.builds(ChatMessage, TEXT, TEXT, st.none() | TEXT), max_size=3).map(tuple)}
    ),
)
SPEC = st.builds(
    lambda prompt, asked, **rest: JobSpec(**prompt, **asked, **rest),
    PROMPT,
    st.builds(dict, asked=ASKED, sampling_given=st.none()) | st.builds(dict, asked=st.builds(Asked, priority=PRIORITY)),
    timeout_ns=st.none() | st.integers(1, 10**18),
    cancel_on_disconnect=st.booleans(),
)
ACCOUNT = st.builds(JobAccount, *[NS] * 9, first_token_ns=st.none() | NS)
FAILURE = st.none() | st.tuples(TEXT, TEXT)
LOGPROBS = st.builds(
    TokenLogprobs,
    st.floats(allow_nan=False),
    st.lists(st.tuples(TOKEN, st.floats(allow_nan=False)), max_size=3).map(tuple),
)
FINISH = st.builds(Finish, st.sampled_from(FinishReason), NS, FAILURE, st.none() | ACCOUNT)
JOB = st.builds(
    JobView,
    job_id=TEXT.map(JobId),
    state=st.sampled_from(JobState),
    prompt_tokens=NS,
    asked=ASKED,
    submitted_unix_ns=UNIX_NS,
    tenant=TEXT.map(TenantId),
    request_id=st.none() | TEXT,
    output_tokens=NS,
    deadline_unix_ns=st.none() | UNIX_NS,
    finished_unix_ns=st.none() | UNIX_NS,
    finish=st.none() | st.sampled_from(FinishReason),
    failure=FAILURE,
    account=st.none() | ACCOUNT,
    cancel_requested=st.booleans(),
    cancel_on_disconnect=st.booleans(),
)
CHUNK = st.lists(st.tuples(TOKEN, LOGPROBS), max_size=5).flatmap(
    lambda rows: st.builds(
        Chunk,
        offset=NS,
        token_ids=st.just(tuple(token for token, _ in rows)),
        text=TEXT,
        logprobs=st.none() | st.just(tuple(entry for _, entry in rows)) if rows else st.none(),
        finish=st.none() | FINISH,
    )
)
EVENT = st.builds(
    JobEvent,
    kind=st.sampled_from(JobEventKind),
    unix_ns=UNIX_NS,
    level=st.none() | st.integers(1, 99).map(Level),
    old_level=st.none() | st.integers(1, 99).map(Level),
    cause=st.none() | st.sampled_from(LevelCause),
    tokens=st.none() | NS,
)


def jobs_to_wire(page: JobList) -> pb.ListResponse:
    jobs = [convert.job_to_wire(job) for job in page.jobs]
    return pb.ListResponse(jobs=jobs, next_page_token=page.next_page_token)


PAIRS: dict[str, tuple[Any, Any, Any]] = {
    "sampling": (SAMPLING, terms.sampling_to_wire, terms.sampling_from_wire),
    "spec": (SPEC, convert.spec_to_wire, convert.spec_from_wire),
    "account": (ACCOUNT, terms.account_to_wire, terms.account_from_wire),
    "logprobs": (LOGPROBS, terms.logprobs_to_wire, terms.logprobs_from_wire),
    "finish": (FINISH, convert.finish_to_wire, convert.finish_from_wire),
    "job": (JOB, convert.job_to_wire, convert.job_from_wire),
    "jobs": (
        st.builds(JobList, st.lists(JOB, max_size=2).map(tuple), TEXT),
        jobs_to_wire,
        convert.jobs_from_wire,
    ),
    "chunk": (CHUNK, convert.chunk_to_wire, convert.chunk_from_wire),
    "event": (EVENT, convert.event_to_wire, convert.event_from_wire),
}


@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data())
def test_a_value_survives_its_message(name: str, data: st.DataObject) -> None:
    values, to_wire, from_wire = PAIRS[name]
    value = data.draw(values)
    message = to_wire(value)
    assert from_wire(type(message).FromString(message.SerializeToString())) == value


def test_all_pairs_of_the_module_are_tried() -> None:
    made = {name.removesuffix("_to_wire") for name in dir(convert) if name.endswith("_to_wire")}
    # failure and time are parts of every job; state is in convert's names only if a job uses it.
    assert made - {"failure", "time"} == set(PAIRS) - {
        "jobs",
        "sampling",
    }  # a page is written job by job; proto/asked writes sampling


@given(SAMPLING)
def test_unset_sampling_takes_the_defaults(defaults: SamplingParams) -> None:
    assert terms.sampling_from_wire(pb.SamplingParams(), defaults) == defaults
    given_one = terms.sampling_from_wire(pb.SamplingParams(temperature=0.0, ignore_eos=False, top_k=0), defaults)
    assert (given_one.temperature, given_one.ignore_eos, given_one.top_k) == (0.0, False, 0)
    assert given_one.top_p == defaults.top_p


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", math.nan),
        ("temperature", -0.5),
        ("top_p", 0.0),
        ("top_k", 2**40),
        ("max_new_tokens", 0),
        ("max_new_tokens", -1),
        ("seed", -1),
        ("logprobs", 10**6),
        ("frequency_penalty", math.inf),
    ],
)
def test_a_sampling_field_out_of_bounds_is_named_with_its_path(field: str, value: float) -> None:
    message = pb.JobSpec(text="x", sampling=pb.SamplingParams(**{field: value}))
    with pytest.raises(InvalidInput) as caught:
        convert.spec_from_wire(message)
    assert caught.value.field == f"sampling.{field}"
    assert caught.value.limit


def test_no_prompt_and_two_prompts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="exactly one"):
        convert.spec_from_wire(pb.JobSpec())
    with pytest.raises(InvalidInput, match="exactly one"):
        JobSpec(text="a", token_ids=(1,))


def test_timeouts_must_be_positive() -> None:
    message = pb.JobSpec(text="x")
    message.timeout.FromNanoseconds(-5)
    with pytest.raises(InvalidInput) as caught:
        convert.spec_from_wire(message)
    assert caught.value.field == "timeout"


def test_text_that_is_no_text_and_ids_that_are_no_ids_are_refused_before_the_wire() -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        convert.spec_to_wire(JobSpec(text="a\ud800"))
    with pytest.raises(InvalidInput, match="surrogate"):
        convert.spec_to_wire(JobSpec(messages=(ChatMessage("user", "a\ud800"),)))
    with pytest.raises(InvalidInput) as caught:
        convert.spec_to_wire(JobSpec(token_ids=(1, 2**40)))
    assert caught.value.field == "token_ids"


@pytest.mark.parametrize("number", [0, 99])
def test_unknown_enum_values_are_named(number: int) -> None:
    for read in (terms.state_from_wire, terms.reason_from_wire, terms.kind_from_wire, terms.cause_from_wire):
        with pytest.raises(InvalidInput, match=str(number)):
            read(number)
    with pytest.raises(InvalidInput) as caught:
        terms.states_from_wire([1, number])
    assert caught.value.field == "states"


def test_logprobs_must_fit_their_tokens() -> None:
    with pytest.raises(InvalidInput, match="logprobs"):
        convert.chunk_from_wire(pb.Chunk(token_ids=[1, 2], logprobs=[pb.TokenLogprobs(chosen=-1.0)]))
    with pytest.raises(InvalidInput, match="length"):
        terms.logprobs_from_wire(pb.TokenLogprobs(top_token_ids=[1]))


@pytest.mark.parametrize(
    ("seconds", "nanos", "ns"),
    [
        (1, -1, None),
        (-1, 1, None),
        (0, 1_000_000_000, None),
        (0, -1_000_000_000, None),
        (2**62, 0, None),
        (1, 500_000_000, 1_500_000_000),
        (-1, -1, -1_000_000_001),
        (0, -1, -1),
        (0, 0, 0),
    ],
)
def test_a_duration_has_one_sign_and_less_than_a_second_behind_it(seconds: int, nanos: int, ns: int | None) -> None:
    message = Duration(seconds=seconds, nanos=nanos)
    if ns is not None:
        assert terms.duration_from_wire(message, "timeout") == ns
        return
    with pytest.raises(InvalidInput, match="no duration") as caught:
        terms.duration_from_wire(message, "timeout")
    assert caught.value.field == "timeout"
    with pytest.raises(InvalidInput, match="no duration"):
        convert.spec_from_wire(pb.JobSpec(text="x", timeout=message))


def test_lists_of_millions_are_refused_by_their_length() -> None:
    for sampling in (pb.SamplingParams(stop=[""] * 1_000_000), pb.SamplingParams(stop_token_ids=[1] * 1_000_000)):
        with pytest.raises(InvalidInput, match="1000000 entries") as caught:
            terms.sampling_from_wire(sampling)
        assert caught.value.field is not None
        assert caught.value.field.startswith("sampling.stop")
    with pytest.raises(InvalidInput, match="states") as caught:
        terms.states_from_wire([1] * 1_000_000)
    assert caught.value.field == "states"
