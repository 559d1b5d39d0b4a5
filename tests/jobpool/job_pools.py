"""Jobs to store and short ways to say what happens to them, for the tests of the job pool."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from skipjoin.core.asked import Asked
from skipjoin.core.ids import DEFAULT_TENANT, JobId, TenantId
from skipjoin.core.job import FinishReason
from skipjoin.core.jobpool import JobPool
from skipjoin.core.outcome import TokenLogprobs
from skipjoin.core.pool import JobRecord, LogBatch, LogEnd, LogEntry, NewJob
from skipjoin.core.sampling import SamplingParams

NOW = 1_700_000_000 * 10**9


def job_id(number: int) -> JobId:
    """32 hex digits."""
    return JobId(f"{number:032x}")


def new_job(
    number: int,
    *,
    tenant: str = DEFAULT_TENANT,
    request_id: str | None = None,
    body: str = "",
    prompt: Sequence[int] = (1, 2, 3),
    logprobs: int | None = None,
    deadline_unix_ns: int | None = None,
    priority: int = 0,
    earlier_output_tokens: int = 0,
) -> NewJob:
    """Job `number`; jobs of one `body` have one digest."""
    return NewJob(
        job_id=job_id(number),
        tenant=TenantId(tenant),
        request_id=request_id,
        body_digest=hashlib.sha256((body or str(number)).encode()).digest(),
        prompt=np.array(prompt, dtype=np.int32),
        asked=Asked(SamplingParams(seed=number, max_new_tokens=2000, stop=("end", "é"), logprobs=logprobs), priority),
        submitted_unix_ns=NOW + number,
        deadline_unix_ns=deadline_unix_ns,
        earlier_output_tokens=earlier_output_tokens,
    )


def token_at(number: int, position: int) -> int:
    """The token that the tests write at a position of job `number`: any gap, repeat or swap shows."""
    return (number * 1_000_003 + position * 7919) % 50_000


def entry(number: int, position: int, count: int, logprobs: tuple[TokenLogprobs | None, ...] | None = None) -> LogEntry:
    """`count` of the job's own tokens from `position` on."""
    tokens = np.array([token_at(number, at) for at in range(position, position + count)], dtype=np.int32)
    return LogEntry(job_id(number), position, tokens, logprobs)


def end(number: int, reason: FinishReason = FinishReason.LENGTH, finished_unix_ns: int = NOW) -> LogEnd:
    """The end of job `number`."""
    failure = ("POISON_JOB", "It broke.") if reason is FinishReason.FAILED else None
    return LogEnd(job_id(number), reason, finished_unix_ns, failure, '{"queued_ns":1}')


def submit_one(pool: JobPool, job: NewJob) -> JobRecord:
    """Store one job and demand that it was."""
    (answer,) = pool.submit([job])
    assert isinstance(answer, JobRecord), answer
    return answer


def logged(pool: JobPool, epoch: int, number: int, counts: Sequence[int]) -> int:
    """Append the job's tokens in commits of `counts`; answers the log's length."""
    position = pool.get(job_id(number)).output_tokens
    for count in counts:
        pool.commit(epoch, LogBatch((entry(number, position, count),)))
        position += count
    return position


def check_log(pool: JobPool, number: int, length: int) -> None:
    """The job's log has exactly `length` tokens, each its own, from wherever one reads."""
    assert pool.get(job_id(number)).output_tokens == length
    for offset in {0, length // 3, max(0, length - 1), length}:
        piece = pool.tokens(job_id(number), offset)
        assert piece.offset == offset
        assert piece.tokens.tolist() == [token_at(number, at) for at in range(offset, length)]
