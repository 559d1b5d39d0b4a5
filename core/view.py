"""A job as its owner sees it from outside.

Owns the values that the SDK gives and the door shows: `JobSpec` (what is asked), `JobView`, `Chunk`
and `JobEvent` of a stream, `JobList`. They know no wire, no store and no numpy; proto/convert
carries them, client/ hands them out. Times are wall-clock (unix) nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from .asked import DEFAULT_SAMPLING, NOTHING_ASKED, Asked, ShowsAsked
from .errors import InvalidInput
from .ids import DEFAULT_TENANT, JobId, Level, TenantId
from .job import FinishReason, JobAccount, JobState, LevelCause
from .logprobs import TokenLogprobs
from .sampling import SamplingParams

MAX_REQUEST_ID = 64
MAX_REASON = 200
NOTHING_GIVEN: frozenset[str] = frozenset()


def check_request_id(request_id: str) -> None:
    """Raise InvalidInput unless it is 1 to 64 printable ASCII characters without spaces (AIP-155;
    any UUID is).
    """
    if not 1 <= len(request_id) <= MAX_REQUEST_ID or not all("!" <= char <= "~" for char in request_id):
        raise InvalidInput(
            "request_id must be 1 to 64 printable ASCII characters without spaces; a UUID is a good one.",
            field="request_id",
            limit=f"1..{MAX_REQUEST_ID} characters",
        )


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation; `role` is system, user or assistant. `name` tells speakers of one
    role apart, where the template reads it.
    """

    role: str
    content: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A prompt and what is asked: exactly one of `text`, `token_ids` and `messages`.

    `asked`: how to sample, and the options. `sampling_given`: the fields of `asked.sampling` that
    the caller gave, None for all of them. The others are the model's defaults. Where it is empty,
    `asked.sampling` is left as it is by default. `timeout_ns`: counts from acceptance; None is the
    server's limit. `cancel_on_disconnect`: the door cancels the job when the stream that follows it
    breaks.

    Raises InvalidInput when there is no prompt, more than one, the timeout is not positive or an
    option is out of bounds. The door says whether the prompt fits.
    """

    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    messages: tuple[ChatMessage, ...] | None = None
    asked: Asked = NOTHING_ASKED
    sampling_given: frozenset[str] | None = NOTHING_GIVEN
    timeout_ns: int | None = None
    cancel_on_disconnect: bool = False

    def __post_init__(self) -> None:
        given = [x for x in (self.text, self.token_ids, self.messages) if x is not None]
        if len(given) != 1:
            raise InvalidInput("Give exactly one of text, token_ids and messages.", field="prompt")
        if self.timeout_ns is not None and self.timeout_ns <= 0:
            raise InvalidInput("timeout must be positive.", field="timeout", limit="above 0")
        self.asked.check()
        assert self.samples or self.asked.sampling == DEFAULT_SAMPLING, "sampling is set, but no field of it is given"

    @property
    def samples(self) -> bool:
        """Whether the caller gave any field of the sampling."""
        return self.sampling_given is None or bool(self.sampling_given)

    def asked_with(self, defaults: SamplingParams) -> Asked:
        """Returns what is asked, with the model's `defaults` where the caller gave no sampling."""
        return self.asked if self.samples else replace(self.asked, sampling=defaults)


@dataclass(frozen=True, slots=True)
class JobView(ShowsAsked):
    """A job as its owner sees it.

    `asked` is resolved. Its parts are attributes of the view too: `sampling` is `asked.sampling`.
    `output_tokens` is the log's length; `failure` is (code, message).
    """

    job_id: JobId
    state: JobState
    prompt_tokens: int
    asked: Asked
    submitted_unix_ns: int
    tenant: TenantId = DEFAULT_TENANT
    request_id: str | None = None
    output_tokens: int = 0
    deadline_unix_ns: int | None = None
    finished_unix_ns: int | None = None
    finish: FinishReason | None = None
    failure: tuple[str, str] | None = None
    account: JobAccount | None = None
    cancel_requested: bool = False
    cancel_on_disconnect: bool = False


@dataclass(frozen=True, slots=True)
class JobList:
    """A page of jobs, newest first; an empty `next_page_token` ends the list."""

    jobs: tuple[JobView, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """The last word about a job. `failure` is (code, message) when the reason is FAILED."""

    reason: FinishReason
    output_tokens: int
    failure: tuple[str, str] | None = None
    account: JobAccount | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [offset, offset + len(token_ids)) of a job's log and what they add to its text.

    `logprobs` is None or has one entry a token. `finish` is set in the last chunk, which may hold
    no token.
    """

    offset: int
    token_ids: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprobs, ...] | None = None
    finish: Finish | None = None

    @property
    def end(self) -> int:
        """The offset behind this chunk: where a broken stream is taken up again."""
        return self.offset + len(self.token_ids)


class JobEventKind(Enum):
    """What happened to a job in the engine."""

    STARTED = "started"  # first time in a batch
    PREEMPTED = "preempted"  # left the batch unfinished
    RESUMED = "resumed"  # back in a batch
    LEVEL_CHANGED = "level_changed"  # demoted or promoted
    RECOMPUTED = "recomputed"  # its KV was dropped and must be computed again


@dataclass(frozen=True, slots=True)
class JobEvent:
    """What happens to a job now, best effort: not replayed to a stream that attaches later. `tokens` are those to
    compute again.
    """

    kind: JobEventKind
    unix_ns: int
    level: Level | None = None
    old_level: Level | None = None
    cause: LevelCause | None = None
    tokens: int | None = None
