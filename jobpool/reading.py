"""What can be asked of the SQLite pool, on any connection.

Owns the statements that only read: one job, its log, pages of a list, counts. The pool asks through
it on its own connection, and `SqliteReader` on a second one, beside a writer that is busy or waits
for its disk. What of a log is in memory only, it copies from the token log. It gives out no row
that is not as it was written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import numpy as np

from ..core.errors import Conflict, DataLoss, NotFound
from ..core.ids import JobId, TenantId
from ..core.pool import JobPage, JobQuery, JobRecord, NewJob, OpenJob, PoolDepth, TokenSlice, check_offset
from . import page_token
from .database import ReadOnly, is_damage
from .job_rows import FOLDED, SELECT, STATE, STATE_CODES, Row, record_of, sealed_row, storable
from .schema import ACCEPTED, CLAIMED
from .token_log import TokenLog, read_pieces

Reads = Callable[[], AbstractContextManager[sqlite3.Connection]]


@dataclass(slots=True)
class Soundness:
    """What was found when the file was opened: whether rows of jobs are damaged, so that a job
    which is not found may be one of them.
    """

    jobs_missing: bool = False


class Reading:
    """Questions to one connection, from the thread that has it."""

    def __init__(self, reads: Reads, tokens: TokenLog, page_key: bytes, soundness: Soundness) -> None:
        self._reads = reads
        self._log = tokens
        self._page_key = page_key
        self._soundness = soundness

    def row(self, connection: sqlite3.Connection, job_id: JobId) -> Row:
        """A job's row, not yet checked. Raises NotFound; DataLoss when it may be a damaged one."""
        row: Row | None = connection.execute(f"{SELECT} WHERE job_id = ?", (storable(job_id),)).fetchone()
        if row is None:
            raise self._missing()
        return row

    def _missing(self) -> NotFound | DataLoss:
        if self._soundness.jobs_missing:
            return DataLoss("There is no such job, or it is one of those that are damaged in the job pool.")
        return NotFound("There is no such job.", field="job_id")

    def record(self, row: Row) -> JobRecord:
        """The record of a row that was read after the log's lengths were as they are now. Raises
        DataLoss.
        """
        return record_of(row, max(row[FOLDED], self._log.length(row[0])))

    def get(self, job_id: JobId) -> JobRecord:
        """See the port."""
        with self._reads() as connection:
            return self._fresh(connection, self._seq(connection, job_id))

    def _seq(self, connection: sqlite3.Connection, job_id: JobId) -> int:
        found = connection.execute("SELECT seq FROM job WHERE job_id = ?", (storable(job_id),)).fetchone()
        if found is None:
            raise self._missing()
        return int(found[0])

    def _fresh(self, connection: sqlite3.Connection, seq: int) -> JobRecord:
        """Length first, row second: a tail that is folded in between is then in the row, and no
        token is missed.
        """
        length = self._log.length(seq)
        row = connection.execute(f"{SELECT} WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise self._missing()
        return record_of(row, max(row[FOLDED], length))

    def first_of(self, job: NewJob) -> JobRecord | None:
        """See the port."""
        if job.request_id is None:
            return None
        with self._reads() as connection:
            found = connection.execute(
                "SELECT seq FROM job WHERE tenant = ? AND request_id = ?", (storable(job.tenant), job.request_id)
            ).fetchone()
            if found is None:
                return None
            record = self._fresh(connection, int(found[0]))
        if record.job.body_digest != job.body_digest:
            raise conflict()
        return record

    def tokens(self, job_id: JobId, offset: int) -> TokenSlice:
        """See the port."""
        with self._reads() as connection:
            seq = self._seq(connection, job_id)
            tail = self._log.copy(seq)  # before the rows, as for lengths
            connection.execute("SAVEPOINT slice")
            try:
                row = connection.execute(f"{SELECT} WHERE seq = ?", (seq,)).fetchone()
                if row is None:
                    raise self._missing()
                record = record_of(row, max(row[FOLDED], 0 if tail is None else tail.length))
                check_offset(offset, record.output_tokens)
                pieces, whole = read_pieces(connection, seq, offset, row[FOLDED])
            finally:
                connection.execute("RELEASE slice")
        if not whole:
            later = "" if record.state.final else " They are computed again when a server takes the job up."
            raise DataLoss(f"The job's tokens are damaged in the job pool.{later}")
        tokens, logprobs = pieces.tokens, pieces.logprobs
        if tail is not None and tail.length > row[FOLDED]:
            skip = max(0, max(offset, row[FOLDED]) - tail.folded)
            tokens = np.concatenate([tokens, np.array(tail.tokens[skip:], dtype=np.int32)])
            logprobs = logprobs + ([] if tail.logprobs is None else tail.logprobs[skip:])
        wants = record.job.asked.sampling.logprobs is not None
        return TokenSlice(offset, tokens, tuple(logprobs) if wants else None, record)

    def list(self, query: JobQuery) -> JobPage:
        """See the port. Damaged jobs are left out: nobody can say whose they are."""
        where, values = ["1"], list[object]()
        if query.page_token:
            where.append("seq < ?")
            values.append(page_token.unseal(self._page_key, query))
        if query.tenant is not None:
            where.append("tenant = ?")
            values.append(storable(query.tenant))
        if query.states:
            where.append(f"state IN ({', '.join('?' * len(query.states))})")
            values += [STATE_CODES[state] for state in query.states]
        statement = f"{SELECT} WHERE {' AND '.join(where)} ORDER BY seq DESC LIMIT ?"
        records: list[JobRecord] = []
        with self._reads() as connection:
            wanted = (*values, query.page_size + 1)
            try:
                rows = connection.execute(statement, wanted).fetchall()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                found = connection.execute(statement.replace(SELECT, "SELECT seq FROM job", 1), wanted).fetchall()
                rows = [sealed_row(connection, seq) or (seq,) for (seq,) in found]
            for row in rows[: query.page_size]:
                with suppress(DataLoss, NotFound):
                    records.append(self._listed(connection, row))
        more = len(rows) > query.page_size
        return JobPage(tuple(records), page_token.seal(self._page_key, query, rows[-2][0]) if more else "")

    def _listed(self, connection: sqlite3.Connection, row: Row) -> JobRecord:
        if len(row) == 1:
            raise self._missing()
        length = self._log.length(row[0])
        if row[STATE] == CLAIMED and not length:
            return self._fresh(connection, row[0])  # it may have ended since, and its log is in a newer row
        return record_of(row, max(row[FOLDED], length))

    def depth(self) -> PoolDepth:
        """See the port."""
        with self._reads() as connection:
            accepted, claimed, jobs = (
                int(connection.execute(f"SELECT COUNT(*) FROM job {where}").fetchone()[0])
                for where in (f"WHERE state = {ACCEPTED}", f"WHERE state = {CLAIMED}", "")
            )
        return PoolDepth(accepted, claimed, jobs - accepted - claimed)

    def unfinished(self) -> Sequence[OpenJob]:
        """See the port."""
        with self._reads() as connection:
            return [
                OpenJob(JobId(str(job_id)), TenantId(str(tenant)), deadline)
                for state in (ACCEPTED, CLAIMED)
                for job_id, tenant, deadline in connection.execute(_OPEN.format(state))
            ]


_OPEN = "SELECT job_id, tenant, deadline_unix_ns FROM job WHERE state = {}"
"""Accepted ones come before claimed ones: a job that is claimed in between is not missed."""


class SqliteReader(Reading):
    """`JobReader` on a connection of its own."""

    def __init__(self, connection: ReadOnly, tokens: TokenLog, page_key: bytes, soundness: Soundness) -> None:
        super().__init__(connection.read, tokens, page_key, soundness)
        self._connection = connection

    def close(self) -> None:
        """Close the connection; idempotent."""
        self._connection.close()


def conflict() -> Conflict:
    """The request_id is another body's."""
    return Conflict(
        "This request_id was used before with another body; use a new one for a new job.", field="request_id"
    )
