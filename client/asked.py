"""What a caller asks for, made into a checked `JobSpec`.

Owns the reading of a prompt in its three forms and of timeouts. It makes no call; both clients use
it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any

from ..core.asked import DEFAULT_SAMPLING, Asked, AskedOptions, check_names
from ..core.errors import InvalidInput
from ..core.sampling import SamplingParams
from ..core.view import NOTHING_GIVEN, ChatMessage, JobSpec, check_request_id

Message = ChatMessage | Mapping[str, str]
"""A turn of a conversation: a ChatMessage, or {"role": ..., "content": ...} with a "name" beside
where there is one.
"""

Params = SamplingParams | Mapping[str, Any]
"""How to sample: `SamplingParams` says every field; a mapping says some, and the others are the
model's defaults.
"""


def spec_of(
    prompt: str | None,
    token_ids: Sequence[int] | None,
    messages: Sequence[Message] | None,
    params: Params | None,
    job_timeout_s: float | None,
    cancel_on_disconnect: bool,
    options: AskedOptions,
) -> JobSpec:
    """The spec of exactly one of `prompt`, `token_ids` and `messages`. Raises InvalidInput naming
    the field, TypeError for an unknown option.
    """
    if prompt is not None and not isinstance(prompt, str):
        raise InvalidInput("prompt must be a string; tokens go into token_ids.", field="prompt")
    if job_timeout_s is not None and not 0 < job_timeout_s < 1e9:
        raise InvalidInput(
            "job_timeout_s must be a number of seconds above 0 and below 1e9.",
            field="job_timeout_s",
            limit="above 0, below 1e9",
        )
    if token_ids is not None and not all(
        isinstance(token, Integral) and not isinstance(token, bool) for token in token_ids
    ):
        raise InvalidInput("token_ids must be a list of whole numbers.", field="token_ids")
    check_names(options)
    sampling, given = (params, None) if isinstance(params, SamplingParams) else _some(params)
    return JobSpec(
        text=prompt,
        token_ids=None if token_ids is None else tuple(token_ids),
        messages=None if messages is None else tuple(_message(said) for said in messages),
        asked=Asked(sampling, **options),
        sampling_given=given,
        timeout_ns=None if job_timeout_s is None else max(1, int(job_timeout_s * 1e9)),
        cancel_on_disconnect=cancel_on_disconnect,
    )


def _some(params: Mapping[str, Any] | None) -> tuple[SamplingParams, frozenset[str]]:
    if not params:
        return DEFAULT_SAMPLING, NOTHING_GIVEN
    known = [field.name for field in fields(SamplingParams)]
    for name in params:
        if name not in known:
            raise InvalidInput(f"{name} is no sampling parameter.", field=name, limit=", ".join(known))
    return SamplingParams(**params), frozenset(params)


def _message(said: Message) -> ChatMessage:
    if isinstance(said, ChatMessage):
        return said
    if set(said) | {"name"} != {"role", "content", "name"} or not all(
        isinstance(value, str) for value in said.values()
    ):
        raise InvalidInput("A message has a role, a content and perhaps a name, all strings.", field="messages")
    return ChatMessage(said["role"], said["content"], said.get("name"))


def request_id_of(request_id: str | None) -> str:
    """The caller's idempotency key, or a new one, so that a submit that is tried again stays one
    job.
    """
    if request_id is None:
        return str(uuid.uuid4())
    check_request_id(request_id)
    return request_id
