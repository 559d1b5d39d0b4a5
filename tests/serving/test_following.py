"""One conduct of both doors when a client goes: what is cancelled, what is kept, and what is said
of a cancel that fails.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from skipjoin.core.clock import MonotonicClock
from skipjoin.core.errors import (
    DeadlineExceeded,
    InternalError,
    Overloaded,
    SkipjoinError,
    StoreUnavailable,
    Unavailable,
)
from skipjoin.core.executor import ExecutorFacts
from skipjoin.core.ids import DEFAULT_TENANT, JobId, TenantId
from skipjoin.core.job import JobState
from skipjoin.core.jobpool import JobPool
from skipjoin.core.pool import JobRecord, NewJob
from skipjoin.core.sampling import SamplingParams
from skipjoin.core.view import JobSpec, JobView
from skipjoin.jobpool.memory import MemoryJobPool
from skipjoin.jobpool.sqlite import SqliteJobPool
from skipjoin.serving.door import store as store_module
from skipjoin.serving.door.backlog import Backlog
from skipjoin.serving.door.call_cap import capped
from skipjoin.serving.door.claimed import ClaimedJobs
from skipjoin.serving.door.claims import Claims
from skipjoin.serving.door.deadlines import Deadlines
from skipjoin.serving.door.door import Door
from skipjoin.serving.door.engines import Engines
from skipjoin.serving.door.following import Following
from skipjoin.serving.door.intake import Intake
from skipjoin.serving.door.jobs import Jobs
from skipjoin.serving.door.journal import Journal
from skipjoin.serving.door.open_jobs import OpenJobs
from skipjoin.serving.door.patience import Patience
from skipjoin.serving.door.questions import Questions
from skipjoin.serving.door.shares import Shares
from skipjoin.serving.door.store import Store
from skipjoin.serving.door.streams import Streams
from skipjoin.serving.door.supervisor import Supervisor
from skipjoin.serving.door.sweep import Sweep
from skipjoin.serving.door.text import ByteTokenizer
from skipjoin.serving.facts import EngineFacts, EngineWords
from skipjoin.serving.grpc.health import Health
from skipjoin.serving.settings import load_settings

FACTS = EngineFacts(ExecutorFacts(1, 100, 0, 16, 1, None, 257), "skipjoin", EngineWords(4, "cpu", "none", "m", "p"))


def _run(
    test: Callable[[Following, Jobs], Awaitable[None]],
    *,
    ready: bool = True,
    tokenizer: ByteTokenizer | None = None,
    pool: Callable[[], JobPool] = MemoryJobPool,
) -> None:
    tokenizer = tokenizer or ByteTokenizer()

    async def main() -> None:
        clock, table = MonotonicClock(), ClaimedJobs()
        store = await Store.open(pool)
        epoch = await store.call(lambda pool: pool.open_epoch("test"))
        journal = Journal(store, table, epoch, 1 << 20)
        claims = Claims(
            store, table, journal, clock, epoch, max_jobs=8, held_prompt_bytes=1 << 20, prompts_ahead_bytes=1 << 20
        )
        intake = Intake(tokenizer, SamplingParams(), default_max_new_tokens=8, job_cap_s=60)
        jobs = Jobs(
            store,
            table,
            intake,
            OpenJobs(Backlog(Shares(100), clock)),
            claims,
            journal,
            Streams(store, table, tokenizer),
            lambda: FACTS if ready else None,
        )
        try:
            await test(Following(jobs, "the client went"), jobs)
        finally:
            await store.close()

    asyncio.run(main())


def _spec(*, cancel: bool = True) -> JobSpec:
    return JobSpec(text="hello", cancel_on_disconnect=cancel)


async def _state(jobs: Jobs, job: JobView) -> JobState:
    return (await jobs.get(job.job_id, None)).state


@pytest.mark.parametrize("end", [asyncio.CancelledError, ConnectionResetError, GeneratorExit])
@pytest.mark.parametrize("cancel", [True, False])
def test_a_client_that_goes_has_its_job_cancelled_if_it_was_submitted_so(
    end: type[BaseException], cancel: bool
) -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        job = await following.submit(_spec(cancel=cancel), DEFAULT_TENANT, None)
        with pytest.raises(end), following.held(job, DEFAULT_TENANT):
            raise end
        await following.settled()
        assert await _state(jobs, job) is (JobState.CANCELLED if cancel else JobState.ACCEPTED)

    _run(test)


def test_the_servers_own_end_and_a_body_that_ends_well_cancel_nothing() -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        job = await following.submit(_spec(), DEFAULT_TENANT, None)
        with following.held(job, DEFAULT_TENANT):
            pass
        for said in (Unavailable("The server is going down."), Overloaded("Full.", retry_after_s=1.0)):
            with pytest.raises(type(said)), following.held(job, DEFAULT_TENANT):
                raise said
        jobs.streams.close()
        with pytest.raises(ConnectionResetError), following.held(job, DEFAULT_TENANT):
            raise ConnectionResetError  # the door closes its connections: no wish of the client's
        await following.settled()
        assert await _state(jobs, job) is JobState.ACCEPTED

    _run(test)


class _Reasons(MemoryJobPool):
    """Notes why jobs were cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def cancel(self, job_id: JobId, reason: str) -> JobRecord:
        self.reasons.append(reason)
        return super().cancel(job_id, reason)


