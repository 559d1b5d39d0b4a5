"""The shapes of answers and errors, where a running server cannot easily be brought to show them."""

from __future__ import annotations

import json
import math

import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    JobCancelled,
    JobFailed,
    Overloaded,
    PoisonJob,
    SkipjoinError,
    Unauthenticated,
)
from skipjoin.core.ids import JobId
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.logprobs import TokenLogprobs
from skipjoin.core.view import Chunk, Finish, JobView
from skipjoin.serving.http.openai.answer import Shape, dumps, error_body, failure_of

JOB = JobView(JobId("a" * 32), JobState.CLAIMED, 4, Asked(), 7_000_000_000)
BYTES = (b"Hel", b"lo", b"\xc3", b"\xa9", b"")
ENTRIES = (
    TokenLogprobs(-0.5, ((0, -0.5), (1, -1.5))),
    TokenLogprobs(float("-inf"), ((1, float("-inf")),)),
    TokenLogprobs(math.nan),
)


def _shape(chat: bool) -> Shape:
    return Shape(JOB, "m", chat, BYTES)


def test_logprobs_of_a_completion() -> None:
    shape = _shape(chat=False)
    first = shape.chunk(Chunk(0, (0, 1), "Hello", ENTRIES[:2]), first=True)["choices"][0]["logprobs"]
    assert first == {
        "tokens": ["Hel", "lo"],
        "token_logprobs": [-0.5, -9999.0],
        "top_logprobs": [{"Hel": -0.5, "lo": -1.5}, {"lo": -9999.0}],
        "text_offset": [0, 3],
    }
    second = shape.chunk(Chunk(2, (4,), "", ENTRIES[2:]), first=False)["choices"][0]["logprobs"]
    assert second["text_offset"] == [5]
    assert second["token_logprobs"] == [None]
    json.loads(dumps(first), parse_constant=lambda name: pytest.fail(name))


def test_logprobs_of_a_conversation_have_bytes() -> None:
    finish = Finish(FinishReason.STOP, 2)
    answer = _shape(chat=True).answer("é", [Chunk(0, (2, 3), "é", (ENTRIES[0], ENTRIES[0]), finish)], finish)
    content = answer["choices"][0]["logprobs"]["content"]
    assert [entry["bytes"] for entry in content] == [[0xC3], [0xA9]]
    assert [[top["token"] for top in entry["top_logprobs"]] for entry in content] == [
        ["Hel", "lo", r"bytes:\xc3"],
        ["Hel", "lo", r"bytes:\xa9"],
    ]
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "é"}
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    assert (answer["id"], answer["created"]) == ("chatcmpl-" + "a" * 32, 7)


NAMES = {5: "</s>", 6: "<pad>"}
MANY = (b"a", b"\xc3", b"\xa9", b"\xf0\x9f", b"a", b"", b"", b"")


@pytest.mark.parametrize("chat", [False, True])
def test_tokens_that_are_no_text_keep_their_own_values(chat: bool) -> None:
    top = tuple((token, -1.0 - token) for token in range(8))
    texts = ["a", r"bytes:\xc3", r"bytes:\xa9", r"bytes:\xf0\x9f", "a", "</s>", "<pad>", "token_id:7"]
    for streamed in (False, True):
        for chosen in range(8):
            shape = Shape(JOB, "m", chat, MANY, NAMES.get)
            chunk = Chunk(0, (chosen,), "", (TokenLogprobs(-1.0 - chosen, top),), Finish(FinishReason.LENGTH, 1))
            whole = (
                shape.chunk(chunk, first=True)
                if streamed
                else shape.answer("", [chunk], Finish(FinishReason.LENGTH, 1))
            )
            said = whole["choices"][0]["logprobs"]
            if chat:
                assert [(one["token"], one["logprob"]) for one in said["content"][0]["top_logprobs"]] == [
                    (text, -1.0 - token) for token, text in enumerate(texts)
                ]
                assert said["content"][0]["token"] == texts[chosen]
            else:
                assert said["tokens"] == [texts[chosen]]
                assert len(said["top_logprobs"][0]) == 8
                assert said["top_logprobs"][0][texts[chosen]] == said["token_logprobs"][0] == -1.0 - chosen
                assert said["top_logprobs"][0]["token_id:4" if chosen != 4 else "token_id:0"] == (
                    -5.0 if chosen != 4 else -1.0
                )


def test_the_chosen_token_is_among_the_best_in_any_case_and_offsets_count_text() -> None:
    shape = Shape(JOB, "m", False, MANY, NAMES.get)
    entries = (
        TokenLogprobs(-3.0),
        TokenLogprobs(-2.0, ((0, -0.5),)),
        TokenLogprobs(-4.0, ((0, -0.5),)),
        TokenLogprobs(-5.0),
    )
    said = shape.chunk(Chunk(0, (0, 1, 2, 5), "aé", entries), first=True)["choices"][0]["logprobs"]
    assert said["top_logprobs"] == [
        {"a": -3.0},
        {"a": -0.5, r"bytes:\xc3": -2.0},
        {"a": -0.5, r"bytes:\xa9": -4.0},
        {"</s>": -5.0},
    ]
    assert said["text_offset"] == [0, 1, 1, 2]


def test_a_conversations_role_comes_once() -> None:
    shape = _shape(chat=True)
    deltas = [shape.chunk(Chunk(at, (0,), "x"), first=at == 0)["choices"][0]["delta"] for at in range(2)]
    assert deltas == [{"role": "assistant", "content": "x"}, {"content": "x"}]


@pytest.mark.parametrize(
    ("finish", "error"),
    [
        (Finish(FinishReason.STOP, 1), None),
        (Finish(FinishReason.LENGTH, 1), None),
        (Finish(FinishReason.CANCELLED, 1), JobCancelled),
        (Finish(FinishReason.EXPIRED, 1), DeadlineExceeded),
        (Finish(FinishReason.FAILED, 1, ("POISON_JOB", "It broke.")), PoisonJob),
        (Finish(FinishReason.FAILED, 1, ("NEVER_FITS", "Too long.")), JobFailed),
        (Finish(FinishReason.FAILED, 1), JobFailed),
    ],
)
def test_ends_that_are_errors(finish: Finish, error: type[SkipjoinError] | None) -> None:
    found = failure_of(finish)
    assert (None if found is None else type(found)) == error


@pytest.mark.parametrize(
    ("error", "kind", "code", "param"),
    [
        (InvalidInput("No.", field="token_ids"), "invalid_request_error", "invalid_input", "prompt"),
        (Unauthenticated("No."), "authentication_error", "unauthenticated", None),
        (Overloaded("Full.", retry_after_s=3), "rate_limit_error", "overloaded", None),
        (JobFailed("It broke \ud800."), "server_error", "job_failed", None),
    ],
)
def test_errors(error: SkipjoinError, kind: str, code: str, param: str | None) -> None:
    body = error_body(error)["error"]
    assert (body["type"], body["code"], body["param"]) == (kind, code, param)
    assert dumps(body).encode("utf-8")
