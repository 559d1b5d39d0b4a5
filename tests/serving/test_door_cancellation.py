"""The door's rows in the table of docs/states/cancellation.md, played.

A job is brought into the state of a row and cancelled there. What the call returns, what the engine
is sent and what the pool holds must be what the row's cell says. The engine's place is taken by a
list of what it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from skipjoin.core.clock import MonotonicClock
from skipjoin.core.effects import Finished, Started, TurnEffects, TurnStats
from skipjoin.core.events import CancelRequested, Event
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import DEFAULT_TENANT, Handle, Level
from skipjoin.core.job import FinishReason, JobAccount, JobState
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import Chunk, JobSpec, JobView
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.serving.door import streams as streams_module
from skipjoin.serving.door.backlog import Backlog
from skipjoin.serving.door.claimed import ClaimedJobs
from skipjoin.serving.door.claims import Claims
from skipjoin.serving.door.deadlines import Deadlines
from skipjoin.serving.door.intake import Intake
from skipjoin.serving.door.jobs import Jobs
from skipjoin.serving.door.journal import Journal
from skipjoin.serving.door.open_jobs import OpenJobs
from skipjoin.serving.door.shares import Shares
from skipjoin.serving.door.store import Store
from skipjoin.serving.door.streams import Streams
from skipjoin.serving.door.sweep import Sweep
from skipjoin.serving.door.text import ByteTokenizer
from skipjoin.serving.facts import EngineFacts, EngineWords

PAGE = Path(__file__).parents[2] / "docs" / "states" / "cancellation.md"
WORDS = EngineWords(4, "cpu", "none", "m", "p")
FACTS = EngineFacts(ExecutorFacts(1, 100, 0, 16, 1, None, 257), "skipjoin", WORDS)
STATS = TurnStats(1, 1, 1, 0, 1, 9, 0, 0, 10, None, None)
ACCOUNT = JobAccount(1, 0, 0, 0, 0)


@dataclass
class Rig:
    """A door without listeners."""

    jobs: Jobs
    sent: list[Event] = field(default_factory=list)

    async def send(self, events: Sequence[Event]) -> None:
        self.sent += events

    async def start_engine(self) -> None:
        await self.jobs.claims.engine_started(FACTS, self.send)

    async def accepted(self, timeout_ns: int | None = None) -> JobView:
        """A job that is stored."""
        spec = JobSpec(text="hello", timeout_ns=timeout_ns)
        return await self.jobs.keep(await self.jobs.prepared(spec, DEFAULT_TENANT))

    async def told(self) -> JobView:
        await self.start_engine()
        job = await self.accepted()
        await self.until(lambda: job.job_id in self.jobs.table.jobs)
        return job

    def handle(self, job: JobView) -> Handle:
        handle = self.jobs.table.jobs[job.job_id].handle
        assert handle is not None
        return handle

    def engine_says(self, *effects: Started | Finished) -> None:
        self.jobs.journal.feed(TurnEffects(STATS, None, effects))

    async def settled(self, job: JobView) -> JobView:
        """The job when all that was queued is in the pool."""
        await self.jobs.journal.flush()
        return await self.jobs.get(job.job_id, None)

    async def ended(self, job: JobView) -> None:
        await self.until(lambda: job.job_id not in self.jobs.open_jobs)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():  # noqa: ASYNC110 - what is waited for is plain state
                await asyncio.sleep(0.001)


@asynccontextmanager
async def _door(pool: MemoryJobPool, max_jobs: int = 8) -> AsyncIterator[Rig]:
    clock, table, tokenizer = MonotonicClock(), ClaimedJobs(), ByteTokenizer()
    store = await Store.open(lambda: pool)
    epoch = await store.call(lambda pool: pool.open_epoch("test"))
    journal = Journal(store, table, epoch, 1 << 20)
    bounds = {"max_jobs": max_jobs, "held_prompt_bytes": 1 << 20, "prompts_ahead_bytes": 1 << 20}
    claims = Claims(store, table, journal, clock, epoch, **bounds)
    intake = Intake(tokenizer, SamplingParams(), default_max_new_tokens=8, job_cap_s=60)
    open_jobs, streams = OpenJobs(Backlog(Shares(100), clock)), Streams(store, table, tokenizer)
    journal.news_observers.append(streams.tell)
    for one in await store.scan(lambda reader: reader.unfinished()):
        open_jobs.found(one)
    journal.end_observers.append(lambda claimed, end: open_jobs.ended(claimed.job_id))
    rig = Rig(Jobs(store, table, intake, open_jobs, claims, journal, streams, lambda: FACTS))
    deadlines = Deadlines(open_jobs, table, journal, Sweep(store, streams, open_jobs, claims, 3600, 3600))
    tasks = [asyncio.create_task(part.run()) for part in (journal, claims, deadlines)]
    try:
        yield rig
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()


def _play(test: Callable[[Rig], Awaitable[None]], *, max_jobs: int = 8) -> None:
    async def main() -> None:
        async with _door(MemoryJobPool(), max_jobs) as rig:
            await test(rig)

    asyncio.run(main())


def _cell(state: str, column: int) -> str:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| {state} |"))
    return row.strip("|").split("|")[column].strip()


CANCEL, DEADLINE, DRAIN, ENGINE_DIES, DOOR_DIES = 2, 3, 4, 5, 6


async def _cancelled(rig: Rig, job: JobView) -> JobView:
    rig.sent.clear()
    return await rig.jobs.cancel(job.job_id, DEFAULT_TENANT, "enough")


def _asked(rig: Rig) -> int:
    return sum(isinstance(event, CancelRequested) for event in rig.sent)


def test_accepted() -> None:
    assert _cell("Accepted", CANCEL) == "at once"

    async def test(rig: Rig) -> None:
        job = await rig.accepted()
        answer = await _cancelled(rig, job)
        assert (answer.state, answer.cancel_requested) == (JobState.CANCELLED, True)
        assert len(rig.jobs.open_jobs) == 0 and not _asked(rig)

    _play(test, max_jobs=0)


def test_without_an_engine() -> None:
    assert _cell("Without an engine", CANCEL) == "by the door"

    async def test(rig: Rig) -> None:
        job = await rig.told()
        rig.jobs.claims.engine_ended()
        answer = await _cancelled(rig, job)
        assert (answer.state, answer.cancel_requested) == (JobState.CLAIMED, True)
        after = await rig.settled(job)
        assert (after.state, after.account) == (JobState.CANCELLED, None)
        assert not rig.jobs.table.jobs and not _asked(rig)

    _play(test)


def test_with_the_engine() -> None:
    assert _cell("With the engine", CANCEL) == "told"

    async def test(rig: Rig) -> None:
        job = await rig.told()
        answer = await _cancelled(rig, job)
        assert (answer.state, answer.cancel_requested, _asked(rig)) == (JobState.CLAIMED, True, 1)
        assert (await rig.settled(job)).state is JobState.CLAIMED, "the engine has the last word"
        rig.engine_says(Finished(rig.handle(job), FinishReason.CANCELLED, 0, ACCOUNT))
        after = await rig.settled(job)
        assert (after.state, after.account) == (JobState.CANCELLED, ACCOUNT)

    _play(test)


def test_with_an_engine_that_dies_before_it_hears() -> None:
    assert (_cell("Claimed", CANCEL), _cell("Claimed", ENGINE_DIES)) == ("marked", "told anew")

    async def test(rig: Rig) -> None:
        job = await rig.told()
        await _cancelled(rig, job)
        rig.jobs.claims.engine_ended()
        await rig.start_engine()
        assert (await rig.settled(job)).state is JobState.CANCELLED

    _play(test)


def test_parked() -> None:
    assert _cell("Parked", CANCEL) == "by the door"

    async def test(rig: Rig) -> None:
        job = await rig.told()
        await rig.jobs.claims.park_unstarted()
        assert _asked(rig) == 1, "the engine gives it back"
        gone = Finished(rig.handle(job), FinishReason.CANCELLED, 0, ACCOUNT)
        answer = await _cancelled(rig, job)
        assert (answer.state, answer.cancel_requested) == (JobState.CLAIMED, True)
        rig.engine_says(gone)
        after = await rig.settled(job)
        assert (after.state, after.account) == (JobState.CANCELLED, None)

    _play(test)


def test_a_cancel_that_the_door_did_not_live_to_end() -> None:
    assert _cell("Claimed", DOOR_DIES) == "taken over"

    async def main() -> None:
        pool = MemoryJobPool()
        async with _door(pool) as rig:
            job = await rig.told()
            await _cancelled(rig, job)
        async with _door(pool) as rig:
            await rig.ended(job)
            assert (await rig.settled(job)).state is JobState.CANCELLED and not rig.sent

    asyncio.run(main())


@pytest.mark.parametrize("state", ["Ending", "Succeeded"])
def test_too_late(state: str) -> None:
    assert _cell(state, CANCEL) == "too late"

    async def test(rig: Rig) -> None:
        job = await rig.told()
        rig.engine_says(Finished(rig.handle(job), FinishReason.STOP, 0, ACCOUNT))
        if state == "Succeeded":
            await rig.jobs.journal.flush()
        else:
            assert rig.jobs.table.jobs[job.job_id].ending
        await _cancelled(rig, job)
        assert (await rig.settled(job)).state is JobState.SUCCEEDED

    _play(test)


SHORT_NS = 20_000_000


def test_a_deadline_while_there_is_no_engine() -> None:
    assert _cell("Without an engine", DEADLINE) == "expired here"

    async def test(rig: Rig) -> None:
        job = await rig.accepted(timeout_ns=SHORT_NS)
        await rig.ended(job)
        after = await rig.settled(job)
        assert (after.state, after.account) == (JobState.EXPIRED, None)

    _play(test)


def test_a_deadline_while_the_engine_dies() -> None:
    async def test(rig: Rig) -> None:
        await rig.start_engine()
        job = await rig.accepted(timeout_ns=SHORT_NS)
        await rig.until(lambda: job.job_id in rig.jobs.table.jobs)
        rig.jobs.claims.engine_ended()
        await rig.ended(job)
        assert (await rig.settled(job)).state is JobState.EXPIRED

    _play(test)


def test_a_deadline_while_the_engine_hangs() -> None:
    assert _cell("With the engine", DEADLINE) == "expired"

    async def test(rig: Rig) -> None:
        await rig.start_engine()
        job = await rig.accepted(timeout_ns=SHORT_NS)
        await rig.until(lambda: job.job_id in rig.jobs.table.jobs)
        late = Finished(rig.handle(job), FinishReason.EXPIRED, 0, ACCOUNT)
        await rig.ended(job)
        rig.engine_says(late)
        after = await rig.settled(job)
        assert (after.state, after.account) == (JobState.EXPIRED, None)

    _play(test)


def test_a_deadline_that_the_engine_keeps() -> None:
    async def test(rig: Rig) -> None:
        await rig.start_engine()
        job = await rig.accepted(timeout_ns=SHORT_NS)
        await rig.until(lambda: job.job_id in rig.jobs.table.jobs)
        await asyncio.sleep(0.1)
        rig.engine_says(Finished(rig.handle(job), FinishReason.EXPIRED, 0, ACCOUNT))
        after = await rig.settled(job)
        assert (after.state, after.account) == (JobState.EXPIRED, ACCOUNT)

    _play(test)


def test_a_deadline_while_the_job_is_parked() -> None:
    assert _cell("Parked", DEADLINE) == "expired here"

    async def test(rig: Rig) -> None:
        await rig.start_engine()
        job = await rig.accepted(timeout_ns=100_000_000)
        await rig.until(lambda: job.job_id in rig.jobs.table.jobs)
        await rig.jobs.claims.park_unstarted()
        assert rig.jobs.table.jobs[job.job_id].parked
        await rig.ended(job)
        assert (await rig.settled(job)).state is JobState.EXPIRED

    _play(test)


def test_a_deadline_before_the_first_engine_of_the_next_door() -> None:
    async def main() -> None:
        pool = MemoryJobPool()
        async with _door(pool) as rig:
            await rig.start_engine()
            job = await rig.accepted(timeout_ns=100_000_000)
            await rig.until(lambda: job.job_id in rig.jobs.table.jobs)
        async with _door(pool) as rig:
            await rig.ended(job)
            assert (await rig.settled(job)).state is JobState.EXPIRED

    asyncio.run(main())


def test_a_deadline_before_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _cell("Accepted", DEADLINE) == "swept"
    monkeypatch.setattr(streams_module, "_LOOK_AGAIN_S", 3600)  # who follows is told

    async def test(rig: Rig) -> None:
        job = await rig.accepted(timeout_ns=SHORT_NS)
        async with asyncio.timeout(20):
            (chunk,) = [item async for item in rig.jobs.follow(job.job_id, DEFAULT_TENANT)]
        assert isinstance(chunk, Chunk) and chunk.finish is not None
        assert chunk.finish.reason is FinishReason.EXPIRED
        assert len(rig.jobs.open_jobs) == 0

    _play(test, max_jobs=0)


def test_a_drain_leaves_what_has_begun_to_the_engine() -> None:
    assert _cell("Decoding", DRAIN) == "runs on"
    assert _cell("Queued", DRAIN) == "taken back"

    async def test(rig: Rig) -> None:
        begun, waits = await rig.told(), await rig.accepted()
        await rig.until(lambda: len(rig.jobs.table.by_handle) == 2)
        rig.engine_says(Started(rig.handle(begun), Level(1)))
        rig.sent.clear()
        await rig.jobs.claims.park_unstarted()
        assert rig.sent == [CancelRequested(rig.handle(waits))]
        assert not rig.jobs.table.jobs[begun.job_id].parked

    _play(test)
