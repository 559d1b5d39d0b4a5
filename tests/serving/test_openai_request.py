"""OpenAI bodies, understood or refused with the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skipjoin.core.errors import InvalidInput, NeverFits
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import ChatMessage
from skipjoin.serving.http.openai.body_json import check_values, read_body
from skipjoin.serving.http.openai.names import as_sent, name_here
from skipjoin.serving.http.openai.request import OpenAIRequest, Wish, chat_asked, completion_asked

DEFAULTS = SamplingParams(temperature=0.3, top_k=7)
HI = [{"role": "user", "content": "hi"}]


def _completion(**body: Any) -> OpenAIRequest:
    return completion_asked({"prompt": "hi", **body}, DEFAULTS, cancel_on_disconnect=True)


def _chat(**body: Any) -> OpenAIRequest:
    return chat_asked({"messages": HI, **body}, DEFAULTS, cancel_on_disconnect=False)


def test_everything_that_can_be_asked() -> None:
    asked = _completion(
        model="m", temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, seed=5, max_tokens=9, stop=["a", "b"], stop_token_ids=[1, 2], ignore_eos=True,
        logprobs=4,
        stream=True, stream_options={"include_usage": True}, user="u", n=1, best_of=1, echo=False, logit_bias={},
    )  # fmt: skip
    assert asked.spec.asked.sampling == SamplingParams(
        temperature=0.5, top_p=0.9, top_k=3, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.2,
        frequency_penalty=0.3, seed=5, max_new_tokens=9, stop=("a", "b"), stop_token_ids=(1, 2), ignore_eos=True,
        logprobs=4,
    )  # fmt: skip
    assert (asked.model, asked.wish) == ("m", Wish(stream=True, include_usage=True))
    assert asked.spec.cancel_on_disconnect


def test_a_priority_is_the_jobs() -> None:
    assert [_completion(priority=given).spec.asked.priority for given in (-100, 0, 7, None)] == [-100, 0, 7, 0]
    assert (_completion().spec.asked.priority, _chat(priority=-3).spec.asked.priority) == (0, -3)


def test_what_is_left_out_or_null_is_the_default() -> None:
    for body in (
        {},
        dict.fromkeys(["temperature", "top_p", "stop", "seed", "max_tokens", "logprobs", "stream", "n", "suffix"]),
    ):
        asked = _completion(**body)
        assert asked.spec.asked_with(DEFAULTS).sampling == DEFAULTS
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
    assert (asked.spec.asked.sampling.max_new_tokens, asked.spec.asked.sampling.logprobs) == (4, 2)
    plain = _chat(logprobs=True).spec.asked.sampling
    assert plain.logprobs == 0
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
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0, "max_tokens": 5}, "max_completion_tokens"),
        ({"max_tokens": 1e300}, "max_tokens"),
        ({"seed": 1.5}, "seed"),
        ({"stop_token_ids": [True]}, "stop_token_ids"),
        ({"logprobs": 1.5}, "logprobs"),
        ({"add_special_tokens": False}, "add_special_tokens"),
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
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"stream": True, "stream_options": {"include_usge": True}}, "stream_options.include_usge"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"stream_options": {"continuous_usage_stats": 0}}, "stream_options.continuous_usage_stats"),
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
        ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages[0].prefix"),
        ({"messages": [{"role": "user", "content": "x", "cotent": "y"}]}, "messages[0].cotent"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "call"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "content": "", "refusal": False}]}, "messages[0].refusal"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "txet": "b"}]}]},
            "messages[0].content[0].txet",
        ),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"logprobs": True, "top_logprobs": 25}, "top_logprobs"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"add_special_tokens": True}, "add_special_tokens"),
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
    assert refused.value.message.count(field) == 1


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


CHANGES_NOTHING = {
    "top_k": (-1, 0, None), "min_tokens": (0, None), "reasoning_effort": (None, "none"),
    "function_call": (None, "none", "auto"),
    "prediction": (None,), "audio": (None,), "web_search_options": (None,), "verbosity": (None, "medium"),
    "n": (1, 1.0, None),
    "tools": (None, []), "tool_choice": (None, "auto", "none"), "functions": (None, []), "logit_bias": (None, {}),
    "stop": (None, []),
    "response_format": (None, {"type": "text"}), "modalities": (None, ["text"]),
    "stream_options": (None, {},
     {"include_usage": False, "include_obfuscation": False, "continuous_usage_stats": None}),

    "presence_penalty": (None, 0), "frequency_penalty": (None, 0.0), "seed": (None,), "service_tier": (None, "auto"),
    "store": (None, False),
    "metadata": (None, {}), "user": (None, "u"), "parallel_tool_calls": (None, True), "use_beam_search": (None, False),
    "length_penalty": (None, 1, 1.0), "skip_special_tokens": (None, True),
    "spaces_between_special_tokens": (None, True), "min_p": (0, None),
    "include_stop_str_in_output": (None, False), "prompt_logprobs": (None,), "guided_json": (None,),
    "temperature": (None,), "top_p": (None, 1),
    "max_tokens": (None,), "max_completion_tokens": (None,), "stream": (None, False), "model": (None,),
    "logprobs": (None,), "best_of": (None, 1),
    "ignore_eos": (None, False), "stop_token_ids": (None, []), "repetition_penalty": (None, 1), "priority": (None, 0),
    "top_logprobs": (None, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES_NOTHING)
def test_a_value_that_changes_nothing_is_taken(name: str) -> None:
    for value in CHANGES_NOTHING[name]:
        asked = _chat(**{name: value})
        plain = _chat()
        assert asked.wish == plain.wish
        if name not in ("top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "top_p"):
            assert asked.spec.asked_with(DEFAULTS) == plain.spec.asked_with(DEFAULTS)
        if name != "top_logprobs":
            _completion(**{name: value})
    assert _chat(top_k=-1).spec.asked.sampling == SamplingParams(temperature=0.3, top_k=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n", 2), ("n", True), ("min_tokens", 1), ("reasoning_effort", "high"), ("function_call", {"name": "f"}),
     ("prediction", {}), ("top_k", -2),
     ("tools", [{}]), ("use_beam_search", True), ("length_penalty", 2), ("echo", 0), ("functions", {}), ("typo", None)],
)  # fmt: skip
def test_a_value_that_would_change_something_is_refused_by_name(name: str, value: object) -> None:
    for asked in (_chat, _completion):
        with pytest.raises(InvalidInput) as refused:
            asked(**{name: value})
        assert refused.value.field == name


def test_whole_numbers_may_be_written_with_a_point() -> None:
    pointed = {"max_tokens": 16.0, "top_k": 50.0, "seed": 1.0, "priority": 2.0, "stop_token_ids": [3.0], "n": 1.0}
    whole = {"max_tokens": 16, "top_k": 50, "seed": 1, "priority": 2, "stop_token_ids": [3], "n": 1}
    for asked, logprobs in ((_completion, {"logprobs": 2.0}), (_chat, {"logprobs": True, "top_logprobs": 2.0})):
        spec = asked(**pointed, **logprobs).spec
        assert spec == asked(**whole, **(logprobs | {next(reversed(logprobs)): 2})).spec
        kinds = (
            spec.asked.priority,
            spec.asked.sampling.top_k,
            spec.asked.sampling.seed,
            spec.asked.sampling.max_new_tokens,
            spec.asked.sampling.logprobs,
        )
        assert all(type(number) is int for number in (*kinds, *spec.asked.sampling.stop_token_ids))
    assert _completion(top_k=-1.0).spec.asked.sampling == _completion(top_k=0).spec.asked.sampling


def test_an_answer_may_be_sent_back_as_it_came() -> None:
    empty = {
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": [],
        "reasoning_content": "",
    }
    messages = [
        {"role": "assistant", "content": None, **empty},
        {"role": "assistant"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            "tool_call_id": None,
        },
    ]
    said = [ChatMessage("assistant", ""), ChatMessage("assistant", ""), ChatMessage("user", "a")]
    assert _chat(messages=messages).spec.messages == tuple(said)


def test_special_tokens_are_added_as_they_are_anyway() -> None:
    assert _chat(add_special_tokens=False) == _chat(add_special_tokens=None) == _chat()
    assert _completion(add_special_tokens=True) == _completion(add_special_tokens=None) == _completion()


def test_a_later_error_has_the_requests_name_of_the_field_too() -> None:
    sent = _chat(max_completion_tokens=7).sent
    said = as_sent(NeverFits("max_new_tokens asks for 7.", field="sampling.max_new_tokens", limit="at most 5"), sent)
    assert (type(said), str(said)) == (NeverFits, "max_completion_tokens asks for 7. (limit: at most 5)")
    assert said.field == "max_completion_tokens"
    other = InvalidInput("x", field="messages[0].role")
    assert as_sent(other, sent) is other


def test_a_speakers_name_reaches_the_conversation() -> None:
    messages = [{"role": "user", "name": "ann", "content": "hi"}, {"role": "user", "name": None, "content": "ho"}]
    assert _chat(messages=messages).spec.messages == (ChatMessage("user", "hi", "ann"), ChatMessage("user", "ho"))
    with pytest.raises(InvalidInput) as refused:
        _chat(messages=[{"role": "user", "name": 5, "content": "hi"}])
    assert refused.value.field == "messages[0].name"


def test_bodies_of_more_values_than_any_prompt_are_refused_before_they_are_read() -> None:
    ids = b'{"prompt": [' + b"1," * 70_000 + b"1]}"
    with pytest.raises(NeverFits):
        check_values(ids, 4096)
    check_values(ids, 8192)
    check_values(json.dumps({"prompt": 'x, "[{' * 50_000}).encode(), 16)
    check_values(b'{"prompt": "' + b'\\\\\\",' * 50_000 + b'"}', 16)
    with pytest.raises(NeverFits):
        check_values(b'["' + b'\\\\","' * 80_000 + b'"]', 16)
    with pytest.raises(InvalidInput):
        check_values(b"[" * 80_000, 16)


@pytest.mark.parametrize("data", [b'{"seed": NaN}', b'{"seed": Infinity}', b'{"seed": -Infinity}'])
def test_what_only_python_calls_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_body(data)
    assert refused.value.field == "body"
