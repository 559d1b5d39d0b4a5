"""Log before show, crash marks, back-pressure and bounds, on a real pool and event loop without
processes.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest

from skipjoin.core.asked import Asked
from skipjoin.core.clock import MonotonicClock, unix_ns
from skipjoin.core.effects import Finished, Started, TokensEmitted, TurnEffects, TurnStats
from skipjoin.core.errors import InvariantViolation, StoreUnavailable, Unavailable
from skipjoin.core.events import CancelRequested, Event, PromptArrived, Submitted
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import DEFAULT_TENANT, Handle, JobId, Level
from skipjoin.core.job import FinishReason, JobAccount, JobState
from skipjoin.core.pool import JobRecord, LogBatch, NewJob
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import Chunk
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.jobpool.registry import open_pool
from skipjoin.jobpool.sqlite import SqliteJobPool
from skipjoin.serving.door.claimed import ClaimedJobs
from skipjoin.serving.door.claims import Claims
from skipjoin.serving.door.intake import new_job_id
from skipjoin.serving.door.journal import Journal
from skipjoin.serving.door.store import Store
from skipjoin.serving.door.streams import Streams
from skipjoin.serving.door.text import ByteTokenizer
from skipjoin.serving.facts import EngineFacts, EngineWords

FACTS = EngineFacts(ExecutorFacts(1, 100, 0, 16, 1, None, 257), "skipjoin", EngineWords(4, "cpu", "none", "m", "p"))
STATS = TurnStats(1, 1, 1, 0, 1, 9, 0, 0, 10, None, None)


@dataclass
class Rig:
    """The door's middle, with the engine's place taken by a list of what it is sent."""

    store: Store
    table: ClaimedJobs
    journal: Journal
    claims: Claims
    sent: list[Event] = field(default_factory=list)

    async def send(self, events: Sequence[Event]) -> None:
        self.sent += events

    async def job(self, prompt: int = 4, tokens: int = 8) -> JobId:
        job = NewJob(
            new_job_id(), DEFAULT_TENANT, None, b"d", np.zeros(prompt, np.int32),
            Asked(SamplingParams(seed=1, max_new_tokens=tokens)), unix_ns(),
        )  # fmt: skip
        await self.store.submit(job)
        self.claims.kick()
        return job.job_id

    def handle(self, job_id: JobId) -> Handle:
        handle = self.table.jobs[job_id].handle
        assert handle is not None
        return handle

    def tokens(self, handle: int, first: int, *tokens: int) -> TurnEffects:
        count = len(tokens)
        columns = TokensEmitted(
            np.full(count, handle, np.int64),
            np.arange(first, first + count, dtype=np.int32),
            np.array(tokens, np.int32),
        )
        return TurnEffects(STATS, columns)

    async def state(self, job_id: JobId) -> JobState:
        return (await self.store.read(lambda reader: reader.get(job_id))).state

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110 - what is waited for is plain state
                await asyncio.sleep(0.001)


def _run(
    test: Callable[[Rig], Awaitable[None]],
    *,
    pool: Callable[[], object] = MemoryJobPool,
    limit_bytes: int = 1 << 20,
    ahead: int = 1 << 20,
) -> None:
    async def main() -> None:
        store = await Store.open(pool)  # type: ignore[arg-type]
        table = ClaimedJobs()
        epoch = await store.call(lambda pool: pool.open_epoch("test"))
        journal = Journal(store, table, epoch, limit_bytes)
        claims = Claims(
            store,
            table,
            journal,
            MonotonicClock(),
            epoch,
            max_jobs=3,
            held_prompt_bytes=1 << 20,
            prompts_ahead_bytes=ahead,
        )
        rig = Rig(store, table, journal, claims)
        tasks = [asyncio.create_task(journal.run()), asyncio.create_task(claims.run())]
        await claims.engine_started(FACTS, rig.send)
        try:
            await test(rig)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await store.close()

    asyncio.run(main())


def test_a_token_is_shown_only_after_it_is_logged() -> None:
    class SlowPool(MemoryJobPool):
        committed = 0

        def commit(self, epoch: int, batch: LogBatch) -> None:
            super().commit(epoch, batch)
            SlowPool.committed += sum(len(entry.tokens) for entry in batch.entries)

    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        streams = Streams(rig.store, rig.table, ByteTokenizer())
        rig.journal.news_observers.append(streams.tell)
        seen: list[int] = []

        async def follow() -> None:
            async for chunk in streams.follow(job, DEFAULT_TENANT, 0):
                assert isinstance(chunk, Chunk)
                assert chunk.offset == len(seen)
                seen.extend(chunk.token_ids)
                assert len(seen) <= SlowPool.committed

        follower = asyncio.create_task(follow())
        for position in range(8):
            rig.journal.feed(rig.tokens(rig.handle(job), position, 60 + position))
            if position % 3 == 0:
                await rig.journal.flush()
        account = JobAccount(1, 2, 3, 4, 5)
        rig.journal.feed(TurnEffects(STATS, None, (Finished(rig.handle(job), FinishReason.LENGTH, 8, account),)))
        await follower
        assert seen == [60 + i for i in range(8)]
        assert await rig.state(job) is JobState.SUCCEEDED
        assert job not in rig.table.jobs

    _run(test, pool=SlowPool)


def test_a_token_that_does_not_continue_the_log_is_refused() -> None:
    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        rig.journal.feed(rig.tokens(rig.handle(job), 0, 65, 66))
        for position in (0, 1, 3):
            with pytest.raises(InvariantViolation):
                rig.journal.feed(rig.tokens(rig.handle(job), position, 67))
        rig.journal.feed(rig.tokens(999, 0, 67))  # a late token of nobody
        await rig.journal.flush()
        assert list(rig.table.jobs[job].tokens) == [65, 66]

    _run(test)


def test_only_a_job_in_flight_without_a_token_is_marked_and_only_alone_it_fails() -> None:
    async def test(rig: Rig) -> None:
        bad, busy, idle = await rig.job(), await rig.job(), await rig.job()
        await rig.until(lambda: len(rig.table.by_handle) == 3)
        for crash in range(3):
            claimed = rig.table.jobs[bad]
            assert claimed.alone == (crash == 2)
            rig.journal.feed(rig.tokens(rig.handle(busy), len(rig.table.jobs[busy].tokens), 70))
            rig.journal.feed(TurnEffects(STATS, None, (Started(rig.handle(bad), Level(1)),)))
            await rig.journal.flush()
            flying = {rig.handle(bad)} if claimed.alone else {rig.handle(bad), rig.handle(busy)}
            await rig.claims.count_crash(frozenset(flying))
            rig.claims.engine_ended()
            await rig.journal.flush()
            rig.sent.clear()
            await rig.claims.engine_started(FACTS, rig.send)
        assert await rig.state(bad) is JobState.FAILED
        failure = (await rig.store.read(lambda reader: reader.get(bad))).failure
        assert failure is not None
        assert failure[0] == "POISON_JOB"
        again = {event.handle: event for event in rig.sent if isinstance(event, Submitted)}
        assert len(again) == 2
        assert again[rig.handle(busy)].generated is not None
        assert not any(event.alone for event in again.values())
        for innocent in (busy, idle):
            record = await rig.store.read(methodcaller("get", innocent))
            assert (record.crashes, record.state) == (0, JobState.CLAIMED)

    _run(test)


def test_a_suspect_that_dies_beside_others_is_not_failed() -> None:
    async def test(rig: Rig) -> None:
        bad, other = await rig.job(), await rig.job()
        await rig.until(lambda: len(rig.table.by_handle) == 2)
        for _ in range(5):
            rig.table.jobs[bad].alone = True
            await rig.claims.count_crash(frozenset({rig.handle(bad), rig.handle(other)}))
        await rig.journal.flush()
        assert await rig.state(bad) is JobState.CLAIMED

    _run(test)


def test_a_full_disk_pauses_the_engine_refuses_newcomers_and_loses_nothing() -> None:
    class FullDisk(MemoryJobPool):
        full = False

        def commit(self, epoch: int, batch: LogBatch) -> None:
            if FullDisk.full:
                raise StoreUnavailable("The disk is full.")
            super().commit(epoch, batch)

    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        FullDisk.full = True
        position = 0
        while not rig.journal.full:
            rig.journal.feed(rig.tokens(rig.handle(job), position, 65))
            position += 1
        paused = asyncio.create_task(rig.journal.room())
        await rig.until(lambda: rig.store.failing is not None)
        with pytest.raises(StoreUnavailable):
            rig.journal.check_writable()
        assert not paused.done()
        assert len(rig.table.jobs[job].tokens) == 0
        FullDisk.full = False
        await paused
        rig.journal.check_writable()
        assert len(rig.table.jobs[job].tokens) == position

    _run(test, pool=FullDisk, limit_bytes=4096)


def test_a_log_that_is_behind_refuses_newcomers() -> None:
    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        rig.journal.feed(rig.tokens(rig.handle(job), 0, *[65] * 5))
        assert rig.journal.full
        with pytest.raises(Unavailable):
            rig.journal.check_writable()
        await rig.journal.room()
        rig.journal.check_writable()

    _run(test, limit_bytes=64)


def test_claims_stop_at_their_bound_and_go_on_when_a_job_ends() -> None:
    async def test(rig: Rig) -> None:
        jobs = [await rig.job() for _ in range(5)]
        await rig.until(lambda: len(rig.table.jobs) == 3)
        await rig.journal.flush()
        assert [await rig.state(job) for job in jobs] == [JobState.CLAIMED] * 3 + [JobState.ACCEPTED] * 2
        rig.journal.end(rig.table.jobs[jobs[0]], FinishReason.CANCELLED)
        await rig.until(lambda: jobs[3] in rig.table.jobs)

    _run(test)


def test_a_pool_that_cannot_be_written_for_a_while_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"

    async def test(rig: Rig) -> None:
        tasks = [t for t in asyncio.all_tasks() if "Claims.run" in repr(t.get_coro())]
        first = await rig.job()
        await rig.until(lambda: first in rig.table.jobs)
        rig.claims.closed = True  # hold it, so that the next job waits in the pool
        second = await rig.job()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            rig.claims.closed = False
            rig.claims.kick()
            await rig.claims.count_crash(frozenset({rig.handle(first)}))
            assert rig.table.jobs[first].crashes == 1
            await asyncio.sleep(0.1)
            assert second not in rig.table.jobs
            assert [task.done() for task in tasks] == [False]
            other.execute("ROLLBACK")
        await rig.until(lambda: second in rig.table.jobs)

    _run(test, pool=lambda: SqliteJobPool(path, busy_timeout_ms=10))


def test_prompts_over_the_bound_follow_when_asked_for() -> None:
    async def test(rig: Rig) -> None:
        first, second = await rig.job(prompt=12), await rig.job(prompt=8)
        await rig.until(lambda: len(rig.table.by_handle) == 2)
        submitted = {event.handle: event for event in rig.sent if isinstance(event, Submitted)}
        assert submitted[rig.handle(first)].prompt is not None
        assert submitted[rig.handle(second)].prompt is None
        assert not submitted[rig.handle(second)].has_prompt
        await rig.claims.prompts_needed([rig.handle(second), Handle(77)])
        arrived = [event for event in rig.sent if isinstance(event, PromptArrived)]
        assert [(event.handle, len(event.prompt)) for event in arrived] == [(rig.handle(second), 8)]
        await rig.claims.prompts_needed([rig.handle(second)])
        assert sum(isinstance(event, PromptArrived) for event in rig.sent) == 1

    _run(test, ahead=64)


def test_parking_takes_back_what_has_not_started_and_keeps_it() -> None:
    async def test(rig: Rig) -> None:
        running, waiting = await rig.job(), await rig.job()
        await rig.until(lambda: len(rig.table.by_handle) == 2)
        rig.journal.feed(TurnEffects(STATS, None, (Started(rig.handle(running), Level(1)),)))
        await rig.claims.park_unstarted()
        asked = [event.handle for event in rig.sent if isinstance(event, CancelRequested)]
        assert asked == [rig.handle(waiting)]
        gone = Finished(rig.handle(waiting), FinishReason.CANCELLED, 0, JobAccount(0, 0, 0, 0, 0))
        rig.journal.feed(TurnEffects(STATS, None, (gone,)))
        await rig.journal.flush()
        assert await rig.state(waiting) is JobState.CLAIMED

    _run(test)


class _ClaimsLate(MemoryJobPool):
    """Claims, and comes back with it when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed, self.go_on = threading.Event(), threading.Event()

    def claim(self, epoch: int, limit: int) -> list[JobRecord]:
        claimed = super().claim(epoch, limit)
        if claimed:
            self.claimed.set()
            self.go_on.wait(20)
        return claimed


