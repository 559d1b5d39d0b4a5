"""The job pool behind threads, for an event loop.

Owns the only thread that writes to the pool (the port's rule), two that only read and wait for no
write, the group commit of submits (all that arrive while one commit runs go into the next), and
what is known of the pool's health: while it cannot be written nothing is asked of it but whether it
can be again. It does not know what is stored. Door, journal, claims and streams await it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, Self, TypeVar

from ...core.clock import Clock, MonotonicClock
from ...core.errors import SkipjoinError, StoreUnavailable, Unavailable
from ...core.jobpool import JobPool, JobReader
from ...core.pool import JobRecord, NewJob
from .trouble import Trouble

log = logging.getLogger("skipjoin.door")

_FIRST_PROBE_S = 0.1
_LAST_PROBE_S = 2.0
_LOOK_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Waiting:
    job: NewJob
    answer: asyncio.Future[JobRecord] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True)
class _Lane:
    """A reader and the thread that asks it."""

    thread: ThreadPoolExecutor
    reader: JobReader

    @classmethod
    async def beside(cls, pool: JobPool, writer: ThreadPoolExecutor, name: str) -> _Lane:
        """A thread of its own where the pool has a reader for it, else the writer's. Raises
        StoreUnavailable.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        reader = await asyncio.get_running_loop().run_in_executor(thread, pool.reader)
        if reader is not None:
            return cls(thread, reader)
        thread.shutdown(wait=False)
        return cls(writer, pool)

    async def close(self) -> None:
        """The reader on its thread, then the thread."""
        await asyncio.get_running_loop().run_in_executor(self.thread, self.reader.close)
        self.thread.shutdown(wait=True)


