"""What an OpenAI request body asks, as a JobSpec.

Owns the names and shapes of `/v1/completions` and `/v1/chat/completions`: which fields mean what here, which are known and without effect, and
which cannot be had, with a sentence for each. It checks shapes only; bounds are SamplingParams' and the intake's. `openai.py` calls it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...core.errors import InvalidInput, NeverFits
from ...core.sampling import SamplingParams
from ...core.view import ChatMessage, JobSpec

Body = dict[str, Any]

# Ours <- theirs. The first name that is given counts.
_SAMPLING = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "repetition_penalty": ("repetition_penalty",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "seed": ("seed",),
    "max_new_tokens": ("max_completion_tokens", "max_tokens"),
    "stop_token_ids": ("stop_token_ids",),
    "ignore_eos": ("ignore_eos",),
}
_WITHOUT_EFFECT = {
    "cache_salt", "include_reasoning", "metadata", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention",
    "request_id", "safety_identifier", "service_tier", "store", "user", "verbosity",
}  # fmt: skip
# Fields that are understood only with a value that changes nothing; null is always one.
_ONLY: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "reasoning_effort": ("none",),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    # What clients of vLLM send.
    "add_generation_prompt": (True,),
    "allowed_token_ids": (),
    "bad_words": ([],),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "documents": (),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "include_stop_str_in_output": (False,),
    "kv_transfer_params": (),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "min_tokens": (0,),
    "mm_processor_kwargs": ({},),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "structured_outputs": (),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
}
# The template writes a conversation's special tokens; what a text begins with is the tokenizer's.
_ONLY_COMPLETION = _ONLY | {"add_special_tokens": (True,)}
_ONLY_CHAT = _ONLY | {"add_special_tokens": (False,)}
# What clients send with a message, as they got it in an answer, though it says nothing.
_OF_MESSAGE = {
    "annotations", "audio", "function_call", "reasoning", "reasoning_content", "refusal", "tool_call_id", "tool_calls"
}  # fmt: skip
_WITHOUT_EFFECT_IN_PART = ("cache_control", "prompt_cache_breakpoint")
_STREAM_OPTIONS: dict[str, tuple[Any, ...]] = {
    "include_usage": (True, False),
    "include_obfuscation": (False,),
    "continuous_usage_stats": (False,),
}
_BESIDE_PROMPT = 2**16
_DIGITS = 40
_MOST_DIGITS = 4300
_SHARED = {
    "model",
    "stream",
    "stream_options",
    "stop",
    "logprobs",
    "priority",
    *(name for names in _SAMPLING.values() for name in names),
}
_NAMES_HERE = {"max_new_tokens": "max_tokens", "token_ids": "prompt", "text": "prompt"}


@dataclass(frozen=True, slots=True)
class Wish:
    """How the answer shall look."""

    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A request understood: the job, the model it names, and how the answer shall look. `sent` has our fields' names in the request."""

    spec: JobSpec
    model: str | None
    wish: Wish
    sent: Mapping[str, str]


def name_here(field: str | None) -> str | None:
    """What an OpenAI client calls a field of ours."""
    if field is None:
        return None
    field = field.removeprefix("sampling.")
    return _NAMES_HERE.get(field, field)


def as_sent(error: InvalidInput, sent: Mapping[str, str]) -> InvalidInput:
    """The error with the name that the request has for the field, in its message too; `sent` is that of `Asked`."""
    ours = (error.field or "").removeprefix("sampling.")
    theirs = sent.get(ours, ours)
    if theirs == ours:
        return error
    return type(error)(error.message.replace(ours, theirs), field=theirs, limit=error.limit)


