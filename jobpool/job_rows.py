"""A job as a row and back.

Owns which column holds which field, the codes of the states and the JSON of the sampling parameters. It runs only the statements that read or
write one job's row; the SQLite pool decides when.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import Any

import numpy as np

from ..core.errors import InvariantViolation
from ..core.ids import JobId, TenantId
from ..core.job import FinishReason, JobState
from ..core.plan import Int32s
from ..core.pool import JobRecord, LogEnd, NewJob
from ..core.sampling import SamplingParams
from .schema import ACCEPTED, CLAIMED

STATE_CODES = {
    JobState.ACCEPTED: ACCEPTED,
    JobState.CLAIMED: CLAIMED,
    JobState.SUCCEEDED: 2,
    JobState.FAILED: 3,
    JobState.CANCELLED: 4,
    JobState.EXPIRED: 5,
}
_STATES = {code: state for state, code in STATE_CODES.items()}

_COLUMNS = (
    "job.seq, job_id, tenant, request_id, body_digest, sampling, submitted_unix_ns, deadline_unix_ns, cancel_on_disconnect, "
    "state, epoch, crashes, folded_tokens, cancel_reason, finish, failure_code, failure_message, finished_unix_ns, account, prompt.tokens, "
    "priority, earlier_output_tokens"
)
SELECT = f"SELECT {_COLUMNS} FROM job JOIN prompt ON prompt.seq = job.seq"
"""Rows for `record_of`; a WHERE follows."""


def storable(text: str) -> str:
    """The text without halves of surrogate pairs, which no store takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def ints(data: bytes) -> Int32s:
    """int32[n] of a stored column; read-only."""
    return np.frombuffer(data, dtype="<i4").astype(np.int32, copy=False)


def column(values: Int32s) -> bytes:
    """A column of int32 as stored."""
    return values.astype("<i4", copy=False).tobytes()


def insert(connection: sqlite3.Connection, job: NewJob) -> int:
    """Write a new job; answers its number in the order of acceptance."""
    cursor = connection.execute(
        "INSERT INTO job (job_id, tenant, request_id, body_digest, sampling, submitted_unix_ns, deadline_unix_ns, cancel_on_disconnect,"
        " priority, earlier_output_tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            job.job_id,
            storable(job.tenant),
            job.request_id,
            job.body_digest,
            json.dumps(asdict(job.sampling), separators=(",", ":")),
            job.submitted_unix_ns,
            job.deadline_unix_ns,
            int(job.cancel_on_disconnect),
            job.priority,
            job.earlier_output_tokens,
        ),
    )
    seq = cursor.lastrowid
    assert seq is not None, "an INSERT gives a row id"
    connection.execute("INSERT INTO prompt VALUES (?, ?)", (seq, column(job.prompt)))
    return seq


def write_end(connection: sqlite3.Connection, seq: int, end: LogEnd, folded_tokens: int) -> None:
    """Make a job final."""
    code, message = end.failure if end.failure is not None else (None, None)
    connection.execute(
        "UPDATE job SET state = ?, finish = ?, finished_unix_ns = ?, failure_code = ?, failure_message = ?, account = ?, folded_tokens = ?"
        " WHERE seq = ?",
        (
            STATE_CODES[end.reason.state],
            end.reason.value,
            end.finished_unix_ns,
            code if code is None else storable(code),
            message if message is None else storable(message),
            end.account_json,
            folded_tokens,
            seq,
        ),
    )


def record_of(row: tuple[Any, ...], tail_tokens: int) -> JobRecord:
    """The record of a row that `SELECT` gave; `tail_tokens` of its log are not folded yet. Raises InvariantViolation for a row nobody wrote."""
    try:
        failure = None if row[15] is None else (str(row[15]), str(row[16]))
        return JobRecord(
            job=NewJob(
                job_id=JobId(row[1]),
                tenant=TenantId(row[2]),
                request_id=row[3],
                body_digest=row[4],
                prompt=ints(row[19]),
                sampling=SamplingParams(**json.loads(row[5])),
                submitted_unix_ns=row[6],
                deadline_unix_ns=row[7],
                cancel_on_disconnect=bool(row[8]),
                priority=row[20],
                earlier_output_tokens=row[21],
            ),
            state=_STATES[row[9]],
            epoch=row[10],
            crashes=row[11],
            output_tokens=row[12] + tail_tokens,
            cancel_requested=row[13] is not None,
            finish=None if row[14] is None else FinishReason(row[14]),
            failure=failure,
            finished_unix_ns=row[17],
            account_json=row[18],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantViolation("A stored job cannot be read.") from error