@pytest.mark.parametrize("fault", [ValueError("a secret"), TimeoutError(), KeyError("row"), OSError("no such file")])
def test_a_fault_of_ours_is_no_client_that_went(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        job = await following.submit(_spec(), DEFAULT_TENANT, None)
        with pytest.raises(InternalError) as said, following.held(job, DEFAULT_TENANT):
            raise fault
        await following.settled()
        assert await _state(jobs, job) is JobState.ACCEPTED
        assert "secret" not in str(said.value)
        (line,) = caplog.records
        assert (line.levelno, line.exc_info is not None) == (logging.ERROR, True)
        assert job.job_id in line.getMessage()

    with caplog.at_level(logging.WARNING, logger="skipjoin.door"):
        _run(test)


def test_a_call_that_its_cap_ends_and_that_cannot_be_made_again_ends_its_job() -> None:
    async def follow(following: Following, job: JobView) -> None:
        async with capped(0.01, "Send it again."):
            with following.held(job, DEFAULT_TENANT):
                await asyncio.sleep(60)

    async def test(following: Following, jobs: Jobs) -> None:
        last = Following(jobs, "the client went", "the call lasted for too long")
        for cancel, state in ((True, JobState.CANCELLED), (False, JobState.ACCEPTED)):
            job = await last.submit(_spec(cancel=cancel), DEFAULT_TENANT, None)
            with pytest.raises(DeadlineExceeded):
                await follow(last, job)
            await last.settled()
            assert await _state(jobs, job) is state

    pool = _Reasons()
    _run(test, pool=lambda: pool)
    assert pool.reasons == ["the call lasted for too long"]


def test_a_call_that_its_cap_ends_cancels_nothing_and_its_clients_own_end_does() -> None:
    async def follow(following: Following, job: JobView, cap_s: float) -> None:
        async with capped(cap_s, "Stream again."):
            with following.held(job, DEFAULT_TENANT):
                await asyncio.sleep(60)

    async def test(following: Following, jobs: Jobs) -> None:
        job = await following.submit(_spec(), DEFAULT_TENANT, None)
        with pytest.raises(DeadlineExceeded, match="Stream again"):
            await follow(following, job, 0.01)
        await following.settled()
        assert await _state(jobs, job) is JobState.ACCEPTED
        call = asyncio.create_task(follow(following, job, 60))
        await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await following.settled()
        assert await _state(jobs, job) is JobState.CANCELLED

    _run(test)


def test_cancels_of_one_job_at_once_give_one_place_back() -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        kept = [await following.submit(_spec(), DEFAULT_TENANT, None) for _ in range(3)]
        await asyncio.gather(*(jobs.cancel(kept[0].job_id, None) for _ in range(8)))
        assert len(jobs.open_jobs) == 2

    _run(test)


@pytest.mark.parametrize("cancel", [True, False])
def test_a_client_that_goes_while_its_job_is_stored_leaves_no_half_job(cancel: bool) -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        call = asyncio.create_task(following.submit(_spec(cancel=cancel), DEFAULT_TENANT, "r-1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        stored = await following.leave(
            _spec(cancel=cancel), DEFAULT_TENANT, "r-1"
        )  # waits behind the first one's commit
        await asyncio.sleep(0)
        await following.settled()
        assert len((await jobs.list(DEFAULT_TENANT)).jobs) == 1
        assert await _state(jobs, stored) is (JobState.CANCELLED if cancel else JobState.ACCEPTED)

    _run(test)


def test_a_cancel_that_fails_is_said_and_retrieved(caplog: pytest.LogCaptureFixture) -> None:
    unretrieved: list[object] = []

    async def test(following: Following, jobs: Jobs) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
        job = await following.submit(_spec(), DEFAULT_TENANT, None)
        with pytest.raises(ConnectionResetError), following.held(job, TenantId("another")):
            raise ConnectionResetError  # another tenant's job does not exist for it, so the cancel fails
        await following.settled()
        assert await _state(jobs, job) is JobState.ACCEPTED

    with caplog.at_level(logging.WARNING, logger="skipjoin.door"):
        _run(test)
    assert "its cancel failed: There is no such job" in caplog.text
    assert not unretrieved


class _Waits(MemoryJobPool):
    """Stores when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def submit(self, jobs: Sequence[NewJob]) -> list[JobRecord | SkipjoinError]:
        self.begun.set()
        self.go_on.wait(20)
        return super().submit(jobs)


def _door(following: Following, jobs: Jobs) -> Door:
    settings = load_settings({"executor": "simulated", "spare_engine": False, "job_pool": "memory"})
    supervisor = Supervisor(
        {}, Engines(settings), jobs.table, jobs.claims, jobs.journal, Questions(), MonotonicClock(),
        patience=Patience(5.0, 5.0, 5.0), max_backoff_s=0.1,
    )  # fmt: skip
    sweep = Sweep(jobs.store, jobs.streams, jobs.open_jobs, jobs.claims, 60.0, 60.0)
    deadlines = Deadlines(jobs.open_jobs, jobs.table, jobs.journal, sweep)
    return Door(jobs, supervisor, [], Health("test"), [], [following], deadlines, 1.0, lambda facts: None, list)


async def _states_at_the_end(following: Following, jobs: Jobs) -> list[JobState]:
    """What the pool holds when a door that ends comes to close it."""
    close, ended = jobs.store.close, list[JobState]()

    async def noted() -> None:
        ended.extend(job.state for job in (await jobs.list(None)).jobs)
        await close()

    jobs.store.close = noted  # type: ignore[method-assign]
    await _door(following, jobs)._close([asyncio.create_task(jobs.journal.run())])
    jobs.store.close = _closed  # type: ignore[method-assign]
    return ended


def test_the_door_ends_after_the_cancels_that_it_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        job = await following.submit(_spec(), DEFAULT_TENANT, None)
        with pytest.raises(ConnectionResetError), following.held(job, DEFAULT_TENANT):
            raise ConnectionResetError
        assert await _states_at_the_end(following, jobs) == [JobState.CANCELLED]

    _run(test)
    assert "its cancel failed" not in caplog.text


@pytest.mark.parametrize("gone", [True, False])
def test_the_door_ends_after_the_stores_that_it_has_begun(gone: bool, caplog: pytest.LogCaptureFixture) -> None:
    pool = _Waits()

    async def test(following: Following, jobs: Jobs) -> None:
        call = asyncio.create_task(following.submit(_spec(), DEFAULT_TENANT, None))
        await asyncio.to_thread(pool.begun.wait, 20)
        if gone:
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        asyncio.get_running_loop().call_later(0.1, pool.go_on.set)
        # A client that went while it was served has its wish; one that is still there has its job,
        # and an answer.
        ended = await _states_at_the_end(following, jobs)
        assert ended == [JobState.CANCELLED if gone else JobState.ACCEPTED]
        assert not following._stores and not following._cancels
        if not gone:
            assert (await call).state is JobState.ACCEPTED

    _run(test, pool=lambda: pool)
    assert "failed" not in caplog.text


def test_a_call_that_the_doors_end_cuts_off_while_its_job_is_stored_keeps_the_job() -> None:
    pool = _Waits()

    async def test(following: Following, jobs: Jobs) -> None:
        call = asyncio.create_task(following.submit(_spec(), DEFAULT_TENANT, None))
        await asyncio.to_thread(pool.begun.wait, 20)
        jobs.streams.close()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        pool.go_on.set()
        await following.settled()
        assert [job.state for job in (await jobs.list(None)).jobs] == [JobState.ACCEPTED]

    _run(test, pool=lambda: pool)


async def _closed() -> None:
    """The door has closed the store."""


def test_before_an_engine_was_ready_every_door_says_the_same() -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        with pytest.raises(Unavailable, match="is starting"):
            jobs.engine()
        with pytest.raises(Unavailable, match="is starting"):
            await following.submit(_spec(), DEFAULT_TENANT, None)

    _run(test, ready=False)


class _Slow(ByteTokenizer):
    """Encodes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, text: str, most_tokens: int | None = None) -> Sequence[int]:
        self.begun.set()
        self.go_on.wait(20)
        return [1, 2, 3]


def test_a_client_that_goes_while_its_prompt_is_encoded_has_asked_for_nothing() -> None:
    slow = _Slow()

    async def test(following: Following, jobs: Jobs) -> None:
        call = asyncio.create_task(following.submit(JobSpec(text="x" * 10_000), DEFAULT_TENANT, "r-1"))
        await asyncio.to_thread(slow.begun.wait, 20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        slow.go_on.set()
        after = await following.submit(JobSpec(text="x" * 10_000), DEFAULT_TENANT, "r-2")  # it had come as far by now
        await following.settled()
        assert [job.job_id for job in (await jobs.list(None)).jobs] == [after.job_id]

    _run(test, tokenizer=slow)


def test_a_ruined_store_refuses_newcomers_and_repeats_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"

    async def test(following: Following, jobs: Jobs) -> None:
        await following.submit(_spec(), DEFAULT_TENANT, "r-1")
        await jobs.store.call(_all_in_the_file)
        with path.open("r+b") as file:
            file.write(b"\xa5" * path.stat().st_size)
        for _ in range(2):  # the first meets it, the second is refused before
            for request in (None, "r-1", "r-2"):
                with pytest.raises(StoreUnavailable, match="wrote into"):
                    await following.submit(_spec(), DEFAULT_TENANT, request)
        assert jobs.store.failing is not None

    _run(test, pool=lambda: SqliteJobPool(path))


def _all_in_the_file(pool: JobPool) -> None:
    assert isinstance(pool, SqliteJobPool)
    pool._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_job_that_is_left_is_stored_and_claimed_although_its_client_goes() -> None:
    async def test(following: Following, jobs: Jobs) -> None:
        kicks: list[None] = []
        jobs.claims.kick = lambda: kicks.append(None)  # type: ignore[method-assign]
        call = asyncio.create_task(following.leave(_spec(), DEFAULT_TENANT, "r-1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        again = await following.leave(_spec(), DEFAULT_TENANT, "r-1")
        await following.settled()
        assert await _state(jobs, again) is JobState.ACCEPTED
        assert len(kicks) == 2  # the second answer promises as much as the first
        assert len(jobs.open_jobs) == 1

    _run(test)


def test_a_store_that_fails_when_the_client_is_gone_gives_the_place_back_and_claims_when_it_is_well(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.sqlite"
    unretrieved: list[object] = []

    async def test(following: Following, jobs: Jobs) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
        path.rename(tmp_path / "away")
        call = asyncio.create_task(following.leave(_spec(), DEFAULT_TENANT, None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait(set(following._stores))
        assert jobs.store.failing is not None
        assert len(jobs.open_jobs) == 0
        kicked = asyncio.Event()
        jobs.claims.kick = kicked.set  # type: ignore[method-assign]
        (tmp_path / "away").rename(path)
        await asyncio.wait_for(kicked.wait(), 20)

    _run(test, pool=lambda: SqliteJobPool(path))
    gc.collect()
    assert not unretrieved


class _Surprising(MemoryJobPool):
    """A pool whose looks raise what no pool should, until they do not."""

    looks = 0

    def look(self) -> None:
        self.looks += 1
        if self.looks < 4:
            raise RuntimeError("a surprise")
        raise StoreUnavailable("It is gone.")


def test_the_looks_at_the_pool_outlive_a_surprise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "_LOOK_S", 0.01)

    async def test(following: Following, jobs: Jobs) -> None:
        noticed = asyncio.Event()
        jobs.store.on_change.append(lambda _: noticed.set())
        await asyncio.wait_for(noticed.wait(), 20)

    _run(test, pool=_Surprising)
    assert caplog.text.count("cannot be looked at") == 1