def read_body(data: bytes | bytearray) -> Body:
    """The JSON object of a request; `check_values` comes first. Raises InvalidInput."""
    try:
        body = json.loads(data.decode("utf-8"), parse_int=_whole_number, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The body is not UTF-8: byte {error.start} is wrong.", field="body") from None
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.", field="body") from None
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(f"The body is not JSON{where}.", field="body") from None
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object.", field="body")
    return body


def check_values(data: bytes | bytearray, prompt_tokens: int) -> None:
    """Raise InvalidInput or NeverFits for more values than a prompt of at most `prompt_tokens` tokens and a request around it need.

    A value costs far more than its bytes.
    """
    most = prompt_tokens + _BESIDE_PROMPT
    if max(_marks(data)) <= most:
        return
    # Commas and brackets in text are no values: count again without the strings, unless there are more strings than any request has.
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = bare.count(b'"') // 2
    commas, brackets = _marks(b"".join(bare.split(b'"')[::2])) if strings <= most else (strings, 0)
    if brackets > most:
        raise InvalidInput("The body holds too many lists and objects.", field="body", limit=f"{most} of them")
    if commas > most:
        raise NeverFits(
            f"The maximum context length is {prompt_tokens} tokens, and the body holds more values than such a prompt has tokens.",
            field="body",
            limit=f"{most} values",
        )


def _marks(data: bytes | bytearray) -> tuple[int, int]:
    """Commas, and opening brackets and braces."""
    size = len(data)
    return size - len(data.translate(None, b",")), size - len(data.translate(None, b"[{"))


def _whole_number(digits: str) -> int | float:
    """The number; one of so many digits that reading it takes long is beyond every bound anyway."""
    if len(digits) <= _DIGITS or len(digits) > _MOST_DIGITS:
        return int(digits)  # Python refuses the longest by itself
    return -math.inf if digits.startswith("-") else math.inf


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def completion_asked(body: Body, defaults: SamplingParams, *, cancel_on_disconnect: bool) -> Asked:
    """A `/v1/completions` body. Raises InvalidInput naming the field."""
    _check_names(body, {"prompt"}, _ONLY_COMPLETION)
    logprobs = _number(body, "logprobs")
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
        prompt = prompt[0]
    text, token_ids = None, None
    if isinstance(prompt, str):
        text = prompt
    elif isinstance(prompt, list) and all(type(token) is int for token in prompt):
        token_ids = tuple(prompt)
    else:
        raise InvalidInput(
            "prompt must be one string or one list of token ids; several need a request each.", field="prompt"
        )
    sampling, given = _sampling(body, defaults, logprobs)
    spec = JobSpec(
        text=text,
        token_ids=token_ids,
        sampling=sampling,
        sampling_given=given,
        cancel_on_disconnect=cancel_on_disconnect,
        priority=_number(body, "priority") or 0,
    )
    return _asked(body, spec)


def chat_asked(body: Body, defaults: SamplingParams, *, cancel_on_disconnect: bool) -> Asked:
    """A `/v1/chat/completions` body. Raises InvalidInput naming the field."""
    _check_names(body, {"messages", "top_logprobs"}, _ONLY_CHAT)
    wanted = _flag(body, "logprobs")
    top = _number(body, "top_logprobs")
    if top and not wanted:
        raise InvalidInput("top_logprobs needs logprobs: true.", field="top_logprobs")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("messages must be a list with at least one message.", field="messages")
    sampling, given = _sampling(body, defaults, (top or 0) if wanted else None)
    spec = JobSpec(
        messages=tuple(_message(message, f"messages[{number}]") for number, message in enumerate(messages)),
        sampling=sampling,
        sampling_given=given,
        cancel_on_disconnect=cancel_on_disconnect,
        priority=_number(body, "priority") or 0,
    )
    return _asked(body, spec)


def _asked(body: Body, spec: JobSpec) -> Asked:
    stream = _flag(body, "stream")
    options = body.get("stream_options")
    usage = options is not None and _include_usage(options)
    if usage and not stream:
        raise InvalidInput("stream_options is an object that goes with stream: true.", field="stream_options")
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidInput("model must be a string.", field="model")
    return Asked(spec, model, Wish(stream, usage), _sent(body))


def _include_usage(options: object) -> bool:
    if not isinstance(options, dict):
        raise InvalidInput("stream_options is an object that goes with stream: true.", field="stream_options")
    for name, value in options.items():
        field = f"stream_options.{name[:40]}"
        if name not in _STREAM_OPTIONS:
            raise InvalidInput(f"There is no field {field!r} here.", field=field)
        if value is not None and _boolean(value, field) not in _STREAM_OPTIONS[name]:
            raise InvalidInput(f"{field} is not supported by this server; leave it out.", field=field)
    return bool(options.get("include_usage"))


def _sent(body: Body) -> dict[str, str]:
    """Our fields' names in the request."""
    given = {
        ours: next((name for name in names if body.get(name) is not None), ours) for ours, names in _SAMPLING.items()
    }
    return given | ({"logprobs": "top_logprobs"} if body.get("top_logprobs") is not None else {})


def _check_names(body: Body, own: set[str], only: dict[str, tuple[Any, ...]]) -> None:
    for name, value in body.items():
        if name in own or name in _SHARED or name in _WITHOUT_EFFECT:
            continue
        if name not in only:
            raise InvalidInput(f"There is no field {name[:40]!r} here.", field=name[:40])
        if value is not None and not any(_same(value, plain) for plain in only[name]):
            raise InvalidInput(f"{name} is not supported by this server; leave it out.", field=name)


def _same(value: object, only: object) -> bool:
    """Equal as JSON: 1 and 1.0 are one number, and true is none."""
    return value == only and isinstance(value, bool) == isinstance(only, bool)


def _sampling(body: Body, defaults: SamplingParams, logprobs: int | None) -> tuple[SamplingParams, frozenset[str]]:
    given: dict[str, Any] = {}
    for ours, names in _SAMPLING.items():
        value = next((body[name] for name in names if body.get(name) is not None), None)
        if value is not None:
            value = _CHECKS[ours](value, names[-1]) if ours in _CHECKS else value
            given[ours] = _unpointed(value) if ours in _WHOLE else value
    if given.get("top_k") == -1:
        given["top_k"] = 0  # as others say that the filter is off
    stop = body.get("stop")
    if stop is not None:
        given["stop"] = (stop,) if isinstance(stop, str) else _list(stop, "stop")
    if logprobs is not None:
        given["logprobs"] = logprobs
    try:
        return replace(defaults, **given), frozenset(given)
    except InvalidInput as error:
        raise as_sent(error, _sent(body)) from None


def _unpointed(value: Any) -> Any:
    """A whole number that was written with a point, such as 16.0, as the number it is; anything else as it came."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _list(value: object, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InvalidInput(f"{field} must be a list.", field=field)
    return tuple(value)


def _token_ids(value: object, field: str) -> tuple[Any, ...]:
    return tuple(_unpointed(token) for token in _list(value, field))


def _boolean(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{field} must be true or false.", field=field)
    return value


_CHECKS: dict[str, Callable[[object, str], Any]] = {"stop_token_ids": _token_ids, "ignore_eos": _boolean}
_WHOLE = {"top_k", "seed", "max_new_tokens"}


def _flag(body: Body, name: str) -> bool:
    value = body.get(name)
    return False if value is None else _boolean(value, name)


def _number(body: Body, name: str) -> int | None:
    value = _unpointed(body.get(name))
    if value is None or type(value) is int:
        return value
    raise InvalidInput(f"{name} must be a whole number.", field=name)


def _message(message: object, field: str) -> ChatMessage:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise InvalidInput(f"{field} must be an object with role and content.", field=field)
    for name, value in message.items():
        if name in ("role", "content", "name"):
            continue
        where = f"{field}.{name[:40]}"
        if name not in _OF_MESSAGE:
            raise InvalidInput(f"There is no field {where!r} here.", field=where)
        if value not in (None, [], {}, ""):
            raise InvalidInput(f"{where} is not supported by this server; leave it out.", field=where)
    role = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    if isinstance(content, list):
        # A line each, as templates that take no parts are fed elsewhere too.
        content = "\n".join(_text_part(part, f"{field}.content[{number}]") for number, part in enumerate(content))
    if content is None and role == "assistant":
        content = ""
    if not isinstance(content, str):
        raise InvalidInput(f"{field}.content must be text.", field=f"{field}.content")
    speaker = message.get("name")
    if speaker is not None and not isinstance(speaker, str):
        raise InvalidInput(f"{field}.name must be text.", field=f"{field}.name")
    return ChatMessage(role, content, speaker)


def _text_part(part: object, field: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        for name, value in part.items():
            if name not in ("type", "text", *_WITHOUT_EFFECT_IN_PART) and value is not None:
                raise InvalidInput(f"There is no field '{field}.{name[:40]}' here.", field=f"{field}.{name[:40]}")
        return str(part["text"])
    raise InvalidInput(
        f"{field} must be a part of type text; this server takes no images, sound or files.", field=field
    )
