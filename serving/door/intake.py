"""What a client asks, checked and made into a job.

Owns every check at the door: prompt, token ids, lengths, names, bounds; it draws seeds, fills what
was left out and digests the body. What takes long of it runs on the threads of `lanes`.
It does not store: `jobs` does. Everything here answers before the engine has heard of
the request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np

from ...core.asked import Asked
from ...core.clock import unix_ns
from ...core.errors import InvalidInput, NeverFits, Overloaded, SkipjoinError, too_long
from ...core.ids import DEFAULT_TENANT, JobId, TenantId
from ...core.plan import Int32s
from ...core.pool import NewJob
from ...core.sampling import MAX_SEED, SamplingParams
from ...core.view import ChatMessage, JobSpec, check_request_id
from ...model.text.renderer import BeyondBounds
from ..facts import EngineFacts
from .lanes import LONG_TEXT, Lanes
from .text import Tokenizer

R = TypeVar("R")

MAX_MESSAGES = 4096
MAX_NAME = 256
ROLES = frozenset({"system", "user", "assistant"})
_AT_ONCE = 4096
_COUNTED = 2**16
"""Characters of an earlier answer that are counted: a policy asks how long answers are here, and
from there on they are long.
"""
_JOB_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def new_job_id() -> JobId:
    """A name that nobody else has."""
    return JobId(secrets.token_hex(16))


def check_job_id(job_id: str) -> JobId:
    """Raise InvalidInput for what cannot name a job."""
    if _JOB_ID.fullmatch(job_id) is None:
        raise InvalidInput("job_id must be 32 lower-case hex digits, as Submit answered it.", field="job_id")
    return JobId(job_id)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A spec in tokens: the prompt as int32[n], what is asked with nothing left open, the length of
    the newest earlier answer in it.
    """

    prompt: Int32s
    asked: Asked
    earlier_output_tokens: int


