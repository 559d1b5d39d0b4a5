"""Answers in the shapes of OpenAI's API.

Owns the JSON of completions, chat completions, their chunks, log-probabilities, usage and errors.
It knows no HTTP and no job pool: it gets core values and makes dictionaries. `calls.py` sends
them.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....core.errors import DeadlineExceeded, JobCancelled, JobFailed, NeverFits, SkipjoinError, by_code
from ....core.job import FinishReason
from ....core.logprobs import TokenLogprobs
from ....core.view import Chunk, Finish, JobView
from ....proto.status import http_status
from .names import name_here

_UTF8 = codecs.getincrementaldecoder("utf-8")
CONTEXT_WORDS = "maximum context length"
CONTEXT_CODE = "context_length_exceeded"
NEVER = -9999.0  # JSON has no infinity; OpenAI writes this for what practically cannot be
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def dumps(value: object) -> str:
    """JSON as it goes out: compact, and never NaN, which is no JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def error_body(error: SkipjoinError) -> dict[str, Any]:
    """OpenAI's error object of one of our errors."""
    status = http_status(type(error))
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    field = name_here(error.field)
    param = None if field is None else _sayable(field)
    said: dict[str, Any] = {"message": _sayable(str(error)), "type": kind, "param": param, "code": error.code.lower()}
    if isinstance(error, NeverFits):
        # What clients of OpenAI look for, with our own code beside it.
        said |= {"code": CONTEXT_CODE, "reason": error.code.lower()}
        if CONTEXT_WORDS not in said["message"]:
            said["message"] += f" The {CONTEXT_WORDS} is exceeded."
    return {"error": said}


def _sayable(text: str) -> str:
    """The text without halves of surrogate pairs: JSON can spell them, UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def failure_of(finish: Finish) -> SkipjoinError | None:
    """The error of a job that ended without success; None for one that succeeded."""
    match finish.reason:
        case FinishReason.STOP | FinishReason.LENGTH:
            return None
        case FinishReason.CANCELLED:
            return JobCancelled("The job was cancelled.")
        case FinishReason.EXPIRED:
            return DeadlineExceeded("The job did not finish before its deadline.")
    code, message = finish.failure or ("JOB_FAILED", "The job failed.")
    cls = by_code().get(code, JobFailed)
    return cls(message) if issubclass(cls, JobFailed) else JobFailed(message)


def usage_of(job: JobView, output_tokens: int) -> dict[str, int]:
    """Tokens in, out and together."""
    return {
        "prompt_tokens": job.prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": job.prompt_tokens + output_tokens,
    }


def _no_name(token: int) -> str | None:
    return None


@dataclass(slots=True)
class Shape:
    """How one answer looks, from its first chunk to its last. `text_offset` grows with it."""

    job: JobView
    model: str
    chat: bool
    token_bytes: Sequence[bytes]
    token_name: Callable[[int], str | None] = _no_name
    text_offset: int = field(default=0)
    _decoder: codecs.IncrementalDecoder = field(default_factory=lambda: _UTF8(errors="replace"))

    def chunk(self, chunk: Chunk, *, first: bool) -> dict[str, Any]:
        """One chunk of a stream."""
        finish = chunk.finish.reason.value if chunk.finish is not None else None
        choice: dict[str, Any] = {"index": 0, "logprobs": self._logprobs(chunk), "finish_reason": finish}
        if self.chat:
            choice["delta"] = {"role": "assistant", "content": chunk.text} if first else {"content": chunk.text}
        else:
            choice["text"] = chunk.text
        return self._whole("chat.completion.chunk" if self.chat else "text_completion", [choice])

    def usage_chunk(self, finish: Finish) -> dict[str, Any]:
        """The chunk behind the last when usage was asked for."""
        answer = self._whole("chat.completion.chunk" if self.chat else "text_completion", [])
        return answer | {"usage": usage_of(self.job, finish.output_tokens)}

    def answer(self, text: str, chunks: Sequence[Chunk], finish: Finish) -> dict[str, Any]:
        """The whole answer at once."""
        logprobs: tuple[TokenLogprobs, ...] | None = None
        if any(chunk.logprobs is not None for chunk in chunks):
            logprobs = tuple(entry for chunk in chunks for entry in chunk.logprobs or ())
        ids = tuple(token for chunk in chunks for token in chunk.token_ids)
        joined = Chunk(0, ids, text, logprobs, finish)
        choice: dict[str, Any] = {"index": 0, "logprobs": self._logprobs(joined), "finish_reason": finish.reason.value}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        answer = self._whole("chat.completion" if self.chat else "text_completion", [choice])
        return answer | {"usage": usage_of(self.job, finish.output_tokens)}

    def _whole(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.job.job_id}",
            "object": kind,
            "created": self.job.submitted_unix_ns // 10**9,
            "model": self.model,
            "choices": choices,
        }

    def _logprobs(self, chunk: Chunk) -> dict[str, Any] | None:
        if chunk.logprobs is None:
            return None
        pairs = list(zip(chunk.token_ids, chunk.logprobs, strict=True))
        if self.chat:
            return {"content": [self._chat_entry(token, entry) for token, entry in pairs]}
        offsets = []
        for token, _ in pairs:
            offsets.append(self.text_offset)
            self.text_offset += len(self._decoder.decode(self._bytes(token)))
        return {
            "tokens": [self._text(token) for token, _ in pairs],
            "token_logprobs": [_value(entry.chosen) for _, entry in pairs],
            "top_logprobs": [self._by_text(token, _with_chosen(token, entry)) for token, entry in pairs],
            "text_offset": offsets,
        }

    def _by_text(self, chosen: int, top: Sequence[tuple[int, float]]) -> dict[str, float | None]:
        """Values by the tokens' texts.

        Of several tokens with one text the chosen one, else the best, has it, and the others go by
        number.
        """
        own = self._text(chosen)
        found: dict[str, float | None] = {}
        for token, value in top:
            text = self._text(token)
            taken = text in found or (text == own and token != chosen)
            found[f"token_id:{token}" if taken else text] = _value(value)
        return found

    def _chat_entry(self, token: int, entry: TokenLogprobs) -> dict[str, Any]:
        top = _with_chosen(token, entry) if entry.top else []
        return self._one(token, entry.chosen) | {"top_logprobs": [self._one(other, value) for other, value in top]}

    def _one(self, token: int, value: float) -> dict[str, Any]:
        return {"token": self._text(token), "logprob": _value(value), "bytes": list(self._bytes(token))}

    def _text(self, token: int) -> str:
        """The token's text; its bytes where they are no text, its name where it has none."""
        data = self._bytes(token)
        if not data:
            return self.token_name(token) or f"token_id:{token}"
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)

    def _bytes(self, token: int) -> bytes:
        return self.token_bytes[token] if 0 <= token < len(self.token_bytes) else b""


def _with_chosen(token: int, entry: TokenLogprobs) -> Sequence[tuple[int, float]]:
    """The best tokens, best first, and the chosen one behind them where it is none of them."""
    if math.isnan(entry.chosen) or any(other == token for other, _ in entry.top):
        return entry.top
    return (*entry.top, (token, entry.chosen))


def _value(logprob: float) -> float | None:
    if math.isnan(logprob):
        return None
    return max(logprob, NEVER)
