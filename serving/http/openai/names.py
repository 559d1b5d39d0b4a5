"""Our fields' names as OpenAI's clients write them.

Owns the table of sampling fields and the renaming of errors. It knows no shape of a value.
`request.py`, `answer.py` and `calls.py` use it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ....core.errors import InvalidInput

SAMPLING: Mapping[str, tuple[str, ...]] = {
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
"""Ours <- theirs. The first name that is given counts."""
_HERE = {"max_new_tokens": "max_tokens", "token_ids": "prompt", "text": "prompt"}


def name_here(field: str | None) -> str | None:
    """What an OpenAI client calls a field of ours."""
    if field is None:
        return None
    field = field.removeprefix("sampling.")
    return _HERE.get(field, field)


def as_sent(error: InvalidInput, sent: Mapping[str, str]) -> InvalidInput:
    """The error with the name that the request has for the field, in its message too.

    `sent` is that of `OpenAIRequest`.
    """
    ours = (error.field or "").removeprefix("sampling.")
    theirs = sent.get(ours, ours)
    if theirs == ours:
        return error
    return type(error)(error.message.replace(ours, theirs), field=theirs, limit=error.limit)
