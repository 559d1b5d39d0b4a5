"""The whole answer to a prompt.

Owns `Completion` and its collection from chunks, and what a job that did not succeed raises. It
makes no call; both clients use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import DeadlineExceeded, InternalError, JobCancelled, JobFailed, PoisonJob
from ..core.ids import JobId
from ..core.job import FinishReason, JobAccount
from ..core.logprobs import TokenLogprobs
from ..core.view import Chunk


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished job's output. `token_ids` holds the final stop token too, `text` does not show it."""

    job_id: JobId
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] | None = None
    account: JobAccount | None = None


def completion_of(job_id: JobId, chunks: Sequence[Chunk]) -> Completion:
    """The output of all chunks of a job.

    Raises JobFailed (PoisonJob), JobCancelled or DeadlineExceeded when the job did not succeed,
    InternalError when the chunks do not end.
    """
    finish = chunks[-1].finish if chunks else None
    if finish is None:
        raise InternalError("The stream has no end.")
    if finish.reason is FinishReason.FAILED:
        code, message = finish.failure or (JobFailed.code, "The job failed; the server gave no reason.")
        raise (PoisonJob if code == PoisonJob.code else JobFailed)(message)
    if finish.reason is FinishReason.CANCELLED:
        raise JobCancelled(f"Job {job_id} was cancelled.")
    if finish.reason is FinishReason.EXPIRED:
        raise DeadlineExceeded(f"Job {job_id} did not end in its time.", field="job_timeout_s")
    with_logprobs = any(chunk.logprobs is not None for chunk in chunks)
    return Completion(
        job_id=job_id,
        text="".join(chunk.text for chunk in chunks),
        token_ids=tuple(token for chunk in chunks for token in chunk.token_ids),
        finish_reason=finish.reason,
        logprobs=tuple(entry for chunk in chunks for entry in chunk.logprobs or ()) if with_logprobs else None,
        account=finish.account,
    )