class Store:
    """A JobPool on a thread of its own, and its readers on theirs."""

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        pool: JobPool,
        lanes: tuple[_Lane, _Lane],
        max_group: int,
        clock: Clock | None = None,
    ) -> None:
        self._thread = thread
        self._pool = pool
        self._points, self._scans = lanes
        self._max_group = max_group
        self._submits: list[_Waiting] = []
        self._idle = asyncio.Event()  # no group of submits is on its way
        self._idle.set()
        self._prober: asyncio.Task[None] | None = None
        self._probe_s = _FIRST_PROBE_S
        self._trouble = Trouble(clock or MonotonicClock())
        self._was_surprised = False
        self._well = asyncio.Event()
        self._well.set()
        self.failing: StoreUnavailable | None = None
        """Why the pool cannot be written now."""
        self.on_change: list[Callable[[bool], None]] = []
        """Hear whether it can be written, when that changes."""
        self.durable = pool.durable
        self._looking = asyncio.create_task(self._look(), name="look at the job pool")

    @classmethod
    async def open(cls, make: Callable[[], JobPool], max_group: int = 512) -> Self:
        """Make the pool on its thread, and its readers on theirs. Raises what `make` raises."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="jobpool")
        try:
            pool = await asyncio.get_running_loop().run_in_executor(thread, make)
            lanes = (
                await _Lane.beside(pool, thread, "jobpool-points"),
                await _Lane.beside(pool, thread, "jobpool-scans"),
            )
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(thread, pool, lanes, max_group)

    # questions
    # --------------------------------------------------------------------------------------------------
    async def read(self, method: Callable[[JobReader], T]) -> T:
        """`method(reader)`, of one job: it waits for no write and for no list. Raises what it
        raises.
        """
        return await asyncio.get_running_loop().run_in_executor(self._points.thread, method, self._points.reader)

    async def scan(self, method: Callable[[JobReader], T]) -> T:
        """`method(reader)`, over many jobs: behind other lists, before no write and no question of
        one job.
        """
        return await asyncio.get_running_loop().run_in_executor(self._scans.thread, method, self._scans.reader)

    async def first_of(self, job: NewJob) -> JobRecord | None:
        """The job that an earlier submit stored under the same request_id; nothing is stored now.
        Raises Conflict, StoreUnavailable.
        """
        return None if job.request_id is None else await self.read(lambda reader: reader.first_of(job))

    # writes
    # -----------------------------------------------------------------------------------------------------
    async def call(self, method: Callable[Concatenate[JobPool, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`method(pool, ...)` on the pool's thread. A caller that is cancelled does not undo what
        the pool already does.

        Raises what it raises, and StoreUnavailable at once while the pool is known to take no
        write.
        """
        if self.failing is not None:
            raise StoreUnavailable(self.failing.message)

        def work() -> T:
            return method(self._pool, *args, **kwargs)

        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except StoreUnavailable as error:
            self._failed(error)
            raise
        if self.failing is None:
            self._probe_s = _FIRST_PROBE_S
        return answer

    async def well(self) -> None:
        """Wait until the pool can be written, as far as anyone knows."""
        await self._well.wait()

    async def _look(self) -> None:
        """A file that goes away while nothing is written is noticed too."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self.failing is None:
                try:
                    await self.call(lambda pool: pool.look())
                except StoreUnavailable:
                    continue  # said by then
                except Exception as error:  # noqa: BLE001 - whatever it was, it must go on
                    self._surprised(error)

    def _surprised(self, error: Exception) -> None:
        """Nothing that a look or a probe raises may end the looking; the first is said, with where
        it came from.
        """
        if not self._was_surprised:
            self._was_surprised = True
            log.error("the job pool cannot be looked at; the server goes on asking", exc_info=error)

    def _failed(self, error: StoreUnavailable) -> None:
        self._trouble.lasts(error.message)
        if self.failing is None:
            self._well.clear()
            self.failing = error
            self._prober = asyncio.create_task(self._probe(), name="probe of the job pool")
            for listener in self.on_change:
                listener(False)
        self.failing = error

    async def _probe(self) -> None:
        """Ask until a write goes through. The pause between two questions grows until a write of
        somebody's has gone through, too.
        """
        while True:
            await asyncio.sleep(self._probe_s)
            self._probe_s = min(_LAST_PROBE_S, 2 * self._probe_s)
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._pool.probe)
            except StoreUnavailable as error:
                self._failed(error)
                continue
            except Exception as error:  # noqa: BLE001 - whatever it was, it must go on
                self._surprised(error)
                continue
            self.failing = None
            self._trouble.ended()
            self._well.set()
            for listener in self.on_change:
                listener(True)
            return

    async def submit(self, job: NewJob) -> JobRecord:
        """Store one job, together with others that wait. Raises Conflict, StoreUnavailable."""
        waiting = _Waiting(job)
        self._submits.append(waiting)
        if self._idle.is_set():
            self._write_submits()
        return await waiting.answer

    def _write_submits(self) -> None:
        """Send a group to the pool's thread. A call back instead of a task: a submit that is alone
        waits for nothing but the pool.
        """
        group, self._submits = self._submits[: self._max_group], self._submits[self._max_group :]
        self._idle.clear()
        loop = asyncio.get_running_loop()
        if self.failing is not None:
            loop.call_soon(self._wrote, group, StoreUnavailable(self.failing.message), False)
            return

        def work() -> None:
            answers: list[JobRecord | Exception] | Exception
            try:
                answers = self._pool.submit([waiting.job for waiting in group])
            except Exception as error:  # noqa: BLE001 - whatever it was, the callers must hear of it
                answers = error
            loop.call_soon_threadsafe(self._wrote, group, answers, True)

        self._thread.submit(work)

    def _wrote(self, group: list[_Waiting], answers: list[JobRecord | Exception] | Exception, asked: bool) -> None:
        """Tell those who wait, and send the next group; `asked`: the pool was."""
        if isinstance(answers, Exception):
            if asked and isinstance(answers, StoreUnavailable):
                self._failed(answers)
            known = isinstance(answers, SkipjoinError)
            said = answers if known else Unavailable("The job pool failed; nothing was stored.")
            answers = [said] * len(group)
        elif self.failing is None:
            self._probe_s = _FIRST_PROBE_S
        for waiting, answer in zip(group, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        if self._submits:
            self._write_submits()
        else:
            self._idle.set()

    async def close(self) -> None:
        """Close the pool after everything that was asked of it."""
        await self._idle.wait()
        ending = [task for task in (self._looking, self._prober) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for lane in (self._points, self._scans):
            if lane.thread is not self._thread:
                await lane.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._pool.close)
        self._thread.shutdown(wait=True)
