"""The job pool behind one thread, for an event loop.

Owns the only thread that calls the pool (the port's rule) and the group commit of submits: all that arrive while one commit runs go into the
next. It does not know what is stored. Door, journal, claims and streams await it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, Self, TypeVar

from ..core.errors import NotFound, SkipjoinError, Unavailable
from ..core.pool import JobRecord, NewJob
from ..core.ports import JobPool

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Waiting:
    job: NewJob
    answer: asyncio.Future[JobRecord] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Store:
    """A JobPool on a thread of its own."""

    def __init__(self, thread: ThreadPoolExecutor, pool: JobPool, max_group: int) -> None:
        self._thread = thread
        self._pool = pool
        self._max_group = max_group
        self._submits: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self.durable = pool.durable

    @classmethod
    async def open(cls, make: Callable[[], JobPool], max_group: int = 512) -> Self:
        """Make the pool on its thread. Raises what `make` raises."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="jobpool")
        try:
            pool = await asyncio.get_running_loop().run_in_executor(thread, make)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(thread, pool, max_group)

    async def call(self, method: Callable[Concatenate[JobPool, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`method(pool, ...)` on the pool's thread. A caller that is cancelled does not undo what the pool already does."""

        def work() -> T:
            return method(self._pool, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def submit(self, job: NewJob) -> JobRecord:
        """Store one job, together with others that wait. Raises Conflict, StoreUnavailable."""
        waiting = _Waiting(job)
        self._submits.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_submits())
        return await waiting.answer

    async def first_of(self, job: NewJob) -> JobRecord | None:
        """The job that an earlier submit stored under the same request_id; nothing is stored now. Raises Conflict, StoreUnavailable."""
        if job.request_id is None:
            return None
        (answer,) = await self.call(lambda pool: pool.submit([job], newcomers=False))
        if isinstance(answer, NotFound):
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _write_submits(self) -> None:
        while self._submits:
            group, self._submits = self._submits[: self._max_group], self._submits[self._max_group :]
            try:
                answers = await self.call(lambda pool, jobs: pool.submit(jobs), [waiting.job for waiting in group])
            except Exception as error:  # noqa: BLE001 - whatever it was, the callers must hear of it
                said = (
                    error
                    if isinstance(error, SkipjoinError)
                    else Unavailable("The job pool failed; nothing was stored.")
                )
                answers = [said] * len(group)
            for waiting, answer in zip(group, answers, strict=True):
                if waiting.answer.done():
                    continue
                if isinstance(answer, Exception):
                    waiting.answer.set_exception(answer)
                else:
                    waiting.answer.set_result(answer)

    async def close(self) -> None:
        """Close the pool after everything that was asked of it."""
        if self._writer is not None:
            await self._writer
        await self.call(lambda pool: pool.close())
        self._thread.shutdown(wait=True)
