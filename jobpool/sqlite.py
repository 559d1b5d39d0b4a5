"""The embedded job pool: one SQLite file.

Owns the order of statements behind every call of the `JobPool` port that writes, and which of them
share a transaction. It does not know how a file is opened (`database.py`), how tokens are laid down
(`token_log.py`), what a row looks like (`job_rows.py`) or how one asks (`reading.py`). One thread
uses it, the door's store thread.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from ..core.clock import unix_ns
from ..core.errors import DataLoss, InvalidSettings, InvariantViolation, StoreUnavailable, WrongState
from ..core.ids import JobId
from ..core.job import FinishReason, JobState
from ..core.pool import (
    JobPage,
    JobQuery,
    JobRecord,
    LogBatch,
    LogEnd,
    LogEntry,
    NewJob,
    OpenJob,
    PoolDepth,
    Swept,
    TokenSlice,
)
from .claiming import Claiming, give_up_damaged
from .database import Database, explained
from .job_rows import (
    CRASHES,
    SELECT,
    STATE_CODES,
    insert,
    sealed_row,
    storable,
    update,
    write_end,
)
from .reading import Reading, Soundness, SqliteReader, conflict
from .schema import CLAIMED, JOB_CHECKSUM
from .token_log import Tail, TokenLog

log = logging.getLogger("skipjoin.jobpool")

SWEEP_JOBS = 2_000


class SqliteJobPool:
    """`JobPool` on a file; see the port for what each method promises."""

    def __init__(self, path: Path, *, busy_timeout_ms: int | None = None, max_pages: int | None = None) -> None:
        """Open or make the pool. Raises InvalidSettings, StoreUnavailable; see `Database`."""
        self._database = Database(path, busy_timeout_ms=busy_timeout_ms, max_pages=max_pages)
        self._soundness = Soundness()
        try:
            with self._database.read() as connection:
                self._page_key: bytes = connection.execute("SELECT page_key FROM pool").fetchone()[0]
                self._log = TokenLog(connection)
            self._mend()
        except BaseException as error:
            self._database.close()
            if isinstance(error, DataLoss):
                raise InvalidSettings(error.message, field="job_pool") from None
            raise
        self._reading = Reading(self._database.read, self._log, self._page_key, self._soundness)
        self._claimed: dict[JobId, Tail] = {}  # jobs of the current epoch
        self._claiming = Claiming(self._log)
        # What is in the open file, but was not acknowledged because the file was not under its
        # path: said when it is again.
        self._unsaid_claims: list[JobRecord] = []
        self._unsaid_batch: LogBatch | None = None

    def _mend(self) -> None:
        """Look for damage that would make jobs unfindable or the log unwritable, and mend what
        costs nobody anything. Raises StoreUnavailable.
        """
        with self._database.read() as connection:
            rows, indices = unsound_jobs(connection)
            self._soundness.jobs_missing = rows > 0
        if rows:
            log.error("%d jobs are damaged in the job pool; `skipjoin pool check` says more", rows)
        try:
            if indices:
                with self._database.write() as connection:
                    connection.execute("REINDEX job")
                log.warning("indices of the job pool were damaged and are made anew")
            if rows:
                with self._database.write() as connection:
                    give_up_damaged(connection, unix_ns())
            if self._log.broken or self._log.damaged:
                with self._database.write() as connection:
                    self._log.renew() if self._log.broken else self._log.forget_damaged()
        except (StoreUnavailable, InvariantViolation) as error:  # such as two rows that say the same id now
            self._soundness.jobs_missing = True
            log.error("the job pool's damage cannot be mended: %s", error)

    @property
    def durable(self) -> bool:
        """Every write is synced before its call returns."""
        return True

    def reader(self) -> SqliteReader:
        """See the port."""
        return SqliteReader(self._database.reader(), self._log, self._page_key, self._soundness)

    def look(self) -> None:
        """See the port."""
        self._database.look()

    def probe(self) -> None:
        """See the port."""
        with self._database.write() as connection:
            connection.execute("UPDATE pool SET owner = owner")

    # owners
    # -----------------------------------------------------------------------------------------------------
    def open_epoch(self, owner: str) -> int:
        """See the port."""
        with self._database.write() as connection:
            connection.execute("UPDATE pool SET epoch = epoch + 1, owner = ?", (storable(owner),))
            epoch: int = connection.execute("SELECT epoch FROM pool").fetchone()[0]
        self._claimed.clear()
        self._unsaid_claims.clear()
        return epoch

    @staticmethod
    def _check_epoch(connection: sqlite3.Connection, epoch: int) -> None:
        current = connection.execute("SELECT epoch FROM pool").fetchone()[0]
        if epoch != current:
            raise WrongState("Another server has taken over this job pool; this one may not write to it any more.")

    # jobs in
    # ----------------------------------------------------------------------------------------------------
    def submit(self, jobs: Sequence[NewJob]) -> list[JobRecord | Exception]:
        """See the port."""
        with self._database.write() as connection:
            stored = insert(connection, jobs)
            if not any(stored):  # repeats are answered where nothing can be written, too
                connection.execute("ROLLBACK")
            return [
                JobRecord(job, JobState.ACCEPTED) if is_new else self._known(connection, job)
                for job, is_new in zip(jobs, stored, strict=True)
            ]

    def _known(self, connection: sqlite3.Connection, job: NewJob) -> JobRecord | Exception:
        """What an earlier submit says of one that was not stored."""
        if job.request_id is not None:
            first = connection.execute(
                f"{SELECT} WHERE tenant = ? AND request_id = ?", (storable(job.tenant), job.request_id)
            ).fetchone()
            if first is not None:
                try:
                    record = self._reading.record(first)
                except DataLoss as error:
                    self._database.met_damage()
                    return error
                return record if record.job.body_digest == job.body_digest else conflict()
        if connection.execute("SELECT 1 FROM job WHERE job_id = ?", (job.job_id,)).fetchone():
            return InvariantViolation("A new job has the id of an old one.")
        self._database.met_damage()
        return DataLoss("The job is in an index of the job pool only; submit it again under another request_id.")

    def claim(self, epoch: int, limit: int) -> list[JobRecord]:
        """See the port. A job whose prompt or row is damaged is failed."""
        claimed: list[tuple[JobRecord, Tail]] = []
        unsaid: StoreUnavailable | None = None
        try:
            with self._database.write() as connection:
                self._check_epoch(connection, epoch)
                claimed = self._claiming.claim(connection, epoch, limit)
        except StoreUnavailable as error:
            if not self._database.unseen:
                raise
            unsaid = error
        self._claimed.update((record.job.job_id, tail) for record, tail in claimed)
        self._unsaid_claims += [record for record, _ in claimed]
        if unsaid is not None:
            raise unsaid
        said, self._unsaid_claims = self._unsaid_claims, []
        return said

    # tokens
    # -----------------------------------------------------------------------------------------------------
    def commit(self, epoch: int, batch: LogBatch) -> None:
        """See the port."""
        if batch is self._unsaid_batch:  # it was written when the file was not under its path, and is asked for again
            self.probe()
            self._unsaid_batch = None
            return
        unsaid: StoreUnavailable | None = None
        try:
            with self._database.write() as connection:
                self._check_epoch(connection, epoch)
                appended = self._checked_entries(batch.entries)
                ends = self._checked_ends(batch.ends)
                staged = self._log.stage(appended, ends.keys())
                fresh = {tail.seq: len(entry.tokens) for tail, entry in appended if tail.seq in ends} if ends else {}
                for seq, (tail, end) in ends.items():
                    write_end(connection, seq, end, tail.length + fresh.get(seq, 0))
        except StoreUnavailable as error:
            if not self._database.unseen:
                raise
            unsaid = error
        self._log.apply(staged, ends)
        for end_of in batch.ends:
            del self._claimed[end_of.job_id]
        if unsaid is not None:
            self._unsaid_batch = batch
            raise unsaid

    def _checked_entries(self, entries: Sequence[LogEntry]) -> list[tuple[Tail, LogEntry]]:
        checked: list[tuple[Tail, LogEntry]] = []
        for entry in entries:
            tail = self._claimed.get(entry.job_id) or self._owned(entry.job_id)
            if entry.position != tail.folded + len(tail.tokens):
                raise InvariantViolation(f"Tokens at {entry.position} do not go behind a log of {tail.length} tokens.")
            if entry.logprobs is not None and len(entry.logprobs) != len(entry.tokens):
                raise InvariantViolation("A commit has another number of log-probabilities than of tokens.")
            checked.append((tail, entry))
        if len({tail.seq for tail, _ in checked}) != len(checked):
            raise InvariantViolation("A job is twice in one commit.")
        return [pair for pair in checked if len(pair[1].tokens)]

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

    # questions
    # --------------------------------------------------------------------------------------------------
    def get(self, job_id: JobId) -> JobRecord:
        """See the port."""
        return self._reading.get(job_id)

    def first_of(self, job: NewJob) -> JobRecord | None:
        """See the port."""
        return self._reading.first_of(job)

    def tokens(self, job_id: JobId, offset: int) -> TokenSlice:
        """See the port."""
        return self._reading.tokens(job_id, offset)

    def list(self, query: JobQuery) -> JobPage:
        """See the port."""
        return self._reading.list(query)

    def depth(self) -> PoolDepth:
        """See the port."""
        return self._reading.depth()

    def unfinished(self) -> Sequence[OpenJob]:
        """See the port."""
        return self._reading.unfinished()

    # ends that the engine has no part in
    # ------------------------------------------------------------------------
    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        """See the port."""
        with self._database.write() as connection:
            row = self._reading.row(connection, job_id)
            record = self._reading.record(row)
            if not record.state.final:
                if not record.cancel_requested:
                    connection.execute(_CANCEL, {"at": row[0], "cancel_reason": storable(reason)})
                if record.state is JobState.ACCEPTED:
                    write_end(connection, row[0], LogEnd(job_id, FinishReason.CANCELLED, unix_ns()), 0)
                record = self._reading.record(self._reading.row(connection, job_id))
        return record

    def mark_crash(self, epoch: int, job_ids: Sequence[JobId]) -> None:
        """See the port."""
        with self._database.write() as connection:
            self._check_epoch(connection, epoch)
            for job_id in job_ids:
                where = (storable(job_id), CLAIMED, epoch)
                row = connection.execute(f"{SELECT} WHERE job_id = ? AND state = ? AND epoch = ?", where).fetchone()
                if row is not None:
                    connection.execute(_CRASH, {"at": row[0], "crashes": row[CRASHES] + 1})

    def sweep(self, now_unix_ns: int, keep_ns: int) -> Swept:
        """See the port. Touches at most 2,000 jobs, so that commits do not wait for it."""
        with self._database.write() as connection:
            end = {
                "state": STATE_CODES[JobState.EXPIRED],
                "finish": FinishReason.EXPIRED.value,
                "finished_unix_ns": now_unix_ns,
            }
            due = "SELECT seq FROM job WHERE state = 0 AND deadline_unix_ns <= ? LIMIT ?"
            numbers = [seq for (seq,) in connection.execute(due, (now_unix_ns, SWEEP_JOBS))]
            # A damaged row is not sealed anew: the claim gives it up.
            sealed = [row for seq in numbers if (row := sealed_row(connection, seq)) is not None]
            connection.executemany(_EXPIRE, [{**end, "at": row[0]} for row in sealed])
            # "older than": a job that ended just now stays even when nothing is kept for long.
            forgotten = connection.execute(
                "DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE finished_unix_ns < ? LIMIT ?)",
                (now_unix_ns - keep_ns, SWEEP_JOBS - len(sealed)),
            ).rowcount
        return Swept(tuple(JobId(row[1]) for row in sealed), forgotten)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._database.close()


_CANCEL = update("cancel_reason") + " WHERE seq = :at"
_CRASH = update("crashes") + " WHERE seq = :at"
_EXPIRE = update("state", "finish", "finished_unix_ns") + " WHERE seq = :at"


def unsound_jobs(connection: sqlite3.Connection) -> tuple[int, bool]:
    """How many rows of jobs are damaged, at least, and whether their indices say other things than
    the rows. Raises sqlite3.Error.
    """
    try:
        indices = connection.execute("PRAGMA integrity_check(job)").fetchone()[0] != "ok"
        rows = connection.execute(f"SELECT COUNT(*) FROM job NOT INDEXED WHERE checksum != {JOB_CHECKSUM}").fetchone()[
            0
        ]
    except sqlite3.DatabaseError as error:
        if not isinstance(explained(error, reading=True), DataLoss):
            raise
        return 1, True
    return int(rows), indices
