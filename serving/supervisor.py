"""The engine process, kept alive.

Owns spawning, incarnations, back-off, the stall watch and what is done when an engine dies: its socket is read to the end, that is committed, crash
marks are counted, and a new engine is told of every live job. It does not know what jobs are; claims and journal do. The door runs it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..core.clock import Clock
from ..core.effects import AccountGiven, PromptsNeeded, SnapshotGiven, TurnEffects
from ..core.errors import ExecutorLost, InternalError, InvariantViolation, SkipjoinError
from ..core.events import Event
from ..proto.frames import Effects, Events, Hello, Launched, Ready, StartFailed
from .claims import Claims
from .facts import EngineFacts, failure_of
from .journal import Journal
from .link import DoorEnd, LinkClosed, link_pair
from .live import LiveTable
from .questions import Questions

log = logging.getLogger("skipjoin.door")

ENGINE_MODULE = f"{__package__}.engine_process"
_FIRST_BACKOFF_S = 0.1
_HEALTHY_NS = 5_000_000_000


class Supervisor:
    """One engine at a time."""

    def __init__(
        self,
        settings: dict[str, Any],
        table: LiveTable,
        claims: Claims,
        journal: Journal,
        questions: Questions,
        clock: Clock,
        *,
        stall_s: float,
        max_backoff_s: float,
    ) -> None:
        self._settings = settings
        self._table = table
        self._claims = claims
        self._journal = journal
        self._questions = questions
        self._clock = clock
        self._stall_ns = int(stall_s * 1e9)
        self._max_backoff_s = max_backoff_s
        self._link: DoorEnd | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._in_flight: frozenset[int] = frozenset()
        self._heard_ns = 0
        self._stopping = False
        self.incarnation = 0
        self.facts: EngineFacts | None = None
        self.ready = False
        self.failure: SkipjoinError | None = None
        self.on_change: list[Callable[[bool], None]] = []

    # life -------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Keep an engine until `stop`. Raises the engine's own error when the very first one cannot start."""
        backoff_s = 0.0
        while not self._stopping:
            self.incarnation += 1
            ready_ns = await self._one_life()
            if self._stopping:
                return
            if self.facts is None:
                raise self.failure or ExecutorLost("The engine process died before it was ready.")
            lived = ready_ns is not None and self._clock.now_ns() - ready_ns > _HEALTHY_NS
            backoff_s = 0.0 if lived else min(self._max_backoff_s, max(_FIRST_BACKOFF_S, 2 * backoff_s))
            log.warning("engine %d is gone; the next one starts in %.1f s", self.incarnation, backoff_s)
            await asyncio.sleep(backoff_s)

    async def _one_life(self) -> int | None:
        """Spawn, listen to the end, clean up; answers when it was ready."""
        ready_ns: int | None = None
        self._in_flight = frozenset()
        link = self._link = await self._spawn()
        watch = asyncio.create_task(self._watch_for_stall())
        try:
            await link.send(Hello(self.incarnation, json.dumps(self._settings)))
            while (frame := await link.receive()) is not None:
                self._heard_ns = self._clock.now_ns()
                match frame:
                    case Effects():
                        await self._take(frame)
                    case Launched():
                        self._in_flight = frame.handles
                    case Ready():
                        ready_ns = self._heard_ns
                        await self._started(EngineFacts.from_frame(frame))
                    case StartFailed():
                        self.failure = failure_of(frame)
                        if self.facts is not None:  # the first engine's failure ends the server, which says it
                            log.error("engine %d: %s", self.incarnation, self.failure)
        except LinkClosed:
            pass
        except InvariantViolation as error:
            log.error("engine %d sent what cannot be: %s", self.incarnation, error)
        finally:
            watch.cancel()
            await self._ended(link)
        return ready_ns

    async def _spawn(self) -> DoorEnd:
        ours, theirs = link_pair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                # -P: a module of the folder that the server was started in must not pass for one of Python's.
                *(sys.executable, "-P", "-m", ENGINE_MODULE, str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
            )
        except OSError as error:
            ours.close()
            raise InternalError(f"The engine process cannot be started: {error.strerror}.") from None
        finally:
            theirs.close()
        self._heard_ns = self._clock.now_ns()
        return await DoorEnd.open(ours)

    async def _started(self, facts: EngineFacts) -> None:
        self.facts, self.ready = facts, True
        self._questions.engine_started(self.send)
        await self._claims.engine_started(facts, self.send)
        for listener in self.on_change:
            listener(True)

    async def _take(self, frame: Effects) -> None:
        if frame.incarnation != self.incarnation:
            raise InvariantViolation(
                f"A batch of engine {frame.incarnation} came over the link of engine {self.incarnation}."
            )
        self._journal.feed(frame.effects)
        await self._answer(frame.effects)
        await self._journal.room()

    async def _answer(self, turn: TurnEffects) -> None:
        """What is for the door itself."""
        for effect in turn.effects:
            if isinstance(effect, PromptsNeeded):
                await self._claims.prompts_needed(effect.handles)
            elif isinstance(effect, (AccountGiven, SnapshotGiven)):
                self._questions.answered(effect)

    async def _ended(self, link: DoorEnd) -> None:
        """The link has been read to its end: no process stays, what came is committed, and the dead one's jobs are free again."""
        self.ready, self._link = False, None
        for listener in self.on_change:
            listener(False)
        link.close()
        process = self._process
        if process is not None:
            if not self._stopping and process.returncode is None:
                process.kill()
            await process.wait()
        self._questions.engine_ended()
        await self._journal.flush()
        if not self._stopping:
            await self._claims.count_crash(self._in_flight)
        self._claims.engine_ended()

    # talk -------------------------------------------------------------------------------------------------------
    async def send(self, events: Sequence[Event]) -> None:
        """Events to the engine, if there is one; the next one is told everything anew."""
        link = self._link
        if link is None:
            return
        try:
            await link.send(Events(self.incarnation, tuple(events)))
        except LinkClosed:
            return

    def choose_policy(self, policy: str, tail: float | None) -> None:
        """Engines that start from now on have this policy, with its dial where it has one."""
        chosen = {"policy": policy} if tail is None else {"policy": policy, "tail": tail}
        self._settings = {**self._settings, **chosen}

    async def stop(self, patience_s: float = 5.0) -> None:
        """End the engine for good: it reads the end of its link and exits; after `patience_s` it is killed.

        One that is still loading hears nothing and has nothing to say: it is killed at once.
        """
        self._stopping = True
        patience_s = patience_s if self.ready else 0.0
        if self._link is not None:
            self._link.close()
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            async with asyncio.timeout(patience_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _watch_for_stall(self) -> None:
        """Kill an engine that holds jobs and says nothing; a rank may hang for ever in a collective."""
        while True:
            await asyncio.sleep(self._stall_ns / 4e9)
            silent_ns = self._clock.now_ns() - self._heard_ns
            held = bool(self._table.by_handle) and self.ready
            if held and not self._journal.full and silent_ns > self._stall_ns and self._process is not None:
                log.error("engine %d has reported no turn for %.0f s", self.incarnation, silent_ns / 1e9)
                self._process.send_signal(signal.SIGKILL)
                return
