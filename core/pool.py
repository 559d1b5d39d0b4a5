"""The rows of the durable job pool, as values.

Owns `NewJob`, `JobRecord` and what is asked of and appended to a pool. It knows no store; jobpool/
implements the port, the door and proto/convert use the values. Times here are wall-clock (unix)
nanoseconds, because they outlive the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .asked import Asked
from .errors import OffsetOutOfRange
from .ids import JobId, TenantId
from .job import FinishReason, JobAccount, JobState
from .outcome import TokenLogprobs
from .plan import Int32s, no_int32
from .view import Finish, JobView


@dataclass(frozen=True, slots=True, eq=False)
class NewJob:
    """A checked submission: `asked` as resolved (seed and max_new_tokens set), prompt as int32
    token ids.

    `request_id` is the caller's idempotency key within the tenant (None: every submit is a new
    job); `body_digest` tells whether two bodies are the same. `cancel_on_disconnect`: the door
    cancels the job when the stream that follows it breaks. `earlier_output_tokens` is what a policy
    may read, as in JobAttributes; the door counts it.
    """

    job_id: JobId
    tenant: TenantId
    request_id: str | None
    body_digest: bytes
    prompt: Int32s
    asked: Asked
    submitted_unix_ns: int
    deadline_unix_ns: int | None = None
    cancel_on_disconnect: bool = False
    earlier_output_tokens: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class JobRecord:
    """A job as stored. `output_tokens` is the log's length; `account_json` is the end's (`LogEnd`).

    `generated` and the job's `prompt` are filled by `claim`, elsewhere they may be empty;
    `prompt_tokens` is the prompt's length all the same, None where the prompt is there.
    """

    job: NewJob
    state: JobState
    epoch: int | None = None
    output_tokens: int = 0
    crashes: int = 0
    cancel_requested: bool = False
    finish: FinishReason | None = None
    failure: tuple[str, str] | None = None
    finished_unix_ns: int | None = None
    generated: Int32s = field(default_factory=no_int32)
    account_json: str | None = None
    prompt_tokens: int | None = None


def view_of(record: JobRecord) -> JobView:
    """The stored job as its owner sees it."""
    job = record.job
    return JobView(
        job_id=job.job_id,
        state=record.state,
        prompt_tokens=len(job.prompt) if record.prompt_tokens is None else record.prompt_tokens,
        asked=job.asked,
        submitted_unix_ns=job.submitted_unix_ns,
        tenant=job.tenant,
        request_id=job.request_id,
        output_tokens=record.output_tokens,
        deadline_unix_ns=job.deadline_unix_ns,
        finished_unix_ns=record.finished_unix_ns,
        finish=record.finish,
        failure=record.failure,
        account=_account(record.account_json),
        cancel_requested=record.cancel_requested,
        cancel_on_disconnect=job.cancel_on_disconnect,
    )


def finish_of(record: JobRecord) -> Finish:
    """The last word about a final job."""
    reason = record.finish or FinishReason.FAILED
    return Finish(reason, record.output_tokens, record.failure, _account(record.account_json))


def _account(text: str | None) -> JobAccount | None:
    return None if text is None else JobAccount.from_json(text)


@dataclass(frozen=True, slots=True, eq=False)
class LogEntry:
    """Tokens of one job to append behind `position` tokens. `logprobs`: None or one entry a token."""

    job_id: JobId
    position: int
    tokens: Int32s
    logprobs: tuple[TokenLogprobs | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class LogEnd:
    """A job's end, written behind its last tokens in the same commit. `account_json` is the job's
    account, for `admin job`.
    """

    job_id: JobId
    reason: FinishReason
    finished_unix_ns: int
    failure: tuple[str, str] | None = None
    account_json: str | None = None


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What one commit appends."""

    entries: tuple[LogEntry, ...] = ()
    ends: tuple[LogEnd, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TokenSlice:
    """Tokens of a job's log from `offset` on, and whether the job is final (then nothing follows)."""

    offset: int
    tokens: Int32s
    logprobs: tuple[TokenLogprobs | None, ...] | None
    record: JobRecord


def check_offset(offset: int, logged: int) -> None:
    """Raise OffsetOutOfRange for an offset that is no place in a log of `logged` tokens."""
    if not 0 <= offset <= logged:
        raise OffsetOutOfRange(
            f"offset is {offset}; the job's log has {logged} tokens.", field="offset", limit=f"0..{logged}"
        )


@dataclass(frozen=True, slots=True)
class JobQuery:
    """A page of a tenant's jobs. `tenant` None: all tenants (operators only)."""

    tenant: TenantId | None
    states: frozenset[JobState] = frozenset()
    page_size: int = 100
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs newest first; an empty `next_page_token` ends the list."""

    jobs: tuple[JobRecord, ...]
    next_page_token: str


class OpenJob(NamedTuple):
    """A job that is not final: what a queue must know of it."""

    job_id: JobId
    tenant: TenantId
    deadline_unix_ns: int | None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: the jobs that it expired, and how many old ones it deleted."""

    expired: tuple[JobId, ...] = ()
    forgotten: int = 0

    @property
    def touched(self) -> int:
        """Jobs that are not as they were."""
        return len(self.expired) + self.forgotten


@dataclass(frozen=True, slots=True)
class PoolDepth:
    """Jobs by state."""

    accepted: int
    claimed: int
    final: int
