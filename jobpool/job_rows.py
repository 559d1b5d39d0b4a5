"""A job as a row and back.

Owns which column holds which field, the codes of the states, how what was asked is packed (sampling
as JSON, each option in the column of its name) and the seal of a row: its checksum. It runs only
the statements that read or write one job's row; the SQLite pool decides when.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from ..core.asked import OPTIONS, Asked
from ..core.errors import DataLoss
from ..core.ids import JobId, TenantId
from ..core.job import FinishReason, JobState
from ..core.plan import Int32s, no_int32
from ..core.pool import JobRecord, LogEnd, NewJob
from ..core.sampling import SamplingParams
from .checksum import checksum
from .database import is_damage
from .schema import ACCEPTED, CLAIMED, JOB_COLUMNS

STATE_CODES = {
    JobState.ACCEPTED: ACCEPTED,
    JobState.CLAIMED: CLAIMED,
    JobState.SUCCEEDED: 2,
    JobState.FAILED: 3,
    JobState.CANCELLED: 4,
    JobState.EXPIRED: 5,
}
_STATES = {code: state for state, code in STATE_CODES.items()}

SELECT = f"SELECT {', '.join(JOB_COLUMNS)}, checksum FROM job"
"""Rows for `record_of`; a WHERE follows."""
CRASHES, FOLDED, SAMPLING, STATE = (
    JOB_COLUMNS.index(name) for name in ("crashes", "folded_tokens", "sampling", "state")
)
"""Places in such a row; its number comes first."""
OPTION_COLUMNS = tuple(name for name in JOB_COLUMNS if name in OPTIONS)
_OPTION_PLACES = {name: JOB_COLUMNS.index(name) for name in OPTION_COLUMNS}
_EARLIER, _PROMPT_TOKENS = JOB_COLUMNS.index("earlier_output_tokens"), JOB_COLUMNS.index("prompt_tokens")
_BEHIND_ACCOUNT = JOB_COLUMNS[JOB_COLUMNS.index("account") + 1 :]
"""The columns that a format added at the end."""

Row = tuple[Any, ...]


def update(*columns: str) -> str:
    """A statement that sets these columns of rows of `job`, by parameters of their names, and seals
    the rows anew; a WHERE follows.
    """
    sealed = ", ".join(f":{name}" if name in columns else name for name in JOB_COLUMNS)
    return f"UPDATE job SET {', '.join(f'{name} = :{name}' for name in columns)}, checksum = checksum({sealed})"


def storable(text: str) -> str:
    """The text without halves of surrogate pairs, which no store takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def ints(data: bytes) -> Int32s:
    """int32[n] of a stored column; read-only."""
    return np.frombuffer(data, dtype="<i4").astype(np.int32, copy=False)


STORED = np.dtype("<i4")
"""How tokens are stored. There is one such object where it is the machine's own int32, so that `is`
finds what needs no conversion.
"""


def column(values: Int32s) -> bytes:
    """A column of int32 as stored."""
    return values.astype(STORED, copy=False).tobytes()


_SPELL = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_SAMPLING = tuple(
    (field.name, field.default, f'"{field.name}":{_SPELL(field.default)}') for field in fields(SamplingParams)
)
"""Name, default, and how the default is spelled."""
_INSERT = (
    f"INSERT INTO job ({', '.join(JOB_COLUMNS)}, checksum) VALUES ({', '.join('?' * (len(JOB_COLUMNS) + 1))})"
    " ON CONFLICT (job_id) DO NOTHING ON CONFLICT (tenant, request_id) WHERE request_id IS NOT NULL DO NOTHING"
)
"""What is stored already is found by the indices that the row goes into anyway; a conflict of
numbers is damage, and an error.
"""


