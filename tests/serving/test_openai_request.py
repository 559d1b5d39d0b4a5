"""OpenAI bodies, understood or refused with the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skipjoin.core.errors import InvalidInput
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import ChatMessage
from skipjoin.serving.openai_request import Asked, Wish, chat_asked, completion_asked, name_here, read_body

DEFAULTS = SamplingParams(temperature=0.3, top_k=7)
HI = [{"role": "user", "content": "hi"}]


def _completion(**body: Any) -> Asked:
    return completion_asked({"prompt": "hi", **body}, DEFAULTS, cancel_on_disconnect=True)


def _chat(**body: Any) -> Asked:
    return chat_asked({"messages": HI, **body}, DEFAULTS, cancel_on_disconnect=False)


def test_everything_that_can_be_asked() -> None:
    asked = _completion(
        model="m", temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, seed=5, max_tokens=9, stop=["a", "b"], stop_token_ids=[1, 2], ignore_eos=True, logprobs=4,
        stream=True, stream_options={"include_usage": True}, user="u", n=1, best_of=1, echo=False, logit_bias={},
    )  # fmt: skip
    assert asked.spec.sampling == SamplingParams(
        temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, seed=5, max_new_tokens=9, stop=("a", "b"), stop_token_ids=(1, 2), ignore_eos=True, logprobs=4,
    )  # fmt: skip
    assert (asked.model, asked.wish) == ("m", Wish(stream=True, include_usage=True))
    assert asked.spec.cancel_on_disconnect


def test_a_priority_is_the_jobs() -> None:
    assert [_completion(priority=given).spec.priority for given in (-100, 0, 7, None)] == [-100, 0, 7, 0]
    assert (_completion().spec.priority, _chat(priority=-3).spec.priority) == (0, -3)


def test_what_is_left_out_or_null_is_the_default() -> None:
    for body in (
        {},
        dict.fromkeys(["temperature", "top_p", "stop", "seed", "max_tokens", "logprobs", "stream", "n", "suffix"]),
    ):
        asked = _completion(**body)
        assert asked.spec.sampling == DEFAULTS
        assert asked.spec.sampling_given == frozenset()
        assert (asked.model, asked.wish) == (None, Wish(stream=False, include_usage=False))
    assert _completion(temperature=0).spec.sampling_given == {"temperature"}


@pytest.mark.parametrize(
    ("prompt", "text", "token_ids"),
    [
        ("a", "a", None),
        (["a"], "a", None),
        ([1, 2], None, (1, 2)),
        ([[1, 2]], None, (1, 2)),
        ([], None, ()),
        ("", "", None),
    ],
)
def test_prompts(prompt: object, text: str | None, token_ids: tuple[int, ...] | None) -> None:
    spec = _completion(prompt=prompt).spec
    assert (spec.text, spec.token_ids) == (text, token_ids)


def test_conversations() -> None:
    asked = _chat(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ],
        max_tokens=3,
        max_completion_tokens=4,
        logprobs=True,
        top_logprobs=2,
    )
    assert asked.spec.messages == (ChatMessage("system", "be brief"), ChatMessage("user", "a\nb"))
    assert asked.spec.sampling is not None
    assert (asked.spec.sampling.max_new_tokens, asked.spec.sampling.logprobs) == (4, 2)
    plain = _chat(logprobs=True).spec.sampling
    assert plain is not None and plain.logprobs == 0
    assert not asked.spec.cancel_on_disconnect


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [1.0]}, "prompt"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": 0}, "max_new_tokens"),
        ({"seed": 2**80}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": [5]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 99}, "stop"),
        ({"stop": "\ud800"}, "stop"),
        ({"temperature": 10**400}, "temperature"),
        ({"seed": 10**4000}, "seed"),
        ({"stop_token_ids": "12"}, "stop_token_ids"),
        ({"stop_token_ids": ["1"]}, "stop_token_ids"),
        ({"ignore_eos": 1}, "ignore_eos"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "include_usage"),
        ({"model": 5}, "model"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"echo": True}, "echo"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 101}, "priority"),
        ({"priority": -(10**30)}, "priority"),
        ({"suffix": "x"}, "suffix"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"temprature": 1}, "temprature"),
        ({"messages": HI}, "messages"),
        ({"x" * 500: 1}, "x" * 40),
    ],
)
def test_bad_completions_name_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _completion(**body)
    assert refused.value.field == field
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": 5, "content": "x"}]}, "messages[0]"),
        ({"messages": [*HI, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": 3}, "logprobs"),
        ({"prompt": "hi"}, "prompt"),
    ],
)
def test_bad_conversations_name_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _chat(**body)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'"x"',
        b"null",
        b"\xff{}",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "half", "list", "number", "string", "null", "no utf-8", "deep list", "deep object", "long number"],
)
def test_bodies_that_are_no_object(data: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_body(data)
    assert refused.value.field == "body"
    assert len(str(refused.value)) < 200


def test_fields_have_the_names_of_this_wire() -> None:
    assert name_here("sampling.max_new_tokens") == "max_tokens"
    assert name_here("token_ids") == name_here("text") == "prompt"
    assert name_here("messages[3].role") == "messages[3].role"
    assert name_here(None) is None
    assert read_body(json.dumps({"a": 1}).encode()) == {"a": 1}
