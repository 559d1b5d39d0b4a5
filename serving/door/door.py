"""The door process: what it starts, what it waits for, how it ends.

Owns the life of one server: listeners, background tasks, health, the drain. It decides
nothing about a job. `serving/command.py` runs it with the parts that wiring made.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from grpc.aio import Server

from ...core.errors import InternalError, SkipjoinError
from ..facts import EngineFacts
from ..grpc.health import Health
from .deadlines import Deadlines
from .following import Following
from .jobs import Jobs
from .orphans import LOOK_S as ORPHANS_LOOK_S
from .orphans import Orphans
from .supervisor import Supervisor

log = logging.getLogger("skipjoin.door")

PUBLIC_SERVICE = "skipjoin.v1.JobPoolService"
_STEP_S = 0.05
_CANCELS_S = 1.0
_SWITCH_S = 0.001
"""So long may a thread keep the interpreter from the event loop, which takes it many times for one
answer.
"""


class SideDoor(Protocol):
    """Another listener, such as HTTP."""

    async def start(self) -> None: ...
    async def stop(self, grace_s: float) -> None: ...


@dataclass(slots=True, eq=False)
class Door:
    """All parts of a running server. `run` is its life."""

    jobs: Jobs
    supervisor: Supervisor
    servers: list[Server]
    health: Health
    sides: list[SideDoor]
    followings: list[Following]
    deadlines: Deadlines
    drain_s: float
    on_ready: Callable[[EngineFacts], None]
    addresses: Callable[[], list[str]]
    _stop_at: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _limit_s: float | None = None

    async def run(self, *, check: bool = False) -> bool:
        """Serve until a signal or `begin_drain`; with `check`, only until the engine was ready.
        Answers whether it ever was.

        Raises what ended a background task: the first engine's own failure, a lost job pool, a
        broken log.
        """
        sys.setswitchinterval(_SWITCH_S)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        self.supervisor.on_change.append(self._engine_changed)
        self.jobs.store.on_change.append(self._well)
        self.supervisor.on_health.append(self._well)
        self.health.say(serving=False)
        tasks = [
            asyncio.create_task(self.jobs.journal.run(), name="journal"),
            asyncio.create_task(self.jobs.claims.run(), name="claims"),
            asyncio.create_task(self.supervisor.run(), name="supervisor"),
            asyncio.create_task(self.deadlines.sweep.run(), name="sweep"),
            asyncio.create_task(self.deadlines.run(), name="deadlines"),
            asyncio.create_task(self._reap_orphans(), name="reaping"),
        ]
        chat = asyncio.create_task(self._try_chat(), name="chat")
        try:
            if not check:
                for server in self.servers:
                    await server.start()
                for side in self.sides:
                    await side.start()
                log.info("listening: %s", ", ".join(self.addresses()))
            await self._first_of(tasks, self._ready, self._stop_at)
            facts = self.supervisor.facts
            if facts is not None and not self.draining:
                self.on_ready(facts)
            if not check:
                await self._first_of(tasks, self._stop_at)
                await self._drain(tasks)
            return facts is not None
        finally:
            chat.cancel()
            await self._close(tasks)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _try_chat(self) -> None:
        """Have the model's chat template made ready, and say where there is no chat: text and token
        ids are taken all the same.
        """
        try:
            await self.jobs.intake.check_chat()
        except SkipjoinError as why:
            log.warning("conversations are refused: %s", why)
        except Exception:
            log.exception("whether conversations can be taken is not known, which is a fault of the server's own")

    # the end
    # ----------------------------------------------------------------------------------------------------
    @property
    def draining(self) -> bool:
        """Whether newcomers are refused because the server is going."""
        return self._stop_at.is_set()

    def begin_drain(self, limit_s: float | None = None) -> None:
        """Refuse newcomers, let running jobs finish for `limit_s` (None: the setting), then end."""
        self._limit_s = self.drain_s if limit_s is None else limit_s
        self.jobs.claims.closed = True
        self._stop_at.set()

    def _signalled(self) -> None:
        """The first signal drains, the second does not wait."""
        if self.draining:
            self._hurry.set()
        self.begin_drain()

    async def _drain(self, tasks: list[asyncio.Task[None]]) -> None:
        log.info("draining: newcomers are refused, %d running jobs have %g s", self._running_jobs(), self._limit_s)
        self.health.say(serving=False)
        await self.jobs.claims.park_unstarted()
        try:
            async with asyncio.timeout(self._limit_s):
                # Without a store no job comes nearer to its end: they are parked as they are.
                while not self._hurry.is_set() and self._running_jobs() and self.jobs.store.failing is None:
                    self._check(tasks)
                    await asyncio.sleep(_STEP_S)
        except TimeoutError:
            pass
        left = self._running_jobs()
        if left:
            log.warning("%d running jobs are parked in the job pool", left)
        log.info("drained")

    def _running_jobs(self) -> int:
        return sum(1 for claimed in self.jobs.table.jobs.values() if not claimed.parked)

    async def _close(self, tasks: list[asyncio.Task[None]]) -> None:
        """Engine first, then what it said is committed, then streams, listeners and the pool."""
        self.jobs.claims.park_all()
        await self.supervisor.stop()
        journal = tasks[0]
        if not journal.done() and self.jobs.store.failing is None:
            try:
                async with asyncio.timeout(5.0):
                    await self.jobs.journal.flush()
            except TimeoutError:
                log.error("the last tokens could not be written; they will be computed again")
        self.jobs.streams.close()
        self.jobs.intake.close()
        await self._cancels_stored()
        for side in self.sides:
            await side.stop(1.0)
        for server in self.servers:
            await server.stop(1.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.jobs.store.close()

    async def _cancels_stored(self) -> None:
        """Jobs that are being stored, and cancels of those whose client went, are in the pool or
        had their time; streams are closed by now.
        """
        try:
            async with asyncio.timeout(_CANCELS_S):
                for following in self.followings:
                    await following.settled()
        except TimeoutError:
            log.warning(
                "some jobs are not stored, or not cancelled although their client went: the job pool takes too long"
            )

    # what happens meanwhile
    # -------------------------------------------------------------------------------------
    @property
    def serving(self) -> bool:
        """What health says: there is an engine, newcomers are taken and can be stored."""
        return self.supervisor.answering and not self.draining and self.jobs.store.failing is None

    def _engine_changed(self, ready: bool) -> None:
        if ready:
            self._ready.set()
        self.health.say(serving=self.serving)

    def _well(self, well: bool) -> None:
        """The store, or the engine's health, is as it says now."""
        self.health.say(serving=self.serving)

    async def _reap_orphans(self) -> None:
        orphans = Orphans()
        while True:
            await asyncio.sleep(ORPHANS_LOOK_S)
            orphans.reap()

    async def _first_of(self, tasks: list[asyncio.Task[None]], *events: asyncio.Event) -> None:
        """Return when an event is set; raise when a task has ended, which none should."""
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait([*tasks, *waits], return_when=asyncio.FIRST_COMPLETED)
            self._check(tasks)
        finally:
            for wait in waits:
                wait.cancel()

    def _check(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done():
                problem = task.exception()
                if isinstance(problem, SkipjoinError):
                    raise problem
                log.error("the server's %s ended, which is a fault of its own", task.get_name(), exc_info=problem)
                raise InternalError(f"The server's {task.get_name()} ended.") from problem
