"""A stored job as its owner sees it.

Owns the way from `JobRecord` (what the pool keeps) to `JobView` and `Finish` (what a client is shown). It knows no wire; servicers and HTTP
both show these values.
"""

from __future__ import annotations

import json

from ..core.job import FinishReason, JobAccount
from ..core.pool import JobRecord
from ..core.view import Finish, JobView


def view_of(record: JobRecord) -> JobView:
    """The public facts of a stored job."""
    job = record.job
    return JobView(
        job_id=job.job_id,
        state=record.state,
        prompt_tokens=len(job.prompt),
        sampling=job.sampling,
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
    return Finish(
        record.finish or FinishReason.FAILED, record.output_tokens, record.failure, _account(record.account_json)
    )


def _account(text: str | None) -> JobAccount | None:
    return None if text is None else JobAccount(**json.loads(text))