def test_a_claim_that_is_under_way_when_a_drain_begins_starts_nothing() -> None:
    pool = _ClaimsLate()

    async def test(rig: Rig) -> None:
        job = await rig.job()
        await asyncio.to_thread(pool.claimed.wait, 20)
        await rig.claims.park_unstarted()
        pool.go_on.set()
        await rig.until(lambda: job in rig.table.jobs)
        assert rig.table.jobs[job].parked and not rig.table.by_handle
        await rig.claims.engine_started(FACTS, rig.send)  # an engine that dies and comes back is not told, either
        assert not rig.sent
        assert await rig.state(job) is JobState.CLAIMED
        epoch = await rig.store.call(lambda pool: pool.open_epoch("the next server"))
        (taken,) = await rig.store.call(lambda pool: pool.claim(epoch, 10))
        assert taken.job.job_id == job

    _run(test, pool=lambda: pool)


def test_a_cancel_without_an_engine_ends_the_job_at_once() -> None:
    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        rig.claims.engine_ended()
        await rig.claims.cancel(rig.table.jobs[job])
        await rig.journal.flush()
        assert await rig.state(job) is JobState.CANCELLED

    _run(test)


def test_another_owner_of_the_pool_ends_the_journal(tmp_path: Path) -> None:
    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        await rig.store.call(lambda pool: pool.open_epoch("usurper"))
        journal = next(t for t in asyncio.all_tasks() if "Journal.run" in repr(t.get_coro()))
        rig.journal.feed(rig.tokens(rig.handle(job), 0, 65))
        with pytest.raises(Exception, match="taken over"):
            await journal
        assert len(rig.table.jobs[job].tokens) == 0

    _run(test, pool=lambda: open_pool(f"sqlite:{tmp_path / 'p.sqlite'}"))


