"""What an OpenAI request body asks, as a JobSpec.

Owns what the fields of the schemas mean for a job and for the look of its answer. Shapes are
checked by `schema.py` before, bounds by SamplingParams and the intake. `calls.py` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ....core.asked import DEFAULT_SAMPLING, OPTIONS, Asked
from ....core.errors import InvalidInput
from ....core.sampling import SamplingParams
from ....core.view import NOTHING_GIVEN, JobSpec
from .body_json import Body
from .names import SAMPLING, as_sent
from .schema import ChatCompletionRequest, CompletionRequest

Request = CompletionRequest | ChatCompletionRequest


@dataclass(frozen=True, slots=True)
class Wish:
    """How the answer shall look."""

    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class OpenAIRequest:
    """A request understood: the job, the model it names, and how the answer shall look.

    `sent` has our fields' names in the request.
    """

    spec: JobSpec
    model: str | None
    wish: Wish
    sent: Mapping[str, str]


def completion_asked(body: Body, defaults: SamplingParams, *, cancel_on_disconnect: bool) -> OpenAIRequest:
    """A `/v1/completions` body. Raises InvalidInput naming the field."""
    request = CompletionRequest.read(body)
    prompt = request.prompt
    text, token_ids = (prompt, None) if isinstance(prompt, str) else (None, tuple(prompt))
    sampling, given = _sampling(request, defaults)
    spec = JobSpec(
        text=text,
        token_ids=token_ids,
        asked=Asked(sampling, **_options(request)),
        sampling_given=given,
        cancel_on_disconnect=cancel_on_disconnect,
    )
    return _understood(request, spec)


def chat_asked(body: Body, defaults: SamplingParams, *, cancel_on_disconnect: bool) -> OpenAIRequest:
    """A `/v1/chat/completions` body. Raises InvalidInput naming the field."""
    request = ChatCompletionRequest.read(body)
    sampling, given = _sampling(request, defaults)
    spec = JobSpec(
        messages=request.messages,
        asked=Asked(sampling, **_options(request)),
        sampling_given=given,
        cancel_on_disconnect=cancel_on_disconnect,
    )
    return _understood(request, spec)


def _understood(request: Request, spec: JobSpec) -> OpenAIRequest:
    options = request.stream_options
    wish = Wish(bool(request.stream), options is not None and bool(options.include_usage))
    return OpenAIRequest(spec, request.model, wish, _sent(request))


def _sent(request: Request) -> dict[str, str]:
    """Our fields' names in the request."""
    given = {
        ours: next((name for name in names if getattr(request, name) is not None), ours)
        for ours, names in SAMPLING.items()
    }
    top = isinstance(request, ChatCompletionRequest) and request.top_logprobs is not None
    return given | ({"logprobs": "top_logprobs"} if top else {})


def _options(request: Request) -> dict[str, Any]:
    """The options that the request gives; null is as left out."""
    return {name: value for name in OPTIONS if (value := getattr(request, name)) is not None}


def _sampling(request: Request, defaults: SamplingParams) -> tuple[SamplingParams, frozenset[str]]:
    """Raises InvalidInput naming the field as it was sent."""
    given: dict[str, Any] = {}
    for ours, names in SAMPLING.items():
        value = next((value for name in names if (value := getattr(request, name)) is not None), None)
        if value is not None:
            given[ours] = tuple(value) if isinstance(value, list) else value
    if given.get("top_k") == -1:
        given["top_k"] = 0  # as others say that the filter is off
    if request.stop is not None:
        given["stop"] = tuple(request.stop)
    if request.best_shown is not None:
        given["logprobs"] = request.best_shown
    if not given:
        return DEFAULT_SAMPLING, NOTHING_GIVEN
    try:
        return replace(defaults, **given), frozenset(given)
    except InvalidInput as error:
        raise as_sent(error, _sent(request)) from None
