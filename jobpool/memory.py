"""A job pool in memory: the same promises but the durable ones.

Owns plain tables of jobs and logs. It keeps nothing beyond the process and says so (`durable` is
False; the door prints it). For tests and for who wants no file.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.clock import unix_ns
from ..core.errors import Conflict, InvariantViolation, NotFound, WrongState
from ..core.ids import JobId, TenantId
from ..core.job import FinishReason, JobState, check_move
from ..core.outcome import TokenLogprobs
from ..core.pool import (
    JobPage,
    JobQuery,
    JobRecord,
    LogBatch,
    LogEnd,
    NewJob,
    OpenJob,
    PoolDepth,
    Swept,
    TokenSlice,
    check_offset,
)
from . import page_token


@dataclass(slots=True, eq=False)
class _Stored:
    """A job, its number in the order of acceptance, and its log."""

    seq: int
    record: JobRecord
    tokens: array[int] = field(default_factory=lambda: array("i"))
    logprobs: list[TokenLogprobs | None] = field(default_factory=list)

    def seen(self) -> JobRecord:
        """The record with the log's length of now: only who asks for it pays for it."""
        if self.record.output_tokens != len(self.tokens):
            self.record = replace(self.record, output_tokens=len(self.tokens))
        return self.record

    def end(self, reason: FinishReason, end: LogEnd) -> None:
        """Make the job final."""
        check_move(self.record.state, reason.state)
        self.record = replace(
            self.record,
            state=reason.state,
            finish=reason,
            finished_unix_ns=end.finished_unix_ns,
            failure=end.failure,
            account_json=end.account_json,
        )