def insert(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[bool]:
    """Write jobs, inside a transaction that writes. Returns of each whether it is new: no stored
    job has its id, or its request_id.

    Numbers go up in the order of the jobs and are never given twice.
    """
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'job'").fetchone()
    first = 1 if found is None else int(found[0]) + 1
    rows = [_row(seq, job) for seq, job in enumerate(jobs, first)]
    if connection.executemany(_INSERT, rows).rowcount == len(rows):
        stored = [True] * len(rows)
    else:
        numbers = {seq for (seq,) in connection.execute("SELECT seq FROM job WHERE seq >= ?", (first,))}
        stored = [row[0] in numbers for row in rows]
    prompts = [(seq, column(job.prompt)) for seq, job in enumerate(jobs, first) if stored[seq - first]]
    connection.executemany(
        "INSERT INTO prompt VALUES (?, ?, ?)", [(seq, tokens, checksum(seq, tokens)) for seq, tokens in prompts]
    )
    return stored


def _spelled(sampling: SamplingParams) -> str:
    """A JSON object. Most values are defaults, spelled once; JSON spells finite numbers as Python
    does.
    """
    parts = []
    for name, default, spelled in _SAMPLING:
        value = getattr(sampling, name)
        if value is default:
            parts.append(spelled)
        else:
            number = type(value) is int or type(value) is float
            parts.append(f'"{name}":{value if number else _SPELL(value)}')
    return f"{{{','.join(parts)}}}"


def _row(seq: int, job: NewJob) -> Row:
    state, epoch, crashes, folded_tokens = ACCEPTED, None, 0, 0
    behind = job.asked.options()
    behind |= {"earlier_output_tokens": job.earlier_output_tokens, "prompt_tokens": len(job.prompt)}
    row = (
        seq,
        job.job_id,
        storable(job.tenant),
        job.request_id,
        job.body_digest,
        _spelled(job.asked.sampling),
        job.submitted_unix_ns,
        job.deadline_unix_ns,
        int(job.cancel_on_disconnect),
        *(state, epoch, crashes, folded_tokens),
        *(None,) * 6,  # from cancel_reason to account
        *(behind[name] for name in _BEHIND_ACCOUNT),
    )
    return (*row, checksum(*row))


def _asked(sampling: str, row: Row) -> Asked:
    return Asked(SamplingParams.stored(json.loads(sampling)), **{name: row[at] for name, at in _OPTION_PLACES.items()})


def read_prompt(connection: sqlite3.Connection, seq: int) -> Int32s:
    """int32[n] of a job's prompt. Raises DataLoss."""
    found = connection.execute("SELECT tokens, checksum FROM prompt WHERE seq = ?", (seq,)).fetchone()
    if found is None or checksum(seq, found[0]) != found[1]:
        raise DataLoss("The job's prompt is damaged in the job pool; submit the job again.")
    return ints(found[0])


_END = update(
    "state", "finish", "finished_unix_ns", "failure_code", "failure_message", "account", "folded_tokens"
) + " WHERE seq = :at"  # fmt: skip


def write_end(connection: sqlite3.Connection, seq: int, end: LogEnd, folded_tokens: int) -> None:
    """Make a job final."""
    code, message = end.failure if end.failure is not None else (None, None)
    connection.execute(
        _END,
        {
            "at": seq,
            "state": STATE_CODES[end.reason.state],
            "finish": end.reason.value,
            "finished_unix_ns": end.finished_unix_ns,
            "failure_code": code if code is None else storable(code),
            "failure_message": message if message is None else storable(message),
            "account": end.account_json,
            "folded_tokens": folded_tokens,
        },
    )


def check_sealed(row: Row) -> None:
    """Raise DataLoss unless a row that `SELECT` gave is as it was written."""
    if checksum(*row[:-1]) != row[-1]:
        raise DataLoss("The job is damaged in the job pool; submit it again.")


def sealed_row(connection: sqlite3.Connection, seq: int) -> Row | None:
    """A row as `SELECT` gives it; None where there is none, or a damaged one."""
    try:
        row: Row | None = connection.execute(f"{SELECT} WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            check_sealed(row)
    except DataLoss:
        return None
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return None
    return row


def record_of(row: Row, output_tokens: int, prompt: Int32s | None = None) -> JobRecord:
    """The record of a row that `SELECT` gave, with its prompt's tokens where they were read. Raises
    DataLoss for a damaged row.
    """
    check_sealed(row)
    (
        _, job_id, tenant, request_id, body_digest, sampling, submitted, deadline, cancel_on_disconnect, state, epoch,
        crashes, _, cancel_reason, finish, failure_code, failure_message, finished, account, *_,
    ) = row  # fmt: skip
    try:
        return JobRecord(
            job=NewJob(
                job_id=JobId(job_id),
                tenant=TenantId(tenant),
                request_id=request_id,
                body_digest=body_digest,
                prompt=no_int32() if prompt is None else prompt,
                asked=_asked(sampling, row),
                submitted_unix_ns=submitted,
                deadline_unix_ns=deadline,
                cancel_on_disconnect=bool(cancel_on_disconnect),
                earlier_output_tokens=row[_EARLIER],
            ),
            state=_STATES[state],
            epoch=epoch,
            crashes=crashes,
            output_tokens=output_tokens,
            cancel_requested=cancel_reason is not None,
            finish=None if finish is None else FinishReason(finish),
            failure=None if failure_code is None else (failure_code, failure_message),
            finished_unix_ns=finished,
            account_json=account,
            prompt_tokens=row[_PROMPT_TOKENS],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataLoss("The job cannot be read from the job pool; submit it again.") from error