def test_what_comes_behind_the_end_of_a_job_is_dropped() -> None:
    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        claimed, handle = rig.table.jobs[job], rig.handle(job)
        account = JobAccount(1, 2, 3, 4, 5)
        rig.journal.feed(rig.tokens(handle, 0, 65))
        rig.journal.feed(TurnEffects(STATS, None, (Finished(handle, FinishReason.LENGTH, 1, account),)))
        rig.journal.feed(rig.tokens(handle, 1, 66))  # an engine that ran ahead
        rig.journal.end(claimed, FinishReason.CANCELLED)
        await rig.journal.flush()
        assert await rig.state(job) is JobState.SUCCEEDED
        assert list(claimed.tokens) == [65]

    _run(test)


def test_bytes_that_wait_behind_a_commit_still_count() -> None:
    class Gated(MemoryJobPool):
        gate = threading.Event()

        def commit(self, epoch: int, batch: LogBatch) -> None:
            Gated.gate.wait(5)
            Gated.gate.clear()
            super().commit(epoch, batch)

    async def test(rig: Rig) -> None:
        job = await rig.job()
        await rig.until(lambda: job in rig.table.jobs)
        claimed, handle = rig.table.jobs[job], rig.handle(job)
        rig.journal.feed(rig.tokens(handle, 0, 65))
        await asyncio.sleep(0.05)  # its commit is under way
        position = 1
        while not rig.journal.full:
            rig.journal.feed(rig.tokens(handle, position, 65))
            position += 1
        Gated.gate.set()
        await rig.until(lambda: len(claimed.tokens) == 1)
        for _ in range(2):
            rig.journal.feed(rig.tokens(handle, position, 65))
            position += 1
        assert rig.journal.full
        while len(claimed.tokens) < position:
            Gated.gate.set()
            await asyncio.sleep(0.001)
        assert not rig.journal.full

    _run(test, pool=Gated, limit_bytes=4096)
