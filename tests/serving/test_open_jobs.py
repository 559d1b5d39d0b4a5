"""Places in the queue: a job that is not final holds one, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skipjoin.core.asked import Asked
from skipjoin.core.clock import ManualClock
from skipjoin.core.effects import Finished, Started, TurnEffects, TurnStats
from skipjoin.core.errors import NotFound, Overloaded, StoreUnavailable, Unavailable
from skipjoin.core.events import CancelRequested, Event
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import JobId, Level, TenantId
from skipjoin.core.job import FinishReason, JobAccount
from skipjoin.core.jobpool import JobPool
from skipjoin.core.pool import JobRecord, NewJob, OpenJob, Swept
from skipjoin.core.sampling import SamplingParams
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.jobpool.sqlite import SqliteJobPool
from skipjoin.serving.door import claims as claims_module
from skipjoin.serving.door import deadlines as deadlines_module
from skipjoin.serving.door import store as store_module
from skipjoin.serving.door import streams as streams_module
from skipjoin.serving.door import sweep as sweep_module
from skipjoin.serving.door.backlog import Backlog
from skipjoin.serving.door.claimed import ClaimedJobs
from skipjoin.serving.door.claims import Claims
from skipjoin.serving.door.deadlines import GRACE_NS, Deadlines
from skipjoin.serving.door.intake import Intake
from skipjoin.serving.door.jobs import Jobs
from skipjoin.serving.door.journal import Journal
from skipjoin.serving.door.open_jobs import OpenJobs
from skipjoin.serving.door.shares import Shares
from skipjoin.serving.door.store import Store, _Lane
from skipjoin.serving.door.streams import Streams
from skipjoin.serving.door.sweep import Sweep
from skipjoin.serving.door.text import ByteTokenizer
from skipjoin.serving.facts import EngineFacts, EngineWords

FACTS = EngineFacts(ExecutorFacts(1, 100, 0, 16, 1, None, 257), "skipjoin", EngineWords(4, "cpu", "none", "m", "p"))
STATS = TurnStats(1, 1, 1, 0, 1, 9, 0, 0, 10, None, None)
ACCOUNT = JobAccount(1, 0, 0, 0, 0)
RED, BLUE = TenantId("red"), TenantId("blue")
LIMIT = 8
EXPECTED = (Unavailable, Overloaded, StoreUnavailable, NotFound)


# one by one -----------------------------------------------------------------------------------
def _job(number: int, tenant: TenantId = RED, deadline: int | None = None, request_id: str | None = None) -> NewJob:
    asked = Asked(SamplingParams(seed=1, max_new_tokens=4))
    name = JobId(f"{number:032x}")
    return NewJob(name, tenant, request_id, b"d", np.zeros(2, np.int32), asked, 1, deadline_unix_ns=deadline)


def _open_jobs() -> OpenJobs:
    return OpenJobs(Backlog(Shares(LIMIT, [RED, BLUE]), ManualClock()))


def test_a_place_goes_back_once() -> None:
    jobs = _open_jobs()
    for number in range(3):
        jobs.admit(_job(number))
    jobs.stored(_job(0))
    for _ in range(3):
        jobs.ended(_job(0).job_id)
    jobs.not_stored(_job(1))
    jobs.ended(_job(1).job_id)
    jobs.ended(_job(9).job_id)
    assert len(jobs) == jobs.backlog.open_jobs == 1


def test_a_count_finds_what_was_missed_and_leaves_what_happened_meanwhile() -> None:
    jobs = _open_jobs()
    for number in range(4):
        jobs.admit(_job(number))
    for number in (0, 1, 2):
        jobs.stored(_job(number))
    jobs.begin_count()
    jobs.ended(_job(1).job_id)  # behind the pool's answer, which still has it
    jobs.admit(_job(4))
    unfinished = [OpenJob(_job(number).job_id, RED, None) for number in (1, 2, 7)]
    assert jobs.counted(unfinished) == [_job(0).job_id]
    held = [number for number in range(8) if _job(number).job_id in jobs]
    assert held == [2, 3, 4, 7]  # 3 and 4 are being stored, 7 was stored without its answer
    assert jobs.backlog.open_jobs == 4


def test_deadlines_come_in_order_and_only_of_open_jobs() -> None:
    jobs = _open_jobs()
    for number in range(5):
        jobs.found(OpenJob(_job(number).job_id, RED, 100 - number))
    jobs.ended(_job(3).job_id)
    assert jobs.due(95) == []
    assert jobs.due(98) == [_job(4).job_id, _job(2).job_id]
    jobs.look_again(_job(4).job_id, 150)
    assert jobs.due(1000) == [_job(1).job_id, _job(0).job_id, _job(4).job_id]
    assert jobs.due(1000) == []


def test_deadlines_of_jobs_that_ended_long_before_take_no_room() -> None:
    jobs = _open_jobs()
    for number in range(10_000):
        jobs.found(OpenJob(_job(number).job_id, RED, 10**18))
        jobs.ended(_job(number).job_id)
    assert len(jobs._dues) < 200


def test_the_wait_for_a_deadline_ends_for_a_sooner_one() -> None:
    async def main() -> None:
        jobs = _open_jobs()
        jobs.found(OpenJob(_job(0).job_id, RED, 10**18))
        wait = asyncio.create_task(jobs.next_due(0, 3600))
        await asyncio.sleep(0.01)
        assert not wait.done()
        jobs.found(OpenJob(_job(1).job_id, RED, 10))
        async with asyncio.timeout(20):
            await wait

    asyncio.run(main())


# all at once ----------------------------------------------------------------------------------
class Held(Executor):
    """A thread that works when it is told to."""

    def __init__(self) -> None:
        self.work: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.work.append((future, lambda: fn(*args, **kwargs)))
        return future

    def step(self) -> bool:
        if not self.work:
            return False
        future, work = self.work.popleft()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - it is its asker's
            future.set_exception(error)
        return True


class Mute:
    """A pool that does what it is asked and may fail to say so."""

    def __init__(self, pool: JobPool) -> None:
        self.pool = pool
        self.mute = self.unsaid = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)

    def _said(self, answer: Any) -> Any:
        mute, self.mute = self.mute, False
        if mute:
            self.unsaid = True
            raise StoreUnavailable("It was written, and cannot be said.")
        return answer

    def submit(self, jobs: Sequence[NewJob]) -> list[JobRecord | Exception]:
        return self._said(self.pool.submit(jobs))  # type: ignore[no-any-return]

    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        return self._said(self.pool.cancel(job_id, reason))  # type: ignore[no-any-return]

    def sweep(self, now_unix_ns: int, keep_ns: int) -> Swept:
        return self._said(self.pool.sweep(now_unix_ns, keep_ns))  # type: ignore[no-any-return]


class Places(RuleBasedStateMachine):
    """A door over a real pool, whose threads, engine and clock do one thing at a time."""

    def make_pool(self) -> JobPool:
        return MemoryJobPool()

    def _now(self) -> int:
        return self.now

    @initialize()
    def open(self) -> None:
        self.now = 1_000
        self.patches = [
            mock.patch.object(module, "unix_ns", self._now)
            for module in (claims_module, deadlines_module, sweep_module)
        ]
        self.patches += [mock.patch.object(streams_module, "_LOOK_AGAIN_S", 3600)]
        self.patches += [mock.patch.object(store_module, name, 0.0) for name in ("_FIRST_PROBE_S", "_LAST_PROBE_S")]
        for patch in self.patches:
            patch.start()
        self.loop = asyncio.new_event_loop()
        self.lanes = [Held(), Held(), Held()]
        self.numbers = 0
        self.known: list[NewJob] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.follows: dict[asyncio.Task[Any], JobId] = {}
        self.sent: list[Event] = []
        self.engine = False
        self.pool = Mute(self.make_pool())
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        writer, points, scans = self.lanes
        pool: Any = self.pool
        self.store = Store(writer, pool, (_Lane(points, pool), _Lane(scans, pool)), 4)  # type: ignore[arg-type]
        clock, table, tokenizer = ManualClock(), ClaimedJobs(), ByteTokenizer()
        epoch = pool.open_epoch("test")
        self.shares = Shares(LIMIT, [RED, BLUE])
        self.open_jobs = OpenJobs(Backlog(self.shares, clock))
        journal = Journal(self.store, table, epoch, 1 << 20)
        journal.end_observers.append(lambda claimed, end: self.open_jobs.ended(claimed.job_id))
        bounds = {"max_jobs": 3, "held_prompt_bytes": 1 << 20, "prompts_ahead_bytes": 1 << 20}
        claims = Claims(self.store, table, journal, clock, epoch, **bounds)
        intake = Intake(tokenizer, SamplingParams(), default_max_new_tokens=8, job_cap_s=60)
        streams = Streams(self.store, table, tokenizer)
        journal.news_observers.append(streams.tell)
        self.jobs = Jobs(self.store, table, intake, self.open_jobs, claims, journal, streams, lambda: FACTS)
        self.sweep = Sweep(self.store, streams, self.open_jobs, claims, 3600, 1e-9)
        self.deadlines = Deadlines(self.open_jobs, table, journal, self.sweep)
        self.running = [asyncio.create_task(journal.run()), asyncio.create_task(claims.run())]
        self.sweeping: asyncio.Task[None] | None = None
        self.looking: asyncio.Task[None] | None = None

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self.tasks.append(task)
        return task

    def _spin(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.run_until_complete(asyncio.sleep(0))

    # what clients do ------------------------------------------------------------------------------
    @rule(
        tenant=st.sampled_from([RED, BLUE]),
        timeout=st.sampled_from([None, 5, 50]),
        named=st.booleans(),
        followed=st.booleans(),
    )
    def submit(self, tenant: TenantId, timeout: int | None, named: bool, followed: bool) -> None:
        self.numbers += 1
        deadline = None if timeout is None else self.now + timeout
        job = _job(self.numbers, tenant, deadline, f"r{self.numbers % 3}" if named else None)
        self.known.append(job)
        if followed:
            self.follows[self._begin(self._generate(job))] = job.job_id
        else:
            self._begin(self.jobs.keep(job))

    async def _generate(self, job: NewJob) -> None:
        await self.jobs.keep(job)
        await self._follow(job)

    async def _follow(self, job: NewJob) -> None:
        async for _ in self.jobs.follow(job.job_id, None):
            pass

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.known[-6:]))
        self._begin(self.jobs.cancel(job.job_id, None))

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.known[-6:]))
        self.follows[self._begin(self._follow(job))] = job.job_id

    # what the machine does ------------------------------------------------------------------------
    @rule(lane=st.sampled_from([0, 0, 1, 2]), steps=st.integers(1, 3), turns=st.integers(0, 4))
    def work(self, lane: int, steps: int, turns: int) -> None:
        for _ in range(steps):
            self.lanes[lane].step()
        self._spin(turns)

    @rule(turns=st.integers(1, 4))
    def turns(self, turns: int) -> None:
        self._spin(turns)

    @rule(passed=st.sampled_from([1, 5, 20, 10**9]))
    def time(self, passed: int) -> None:
        self.now += passed

    @rule()
    def pool_will_not_say(self) -> None:
        self.pool.mute = True

    # what the door does ---------------------------------------------------------------------------
    @rule()
    def look_at_deadlines(self) -> None:
        if self.looking is None or self.looking.done():
            self.looking = self._begin(self.deadlines.look())

    @rule(expire=st.booleans())
    def look_through_the_pool(self, expire: bool) -> None:
        if self.sweeping is None or self.sweeping.done():
            self.sweeping = self._begin(self.sweep.expire() if expire else self.sweep.set_right())

    # what the engine does -------------------------------------------------------------------------
    async def _send(self, events: Sequence[Event]) -> None:
        self.sent += events

    @rule()
    def engine_starts(self) -> None:
        if not self.engine:
            self.engine = True
            self._begin(self.jobs.claims.engine_started(FACTS, self._send))
            self._spin(1)

    @rule()
    def engine_dies(self) -> None:
        self.engine = False
        self.sent.clear()
        self.jobs.claims.engine_ended()

    @precondition(lambda self: self.engine and self.jobs.table.by_handle)
    @rule(data=st.data(), reason=st.sampled_from(list(FinishReason)))
    def engine_ends_a_job(self, data: st.DataObject, reason: FinishReason) -> None:
        handle = data.draw(st.sampled_from(sorted(claimed.handle for claimed in self.jobs.table.by_handle.values())))
        self.jobs.journal.feed(
            TurnEffects(STATS, None, (Started(handle, Level(1)), Finished(handle, reason, 0, ACCOUNT)))
        )

    @rule()
    def engine_hears(self) -> None:
        ends = [event.handle for event in self.sent if isinstance(event, CancelRequested)]
        self.sent.clear()
        finished = tuple(Finished(handle, FinishReason.CANCELLED, 0, ACCOUNT) for handle in ends)
        self.jobs.journal.feed(TurnEffects(STATS, None, finished))

    @rule(last=st.sampled_from([False] * 9 + [True]))
    def drain(self, last: bool) -> None:
        if last:
            self._begin(self.jobs.claims.park_unstarted())

    # what must be true ----------------------------------------------------------------------------
    @invariant()
    def every_place_has_its_job(self) -> None:
        if hasattr(self, "open_jobs"):
            assert len(self.open_jobs) == self.shares.total == sum(self.shares._held.values())

    @rule()
    def settle(self) -> None:
        """All that was begun is done, and nothing more: the places are the unfinished jobs, and
        none of those is overdue.
        """
        self._quiet()
        self._begin(self.deadlines.look())
        self._quiet()
        while self.pool.unsaid:  # the next count finds it
            self.pool.unsaid = False
            self._begin(self.sweep.set_right())
            self._quiet()
            self._begin(self.deadlines.look())
            self._quiet()
        unfinished = self.pool.unfinished()
        assert {job.job_id for job in unfinished} == set(self.open_jobs._tenants)
        assert Counter(job.tenant for job in unfinished) == Counter(self.shares._held)
        there = {job.job_id for job in unfinished}
        assert not [job for job in unfinished if self.now > (job.deadline_unix_ns or self.now) + GRACE_NS]
        for task, job_id in self.follows.items():
            assert task.done() or job_id in there, "a stream was not told of the end"
        for task in self.tasks:
            if task.done() and (error := task.exception()) is not None and not isinstance(error, EXPECTED):
                raise error
        self.tasks = [task for task in self.tasks if not task.done()]
        self.follows = {task: job_id for task, job_id in self.follows.items() if not task.done()}
        assert len(self.tasks) == len(self.follows)

    def _quiet(self) -> None:
        for _ in range(200):
            self._spin(8)
            worked = [lane.step() for lane in self.lanes]
            if not any(worked) and self.store.failing is None:
                return
        raise AssertionError("it does not come to rest")

    def teardown(self) -> None:
        if not hasattr(self, "open_jobs"):
            return
        self.settle()
        ending = [*self.running, *self.tasks, self.store._looking]
        for task in ending:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*ending, return_exceptions=True))
        self.loop.close()
        self.pool.close()
        for patch in self.patches:
            patch.stop()


class PlacesOnDisk(Places):
    def make_pool(self) -> JobPool:
        self.folder = TemporaryDirectory()
        return SqliteJobPool(Path(self.folder.name) / "jobs.sqlite")

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestPlaces = Places.TestCase
TestPlaces.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPlacesOnDisk = PlacesOnDisk.TestCase
TestPlacesOnDisk.settings = settings(
    max_examples=12, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