class MemoryJobPool:
    """`JobPool` in memory; see the port for what each method promises."""

    def __init__(self) -> None:
        self._epoch = 0
        self._next_seq = 1
        self._jobs: dict[JobId, _Stored] = {}  # in the order of acceptance
        self._requests: dict[tuple[TenantId, str], JobId] = {}
        self._page_key = secrets.token_bytes(page_token.KEY_BYTES)

    @property
    def durable(self) -> bool:
        """Nothing outlives the process."""
        return False

    def open_epoch(self, owner: str) -> int:
        """See the port."""
        self._epoch += 1
        return self._epoch

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise WrongState("Another server has taken over this job pool; this one may not write to it any more.")

    def reader(self) -> None:
        """See the port: a look at a table is quick enough to share the writer's thread."""

    def look(self) -> None:
        """See the port: nothing outlives the process, and everybody was told."""

    def probe(self) -> None:
        """See the port: there is nothing that could fail."""

    def submit(self, jobs: Sequence[NewJob]) -> list[JobRecord | Exception]:
        """See the port."""
        return [self._submit_one(job) for job in jobs]

    def first_of(self, job: NewJob) -> JobRecord | None:
        """See the port."""
        first = None if job.request_id is None else self._requests.get((job.tenant, job.request_id))
        if first is None:
            return None
        record = self._jobs[first].seen()
        if record.job.body_digest != job.body_digest:
            raise Conflict(
                "This request_id was used before with another body; use a new one for a new job.", field="request_id"
            )
        return record

    def _submit_one(self, job: NewJob) -> JobRecord | Exception:
        try:
            first = self.first_of(job)
        except Conflict as error:
            return error
        if first is not None:
            return first
        if job.job_id in self._jobs:
            return InvariantViolation("A new job has the id of an old one.")
        record = JobRecord(job, JobState.ACCEPTED)
        self._jobs[job.job_id] = _Stored(self._next_seq, record)
        self._next_seq += 1
        if job.request_id is not None:
            self._requests[job.tenant, job.request_id] = job.job_id
        return record

    def claim(self, epoch: int, limit: int) -> list[JobRecord]:
        """See the port."""
        self._check_epoch(epoch)
        claimed: list[JobRecord] = []
        for stored in self._jobs.values():
            if len(claimed) >= limit:
                break
            record = stored.seen()
            if record.state.final or (record.state is JobState.CLAIMED and record.epoch == epoch):
                continue
            stored.record = replace(record, state=JobState.CLAIMED, epoch=epoch)
            claimed.append(replace(stored.record, generated=np.array(stored.tokens, dtype=np.int32)))
        return claimed

    def commit(self, epoch: int, batch: LogBatch) -> None:
        """See the port."""
        self._check_epoch(epoch)
        self._check_batch(batch)
        for entry in batch.entries:
            stored = self._jobs[entry.job_id]
            stored.tokens.frombytes(entry.tokens.astype(np.int32, copy=False).tobytes())
            if stored.record.job.asked.sampling.logprobs is not None:
                stored.logprobs += entry.logprobs or [None] * len(entry.tokens)
        for end in batch.ends:
            self._jobs[end.job_id].end(end.reason, end)

    def _check_batch(self, batch: LogBatch) -> None:
        for entry in batch.entries:
            length = len(self._owned(entry.job_id).tokens)
            if entry.position != length:
                raise InvariantViolation(f"Tokens at {entry.position} do not go behind a log of {length} tokens.")
            if entry.logprobs is not None and len(entry.logprobs) != len(entry.tokens):
                raise InvariantViolation("A commit has another number of log-probabilities than of tokens.")
        for end in batch.ends:
            self._owned(end.job_id)
        for what in ([entry.job_id for entry in batch.entries], [end.job_id for end in batch.ends]):
            if len(set(what)) != len(what):
                raise InvariantViolation("A job is twice in one commit.")

    def _owned(self, job_id: JobId) -> _Stored:
        stored = self._jobs.get(job_id)
        if stored is None or stored.record.state is not JobState.CLAIMED or stored.record.epoch != self._epoch:
            raise InvariantViolation("A commit is about a job that is not claimed in this epoch, or has ended.")
        return stored

    def _stored(self, job_id: JobId) -> _Stored:
        stored = self._jobs.get(job_id)
        if stored is None:
            raise NotFound("There is no such job.", field="job_id")
        return stored

    def get(self, job_id: JobId) -> JobRecord:
        """See the port."""
        return self._stored(job_id).seen()

    def tokens(self, job_id: JobId, offset: int) -> TokenSlice:
        """See the port."""
        stored = self._stored(job_id)
        check_offset(offset, len(stored.tokens))
        wants = stored.record.job.asked.sampling.logprobs is not None
        logprobs = tuple(stored.logprobs[offset:]) if wants else None
        return TokenSlice(offset, np.array(stored.tokens[offset:], dtype=np.int32), logprobs, stored.seen())

    def list(self, query: JobQuery) -> JobPage:
        """See the port."""
        below = page_token.unseal(self._page_key, query) if query.page_token else self._next_seq
        found: list[_Stored] = []
        for stored in reversed(self._jobs.values()):
            job = stored.record.job
            if stored.seq >= below or (query.tenant is not None and job.tenant != query.tenant):
                continue
            if query.states and stored.record.state not in query.states:
                continue
            if len(found) == query.page_size:
                records = tuple(one.seen() for one in found)
                return JobPage(records, page_token.seal(self._page_key, query, found[-1].seq))
            found.append(stored)
        return JobPage(tuple(one.seen() for one in found), "")

    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        """See the port."""
        stored = self._stored(job_id)
        if not stored.record.state.final:
            stored.record = replace(stored.record, cancel_requested=True)
            if stored.record.state is JobState.ACCEPTED:
                stored.end(FinishReason.CANCELLED, LogEnd(job_id, FinishReason.CANCELLED, unix_ns()))
        return stored.seen()

    def mark_crash(self, epoch: int, job_ids: Sequence[JobId]) -> None:
        """See the port."""
        self._check_epoch(epoch)
        for job_id in job_ids:
            stored = self._jobs.get(job_id)
            if stored is not None and stored.record.state is JobState.CLAIMED and stored.record.epoch == epoch:
                stored.record = replace(stored.record, crashes=stored.record.crashes + 1)

    def sweep(self, now_unix_ns: int, keep_ns: int) -> Swept:
        """See the port."""
        expired: list[JobId] = []
        forgotten = 0
        for stored in list(self._jobs.values()):
            job, finished = stored.record.job, stored.record.finished_unix_ns
            if finished is not None and finished < now_unix_ns - keep_ns:
                del self._jobs[job.job_id]
                if job.request_id is not None:
                    del self._requests[job.tenant, job.request_id]
                forgotten += 1
            elif (
                stored.record.state is JobState.ACCEPTED
                and job.deadline_unix_ns is not None
                and job.deadline_unix_ns <= now_unix_ns
            ):
                stored.end(FinishReason.EXPIRED, LogEnd(job.job_id, FinishReason.EXPIRED, now_unix_ns))
                expired.append(job.job_id)
        return Swept(tuple(expired), forgotten)

    def depth(self) -> PoolDepth:
        """See the port."""
        states = [stored.record.state for stored in self._jobs.values()]
        accepted, claimed = states.count(JobState.ACCEPTED), states.count(JobState.CLAIMED)
        return PoolDepth(accepted, claimed, len(states) - accepted - claimed)

    def unfinished(self) -> Sequence[OpenJob]:
        """See the port."""
        records = [stored.record for stored in self._jobs.values()]
        jobs = [record.job for record in records if not record.state.final]
        return [OpenJob(job.job_id, job.tenant, job.deadline_unix_ns) for job in jobs]

    def close(self) -> None:
        """Nothing to close."""
