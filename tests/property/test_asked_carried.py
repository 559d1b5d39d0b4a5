"""What a caller asks comes whole through every form of a request.

The forms are messages, the job pool, a record and the callers' arguments. A new field of `Asked`
needs a value here, and fails where it is lost.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipjoin.client.asked import spec_of
from skipjoin.core.asked import OPTIONS, Asked, AskedOptions, AskedOptionsEach, options_of_each
from skipjoin.core.errors import InvalidInput
from skipjoin.core.events import Submitted
from skipjoin.core.ids import DEFAULT_TENANT, Handle, JobId
from skipjoin.core.job import JobState
from skipjoin.core.jobpool import JobPool
from skipjoin.core.pool import JobRecord, NewJob, view_of
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import JobSpec
from skipjoin.engine.record_lines import event_of, line_of
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.jobpool.sqlite import SqliteJobPool
from skipjoin.proto import convert, engine_pb2, events
from skipjoin.serving.door.intake import body_digest
from skipjoin.serving.http.openai.request import completion_asked

VALUES: dict[str, Any] = {"priority": -7}
SAMPLING = SamplingParams(temperature=0.5, seed=1, max_new_tokens=9, stop=("é",), stop_token_ids=(4,), logprobs=2)
ASKED = Asked(SAMPLING, **VALUES)
BOTH = pytest.mark.parametrize("asked", [ASKED, Asked(SAMPLING)], ids=["all", "none"])
PROMPT = np.arange(3, dtype=np.int32)


def new_job(asked: Asked) -> NewJob:
    return NewJob(JobId("a" * 32), DEFAULT_TENANT, None, b"d" * 32, PROMPT, asked, 1)


def test_every_option_is_tried_with_another_value_than_its_default() -> None:
    assert set(VALUES) == set(OPTIONS) == {field.name for field in fields(Asked)} - {"sampling"}
    assert all(VALUES[name] != option.default for name, option in OPTIONS.items())
    assert set(AskedOptions.__annotations__) == set(AskedOptionsEach.__annotations__) == set(OPTIONS)
    assert not {field.name for field in fields(SamplingParams)} & set(OPTIONS)


@BOTH
def test_messages(asked: Asked) -> None:
    spec = JobSpec(text="a", asked=asked, sampling_given=None)
    assert convert.spec_from_wire(convert.spec_to_wire(spec)) == spec
    view = view_of(JobRecord(new_job(asked), JobState.ACCEPTED))
    assert convert.job_from_wire(convert.job_to_wire(view)).asked == asked
    message = engine_pb2.EngineEvent()
    events.write_event(message, Submitted(Handle(1), 3, asked, 7))
    read = events.read_event(message)
    assert isinstance(read, Submitted) and read.asked == asked


@BOTH
def test_a_record(asked: Asked) -> None:
    read = event_of(json.loads(json.dumps(line_of(Submitted(Handle(1), 3, asked, 7)))))
    assert isinstance(read, Submitted) and read.asked == asked


@BOTH
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_job_pool(kind: str, asked: Asked, tmp_path: Path) -> None:
    pool: JobPool = MemoryJobPool() if kind == "memory" else SqliteJobPool(tmp_path / "jobs.db")
    pool.submit([new_job(asked)])
    assert pool.get(new_job(asked).job_id).job.asked == asked
    (taken,) = pool.claim(pool.open_epoch("a"), 9)
    assert taken.job.asked == asked
    pool.close()


def test_callers_arguments() -> None:
    options: AskedOptions = {**VALUES}  # type: ignore[typeddict-item]
    assert spec_of("a", None, None, SAMPLING, None, False, options).asked == ASKED
    assert spec_of("a", None, None, None, None, False, options).asked == Asked(**VALUES)
    body = {"prompt": "a", **VALUES}
    assert completion_asked(body, SAMPLING, cancel_on_disconnect=False).spec.asked_with(SAMPLING) == ASKED


def test_what_is_asked_is_part_of_the_body() -> None:
    digests = set()
    for options in ({}, *({name: value} for name, value in VALUES.items())):
        asked = Asked(SAMPLING, **options)
        digests.add(body_digest(asked, JobSpec(text="a", asked=asked, sampling_given=None), PROMPT))
    assert len(digests) == 1 + len(VALUES)


def test_options_of_many_prompts_are_one_for_all_or_one_for_each() -> None:
    assert options_of_each(2, {}) == [{}, {}]
    assert options_of_each(2, {"priority": 3}) == [{"priority": 3}, {"priority": 3}]
    assert options_of_each(2, {"priority": [1, 2]}) == [{"priority": 1}, {"priority": 2}]
    with pytest.raises(InvalidInput, match="There are 2 prompts and 3 priorities"):
        options_of_each(2, {"priority": [1, 2, 3]})


def test_an_unknown_option_is_refused_as_an_unknown_argument_is() -> None:
    with pytest.raises(TypeError, match="'urgency' is no option"):
        spec_of("a", None, None, None, None, False, {"urgency": 1})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(TypeError, match="'urgency' is no option"):
        options_of_each(1, {"urgency": 1})


def test_sampling_that_was_not_given_is_not_said() -> None:
    with pytest.raises(AssertionError):
        JobSpec(text="a", asked=ASKED)
