"""The embedded job pool: one SQLite file.

Owns the order of statements behind every call of the `JobPool` port and which of them share a transaction. It does not know how a file is opened
(`database.py`), how tokens are laid down (`token_log.py`) or what a row looks like (`job_rows.py`). One thread uses it, the door's store thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.clock import unix_ns
from ..core.errors import Conflict, InvariantViolation, NotFound, OffsetOutOfRange, WrongState
from ..core.ids import JobId
from ..core.job import FinishReason, JobState
from ..core.pool import JobPage, JobQuery, JobRecord, LogBatch, LogEnd, LogEntry, NewJob, PoolDepth, TokenSlice
from . import page_token
from .database import BUSY_TIMEOUT_MS, Database
from .job_rows import SELECT, STATE_CODES, insert, record_of, storable, write_end
from .schema import ACCEPTED, CLAIMED
from .token_log import Tail, TokenLog

PAGE_PROMPT_TOKENS = 4 * 2**20
SWEEP_JOBS = 2_000


class SqliteJobPool:
    """`JobPool` on a file; see the port for what each method promises."""

    def __init__(self, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, max_pages: int | None = None) -> None:
        """Open or make the pool. Raises InvalidSettings, StoreUnavailable; see `Database`."""
        self._database = Database(path, busy_timeout_ms=busy_timeout_ms, max_pages=max_pages)
        try:
            with self._database.read() as connection:
                self._log = TokenLog(connection)
                self._page_key: bytes = connection.execute("SELECT page_key FROM pool").fetchone()[0]
        except BaseException:
            self._database.close()
            raise
        self._claimed: dict[JobId, Tail] = {}  # jobs of the current epoch

    @property
    def durable(self) -> bool:
        """Every write is synced before its call returns."""
        return True

    # owners -----------------------------------------------------------------------------------------------------
    def open_epoch(self, owner: str) -> int:
        """See the port."""
        with self._database.write() as connection:
            connection.execute("UPDATE pool SET epoch = epoch + 1, owner = ?", (storable(owner),))
            epoch: int = connection.execute("SELECT epoch FROM pool").fetchone()[0]
        self._claimed.clear()
        return epoch

    @staticmethod
    def _check_epoch(connection: sqlite3.Connection, epoch: int) -> None:
        current = connection.execute("SELECT epoch FROM pool").fetchone()[0]
        if epoch != current:
            raise WrongState("Another server has taken over this job pool; this one may not write to it any more.")

    # jobs in ----------------------------------------------------------------------------------------------------
    def submit(self, jobs: Sequence[NewJob], *, newcomers: bool = True) -> list[JobRecord | Exception]:
        """See the port."""
        with self._database.write() if newcomers else self._database.read() as connection:
            return [self._submit_one(connection, job, newcomers) for job in jobs]

    def _submit_one(self, connection: sqlite3.Connection, job: NewJob, newcomers: bool) -> JobRecord | Exception:
        if job.request_id is not None:
            first = connection.execute(
                f"{SELECT} WHERE tenant = ? AND request_id = ?", (storable(job.tenant), job.request_id)
            ).fetchone()
            if first is not None:
                record = self._record(first)
                return record if record.job.body_digest == job.body_digest else _conflict()
        if not newcomers:
            return NotFound("No job was submitted under this request_id.", field="request_id")
        if connection.execute("SELECT 1 FROM job WHERE job_id = ?", (job.job_id,)).fetchone():
            return InvariantViolation("A new job has the id of an old one.")
        insert(connection, job)
        return JobRecord(job, JobState.ACCEPTED)

    def claim(self, epoch: int, limit: int) -> list[JobRecord]:
        """See the port."""
        with self._database.write() as connection:
            self._check_epoch(connection, epoch)
            rows: list[tuple[Any, ...]] = []
            for where, values in (("state = 1 AND epoch < ?", (epoch,)), ("state = 0", ())):
                rows += connection.execute(f"{SELECT} WHERE {where} ORDER BY job.seq LIMIT ?", (*values, limit))
            rows = sorted(rows, key=lambda row: int(row[0]))[:limit]
            connection.executemany(
                "UPDATE job SET state = ?, epoch = ? WHERE seq = ?", [(CLAIMED, epoch, row[0]) for row in rows]
            )
            records = [
                replace(self._record(row), state=JobState.CLAIMED, epoch=epoch, generated=self._log.read(row[0], 0)[0])
                for row in rows
            ]
        for row, record in zip(rows, records, strict=True):
            wants = record.job.sampling.logprobs is not None
            self._claimed[record.job.job_id] = self._log.open_tail(row[0], row[12], wants_logprobs=wants)
        return records

    # tokens -----------------------------------------------------------------------------------------------------
    def commit(self, epoch: int, batch: LogBatch) -> None:
        """See the port."""
        with self._database.write() as connection:
            self._check_epoch(connection, epoch)
            appended = self._checked_entries(batch.entries)
            ends = self._checked_ends(batch.ends)
            staged = self._log.stage(appended, set(ends))
            lengths = {tail.seq: tail.length + len(entry.tokens) for tail, entry in appended}
            for seq, (tail, end) in ends.items():
                write_end(connection, seq, end, lengths.get(seq, tail.length))
        self._log.apply(staged, ends)
        for end in batch.ends:
            del self._claimed[end.job_id]

    def _checked_entries(self, entries: Sequence[LogEntry]) -> list[tuple[Tail, LogEntry]]:
        seen: set[int] = set()
        checked: list[tuple[Tail, LogEntry]] = []
        for entry in entries:
            tail = self._owned(entry.job_id)
            if tail.seq in seen or entry.position != tail.length:
                raise InvariantViolation(
                    f"Tokens at {entry.position} do not go behind a log of {tail.length} tokens, or the job is twice in one commit."
                )
            if entry.logprobs is not None and len(entry.logprobs) != len(entry.tokens):
                raise InvariantViolation("A commit has another number of log-probabilities than of tokens.")
            seen.add(tail.seq)
            if len(entry.tokens):
                checked.append((tail, entry))
        return checked

    def _checked_ends(self, ends: Sequence[LogEnd]) -> dict[int, tuple[Tail, LogEnd]]:
        checked = {tail.seq: (tail, end) for end in ends for tail in (self._owned(end.job_id),)}
        if len(checked) != len(ends):
            raise InvariantViolation("A commit ends a job twice.")
        return checked

    def _owned(self, job_id: JobId) -> Tail:
        tail = self._claimed.get(job_id)
        if tail is None:
            raise InvariantViolation("A commit is about a job that is not claimed in this epoch, or has ended.")
        return tail

    def tokens(self, job_id: JobId, offset: int) -> TokenSlice:
        """See the port."""
        with self._database.read() as connection:
            row = self._row(connection, job_id)
            record = self._record(row)
            if not 0 <= offset <= record.output_tokens:
                raise OffsetOutOfRange(
                    f"offset is {offset}; the job's log has {record.output_tokens} tokens.",
                    field="offset",
                    limit=f"0..{record.output_tokens}",
                )
            tokens, logprobs = self._log.read(row[0], offset)
        if len(tokens) != record.output_tokens - offset:
            raise InvariantViolation("The job pool's token log has a gap.")
        return TokenSlice(offset, tokens, None if record.job.sampling.logprobs is None else tuple(logprobs), record)

    # questions --------------------------------------------------------------------------------------------------
    def get(self, job_id: JobId) -> JobRecord:
        """See the port."""
        with self._database.read() as connection:
            return self._record(self._row(connection, job_id))

    def list(self, query: JobQuery) -> JobPage:
        """See the port. A page ends early when its prompts become large."""
        where, values = ["1"], list[object]()
        if query.page_token:
            where.append("job.seq < ?")
            values.append(page_token.unseal(self._page_key, query))
        if query.tenant is not None:
            where.append("tenant = ?")
            values.append(storable(query.tenant))
        if query.states:
            where.append(f"state IN ({', '.join('?' * len(query.states))})")
            values += [STATE_CODES[state] for state in query.states]
        records: list[JobRecord] = []
        last, held_tokens, more = 0, 0, False
        with self._database.read() as connection:
            cursor = connection.execute(f"{SELECT} WHERE {' AND '.join(where)} ORDER BY job.seq DESC", values)
            for row in cursor:
                more = len(records) == query.page_size or (held_tokens > PAGE_PROMPT_TOKENS)
                if more:
                    break
                records.append(self._record(row))
                last, held_tokens = int(row[0]), held_tokens + len(records[-1].job.prompt)
            cursor.close()
        return JobPage(tuple(records), page_token.seal(self._page_key, query, last) if more else "")

    def depth(self) -> PoolDepth:
        """See the port."""
        with self._database.read() as connection:
            accepted, claimed, jobs = (
                int(connection.execute(f"SELECT COUNT(*) FROM job {where}").fetchone()[0])
                for where in (f"WHERE state = {ACCEPTED}", f"WHERE state = {CLAIMED}", "")
            )
        return PoolDepth(accepted, claimed, jobs - accepted - claimed)

    def _row(self, connection: sqlite3.Connection, job_id: JobId) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = connection.execute(f"{SELECT} WHERE job_id = ?", (storable(job_id),)).fetchone()
        if row is None:
            raise NotFound("There is no such job.", field="job_id")
        return row

    def _record(self, row: tuple[Any, ...]) -> JobRecord:
        return record_of(row, self._log.tail_tokens(int(row[0])))

    # ends that the engine has no part in ------------------------------------------------------------------------
    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        """See the port."""
        with self._database.write() as connection:
            row = self._row(connection, job_id)
            record = self._record(row)
            if not record.state.final:
                connection.execute(
                    "UPDATE job SET cancel_reason = coalesce(cancel_reason, ?) WHERE seq = ?",
                    (storable(reason), row[0]),
                )
                if record.state is JobState.ACCEPTED:
                    write_end(connection, row[0], LogEnd(job_id, FinishReason.CANCELLED, unix_ns()), 0)
                record = self._record(self._row(connection, job_id))
        return record

    def mark_crash(self, epoch: int, job_ids: Sequence[JobId]) -> None:
        """See the port."""
        with self._database.write() as connection:
            self._check_epoch(connection, epoch)
            connection.executemany(
                "UPDATE job SET crashes = crashes + 1 WHERE job_id = ? AND state = ? AND epoch = ?",
                [(storable(job_id), CLAIMED, epoch) for job_id in job_ids],
            )

    def sweep(self, now_unix_ns: int, keep_ns: int) -> int:
        """See the port. Touches at most 2,000 jobs, so that commits do not wait for it."""
        with self._database.write() as connection:
            expired = connection.execute(
                "UPDATE job SET state = ?, finish = ?, finished_unix_ns = ? WHERE seq IN"
                " (SELECT seq FROM job WHERE state = 0 AND deadline_unix_ns <= ? LIMIT ?)",
                (
                    STATE_CODES[JobState.EXPIRED],
                    FinishReason.EXPIRED.value,
                    now_unix_ns,
                    now_unix_ns,
                    SWEEP_JOBS,
                ),
            ).rowcount
            # "older than": a job that ended just now stays even when nothing is kept for long.
            forgotten = connection.execute(
                "DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE finished_unix_ns < ? LIMIT ?)",
                (now_unix_ns - keep_ns, SWEEP_JOBS - expired),
            ).rowcount
        return expired + forgotten

    def close(self) -> None:
        """Close the file; idempotent."""
        self._database.close()


def _conflict() -> Conflict:
    return Conflict(
        "This request_id was used before with another body; use a new one for a new job.", field="request_id"
    )