class Intake:
    """Makes jobs of specs, for one model. `wait_s`: longer than this no prompt waits to be encoded."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        defaults: SamplingParams,
        *,
        default_max_new_tokens: int,
        job_cap_s: float,
        wait_s: float = 10.0,
    ) -> None:
        self._tokenizer = tokenizer
        self._defaults = defaults
        self._default_new = default_max_new_tokens
        self._cap_ns = int(job_cap_s * 1e9)
        self._lanes = Lanes(wait_s)
        self.on_limit: Callable[[str], None] = lambda setting: None
        """Told the setting whenever it made a prompt be refused."""

    async def job(self, spec: JobSpec, tenant: TenantId, request_id: str | None, facts: EngineFacts) -> NewJob:
        """The job that a spec asks for. Raises InvalidInput, NeverFits, Overloaded, Unavailable."""
        if request_id is not None:
            check_request_id(request_id)
        if spec.timeout_ns is not None and spec.timeout_ns > self._cap_ns:
            raise InvalidInput(
                "timeout is longer than this server keeps a job.",
                field="timeout",
                limit=f"at most {self._cap_ns / 1e9:g} s",
            )
        ready = await self._prepared(spec, tenant, facts)
        now = unix_ns()
        return NewJob(
            job_id=new_job_id(),
            tenant=tenant,
            request_id=request_id,
            body_digest=body_digest(spec.asked_with(self._defaults), spec, ready.prompt),
            prompt=ready.prompt,
            asked=ready.asked,
            submitted_unix_ns=now,
            deadline_unix_ns=now + (spec.timeout_ns if spec.timeout_ns is not None else self._cap_ns),
            cancel_on_disconnect=spec.cancel_on_disconnect,
            earlier_output_tokens=ready.earlier_output_tokens,
        )

    def prepare(self, spec: JobSpec, facts: EngineFacts) -> Prepared:
        """What is asked, in tokens. Raises InvalidInput, NeverFits, Unavailable."""
        asked = self._asked(spec, facts)
        most = facts.job_tokens - 1
        if spec.token_ids is not None:
            return self._ready(asked, check_tokens(spec.token_ids, facts), facts, 0)
        if spec.messages is not None:
            messages = _checked(spec.messages)
            prompt = check_tokens(self._tokenizer.encode_chat(messages, most), facts, field="messages")
            answer = _newest_answer(messages)
            return self._ready(asked, prompt, facts, self._count(answer) if answer else 0)
        text = _checked_text(spec.text)
        return self._ready(asked, check_tokens(self._tokenizer.encode(text, most), facts, field="text"), facts, 0)

    async def _prepared(self, spec: JobSpec, tenant: TenantId, facts: EngineFacts) -> Prepared:
        """As `prepare`, with what takes long on threads, so that the event loop goes on."""
        asked = self._asked(spec, facts)
        most = facts.job_tokens - 1
        if spec.token_ids is not None:
            return self._ready(asked, check_tokens(spec.token_ids, facts), facts, 0)
        if spec.messages is None:
            text = _checked_text(spec.text)
            if len(text) > LONG_TEXT:  # it does not queue with those that fit
                await self._on_lane(tenant, LONG_TEXT, lambda: self._tokenizer.check_size(text, most))
            ids = await self._on_lane(tenant, len(text), lambda: self._tokenizer.encode(text, most))
            return self._ready(asked, check_tokens(ids, facts, field="text"), facts, 0)
        messages = _checked(spec.messages)
        try:
            rendered = await self._lanes.chats.run(tenant, self._tokenizer.render, messages, most)
        except SkipjoinError as refused:
            self._note(refused)
            raise
        ids = await self._on_lane(tenant, len(rendered.text), lambda: self._tokenizer.encode_rendered(rendered, most))
        prompt = check_tokens(ids, facts, field="messages")
        answer = _newest_answer(messages)
        earlier = await self._on_lane(tenant, len(answer), lambda: self._count(answer)) if answer else 0
        return self._ready(asked, prompt, facts, earlier)

    async def _on_lane(self, tenant: TenantId, characters: int, work: Callable[[], R]) -> R:
        """What the work answers: at once for a short text, else from a thread."""
        if characters <= _AT_ONCE:
            return work()
        try:
            return await self._lanes.for_text(characters).run(tenant, work)
        except SkipjoinError as refused:
            self._note(refused)
            raise

    def _note(self, refused: SkipjoinError) -> None:
        if isinstance(refused, Overloaded):
            self.on_limit("prompt_wait_s")
        elif isinstance(refused, BeyondBounds):
            self.on_limit(refused.setting)

    def _asked(self, spec: JobSpec, facts: EngineFacts) -> Asked:
        asked = spec.asked_with(self._defaults)
        asked.sampling.check_vocabulary(facts.vocab_size)
        return asked

    def _ready(self, asked: Asked, prompt: Int32s, facts: EngineFacts, earlier: int) -> Prepared:
        resolved = replace(asked, sampling=self._resolve(asked.sampling, len(prompt), facts))
        return Prepared(prompt, resolved, min(earlier, len(prompt)))

    def _count(self, answer: str) -> int:
        """Tokens of an answer. Only after the prompt was found to fit, so this costs no more than
        it.
        """
        begin_tokens = len(self._tokenizer.encode(""))  # what every text begins with, where the model wants that
        return len(self._tokenizer.encode(answer)) - begin_tokens

    async def check_chat(self) -> None:
        """Have the chat template made ready. Raises InvalidInput saying why there is no chat,
        Unavailable.
        """
        await self._lanes.chats.run(DEFAULT_TENANT, self._tokenizer.check_chat)

    def close(self) -> None:
        """Drop what waits, and end the processes of the template; idempotent."""
        self._lanes.close()
        self._tokenizer.close()

    def _resolve(self, asked: SamplingParams, prompt_tokens: int, facts: EngineFacts) -> SamplingParams:
        """Seed and max_new_tokens set. Raises NeverFits."""
        room = facts.job_tokens - prompt_tokens
        if room < 1:
            raise too_long(prompt_tokens, facts.job_tokens, "prompt")
        new_tokens = asked.max_new_tokens if asked.max_new_tokens is not None else min(room, self._default_new)
        if new_tokens > room:
            raise NeverFits(
                f"This model's maximum context length is {facts.job_tokens} tokens here. A prompt of "
                f"{prompt_tokens} leaves room for {room} more; "
                f"max_new_tokens asks for {new_tokens}.",
                field="sampling.max_new_tokens",
                limit=f"1..{room}",
            )
        seed = asked.seed if asked.seed is not None else secrets.randbelow(MAX_SEED + 1)
        return replace(asked, seed=seed, max_new_tokens=new_tokens)


def check_tokens(ids: Sequence[int], facts: EngineFacts, *, field: str = "token_ids") -> Int32s:
    """int32[n] of a prompt's token ids. Raises InvalidInput for none or an unknown one, NeverFits
    for too many.
    """
    if len(ids) == 0:
        raise InvalidInput("The prompt is empty; give at least one token.", field=field, limit="1 token at least")
    if len(ids) >= facts.job_tokens:
        raise too_long(len(ids), facts.job_tokens, field)
    try:
        wide = np.asarray(ids, dtype=np.int64)
    except (OverflowError, ValueError, TypeError):
        raise InvalidInput(
            "Token ids must be whole numbers.", field=field, limit=f"0..{facts.vocab_size - 1}"
        ) from None
    wrong = np.flatnonzero((wide < 0) | (wide >= facts.vocab_size))
    if len(wrong):
        where = int(wrong[0])
        raise InvalidInput(
            f"{field}[{where}] is {int(wide[where])}, which is no token of this model.",
            field=field,
            limit=f"0..{facts.vocab_size - 1}",
        )
    return wide.astype(np.int32)


def _checked_text(text: str | None) -> str:
    if not text:
        raise InvalidInput("The prompt is empty; give at least one character.", field="text", limit="1 token at least")
    _check_unicode(text, "text")
    return text


def _newest_answer(messages: Sequence[ChatMessage]) -> str:
    """The beginning of the newest answer in a conversation, "" without one."""
    answers = (message.content for message in reversed(messages) if message.role == "assistant")
    return next(answers, "")[:_COUNTED]


def _checked(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    if not 1 <= len(messages) <= MAX_MESSAGES:
        said = f"A conversation cannot have {len(messages)} messages."
        raise InvalidInput(said, field="messages", limit=f"1..{MAX_MESSAGES}")
    for number, message in enumerate(messages):
        if message.role not in ROLES:
            raise InvalidInput(
                f"messages[{number}].role must be system, user or assistant.", field=f"messages[{number}].role"
            )
        _check_unicode(message.content, f"messages[{number}].content")
        if message.name is not None:
            field = f"messages[{number}].name"
            if not 1 <= len(message.name) <= MAX_NAME:
                raise InvalidInput(f"{field} is empty or too long.", field=field, limit=f"1..{MAX_NAME} characters")
            _check_unicode(message.name, field)
    return messages


def _check_unicode(text: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(f"{field} holds half a surrogate pair, which is no character.", field=field) from None


def body_digest(asked: Asked, spec: JobSpec, prompt: Int32s) -> bytes:
    """SHA-256 of what was asked, before anything was drawn or filled in: equal bodies have equal
    digests.
    """
    said: tuple[object, ...] = (
        tuple(getattr(asked.sampling, field.name) for field in fields(asked.sampling)),
        spec.timeout_ns,
        spec.cancel_on_disconnect,
        *asked.digested(),
    )
    words = repr(said)
    digest = hashlib.sha256(words.encode("utf-8", "surrogatepass"))
    digest.update(prompt.tobytes())
    return digest.digest()
