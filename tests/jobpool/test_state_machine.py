"""Random lives of a pool beside an obvious model of one.

The model is a dictionary of plain values. Every implementation is driven through submits, claims,
commits, takeovers, cancels, sweeps and, where there is a file, reopening; after every step the pool
must say what the model says.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from job_pools import NOW, end, entry, job_id, new_job, token_at

from skipjoin.core.errors import Conflict, InvariantViolation, NotFound, WrongState
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.pool import JobQuery, JobRecord, LogBatch
from skipjoin.jobpool import token_log
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.jobpool.sqlite import SqliteJobPool

KEEP = 50
OPEN = (JobState.ACCEPTED, JobState.CLAIMED)


@dataclass
class Model:
    """One job as anyone would write it down."""

    number: int
    request: str | None
    body: str
    deadline: int | None
    state: JobState = JobState.ACCEPTED
    epoch: int | None = None
    tokens: int = 0
    crashes: int = 0
    cancelled: bool = False
    finished: int | None = None
    ends: FinishReason | None = field(default=None)


class PoolMachine(RuleBasedStateMachine):
    """A pool of either kind and its model."""

    durable = False

    @initialize()
    def start(self) -> None:
        # In memory where there is such a folder: thousands of synced commits are not what this test
        # is about.
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.pool = self.opened()
        self.jobs: dict[int, Model] = {}
        self.gone: set[int] = set()
        self.next = 1
        self.now = NOW
        self.epoch = self.pool.open_epoch("first")

    def opened(self) -> MemoryJobPool | SqliteJobPool:
        return SqliteJobPool(self.folder / "jobs.sqlite") if self.durable else MemoryJobPool()

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.pool.close()
            shutil.rmtree(self.folder)

    def claimed(self) -> list[Model]:
        return [job for job in self.jobs.values() if job.state is JobState.CLAIMED and job.epoch == self.epoch]

    @rule(
        asked=st.lists(
            st.tuples(st.sampled_from([None, None, "r1", "r2", "r3"]), st.sampled_from("ab"), st.integers(-9, 30)),
            min_size=1,
            max_size=4,
        )
    )
    def submit(self, asked: list[tuple[str | None, str, int]]) -> None:
        jobs, wanted = [], []
        for request, body, life in asked:
            number, self.next = self.next, self.next + 1
            deadline = None if life < 0 else self.now + life
            text = f"{body}{number}" if request is None else body
            jobs.append(new_job(number, request_id=request, body=text, deadline_unix_ns=deadline))
            first = next((j for j in self.jobs.values() if request is not None and j.request == request), None)
            if first is None:
                self.jobs[number] = Model(number, request, text, deadline)
                wanted.append(number)
            else:
                wanted.append(first.number if first.body == text else None)
        for answer, number in zip(self.pool.submit(jobs), wanted, strict=True):
            if number is None:
                assert isinstance(answer, Conflict)
            else:
                assert isinstance(answer, JobRecord)
                self.same(answer, self.jobs[number])

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        wanted = [j for j in self.jobs.values() if j.state in OPEN and j.epoch != self.epoch][:limit]
        got = self.pool.claim(self.epoch, limit)
        assert [record.job.job_id for record in got] == [job_id(j.number) for j in wanted]
        for record, job in zip(got, wanted, strict=True):
            job.state, job.epoch = JobState.CLAIMED, self.epoch
            assert record.generated.tolist() == [token_at(job.number, at) for at in range(job.tokens)]
            self.same(record, job)

    @precondition(lambda self: self.claimed())
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        members = data.draw(st.lists(st.sampled_from(self.claimed()), unique_by=lambda j: j.number, max_size=5))
        ending = data.draw(st.lists(st.sampled_from(self.claimed()), unique_by=lambda j: j.number, max_size=2))
        entries, ends = [], []
        for job in members:
            count = data.draw(st.sampled_from([0, 1, 1, 1, 2, 5, 9]))
            entries.append(entry(job.number, job.tokens, count))
            job.tokens += count
        for job in ending:
            reason = data.draw(st.sampled_from(FinishReason))
            ends.append(end(job.number, reason, self.now))
            job.state, job.ends, job.finished = reason.state, reason, self.now
        self.pool.commit(self.epoch, LogBatch(tuple(entries), tuple(ends)))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), wrong=st.integers(-3, 3).filter(bool), others=st.booleans())
    def commit_what_does_not_fit(self, data: st.DataObject, wrong: int, others: bool) -> None:
        job = data.draw(st.sampled_from(list(self.jobs.values())))
        fitting = [entry(j.number, j.tokens, 1) for j in self.claimed() if j is not job][:2] if others else []
        with pytest.raises(InvariantViolation):
            self.pool.commit(self.epoch, LogBatch((*fitting, entry(job.number, job.tokens + wrong, 1))))

    @rule()
    def take_over(self) -> None:
        old, self.epoch = self.epoch, self.pool.open_epoch("next")
        assert self.epoch > old
        with pytest.raises(WrongState):
            self.pool.commit(old, LogBatch())

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.jobs.values())))
        record = self.pool.cancel(job_id(job.number), "why not")
        if job.state in OPEN:
            job.cancelled = True
        if job.state is JobState.ACCEPTED:
            # The pool reads the clock itself here; the model takes its word for when.
            job.state, job.ends, job.finished = JobState.CANCELLED, FinishReason.CANCELLED, record.finished_unix_ns
            assert job.finished is not None and job.finished > self.now
        self.same(record, job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        hit = data.draw(st.lists(st.sampled_from(list(self.jobs.values())), unique_by=lambda j: j.number, max_size=3))
        self.pool.mark_crash(self.epoch, [job_id(job.number) for job in hit])
        for job in hit:
            job.crashes += job.state is JobState.CLAIMED and job.epoch == self.epoch

    @rule(passed=st.integers(0, 40))
    def sweep(self, passed: int) -> None:
        self.now += passed
        forgotten = [j.number for j in self.jobs.values() if j.finished is not None and j.finished < self.now - KEEP]
        expired = [
            j
            for j in self.jobs.values()
            if j.state is JobState.ACCEPTED and j.deadline is not None and j.deadline <= self.now
        ]
        swept = self.pool.sweep(self.now, KEEP)
        assert sorted(swept.expired) == sorted(job_id(job.number) for job in expired)
        assert swept.forgotten == len(forgotten)
        for job in expired:
            job.state, job.ends, job.finished = JobState.EXPIRED, FinishReason.EXPIRED, self.now
        for number in forgotten:
            del self.jobs[number]
            self.gone.add(number)

    @precondition(lambda self: self.durable)
    @rule()
    def reopen(self) -> None:
        self.pool.close()
        self.pool = self.opened()
        self.take_over()

    # what must be true
    # --------------------------------------------------------------------------------------------
    def same(self, record: JobRecord, job: Model) -> None:
        assert (record.state, record.epoch, record.output_tokens, record.crashes, record.cancel_requested) == (
            job.state,
            job.epoch,
            job.tokens,
            job.crashes,
            job.cancelled,
        )
        assert (record.finish, record.finished_unix_ns) == (job.ends, job.finished)
        assert record.job.job_id == job_id(job.number)

    @invariant()
    def every_job_is_as_the_model_has_it(self) -> None:
        if not hasattr(self, "pool"):
            return
        for job in self.jobs.values():
            piece = self.pool.tokens(job_id(job.number), job.tokens // 2)
            self.same(piece.record, job)
            assert piece.tokens.tolist() == [token_at(job.number, at) for at in range(job.tokens // 2, job.tokens)]
        for number in self.gone:
            with pytest.raises(NotFound):
                self.pool.get(job_id(number))
        listed = [record.job.job_id for record in self.pool.list(JobQuery(None, page_size=1000)).jobs]
        assert listed == [job_id(number) for number in reversed(self.jobs)]
        states = [job.state for job in self.jobs.values()]
        depth = self.pool.depth()
        assert (depth.accepted, depth.claimed) == (states.count(JobState.ACCEPTED), states.count(JobState.CLAIMED))
        assert depth.final == len(states) - depth.accepted - depth.claimed


class SqliteMachine(PoolMachine):
    """The same lives on a file, with tails that are folded often and rows that are crowded out."""

    durable = True

    @invariant()
    def no_row_of_the_log_is_kept_for_nothing(self) -> None:
        if not hasattr(self, "pool"):
            return
        assert token_log.FOLD_TOKENS == 12, "the bounds below were made small"
        connection = self.pool._database.connection
        open_jobs = sum(job.tokens > 0 for job in self.jobs.values() if job.state in OPEN)
        rows = connection.execute("SELECT COUNT(*) FROM turn").fetchone()[0]
        assert rows <= open_jobs * (token_log.FOLD_TOKENS - 1)
        if not open_jobs:
            assert rows == 0
        orphans = "SELECT COUNT(*) FROM piece WHERE seq NOT IN (SELECT seq FROM job)"
        assert connection.execute(orphans).fetchone()[0] == 0


TestMemory = PoolMachine.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestSqlite(SqliteMachine.TestCase):  # type: ignore[name-defined,misc]
    """Small bounds, so that a short life meets every way of folding."""

    settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

    @pytest.fixture(autouse=True)
    def small_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(token_log, "FOLD_TOKENS", 12)
        monkeypatch.setattr(token_log, "MAX_TURN_ROWS", 6)
