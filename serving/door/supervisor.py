"""The engine process, kept alive.

Owns incarnations, back-off, the watch over an engine that starts or computes, and what is done when one dies: its
socket is read to the end, that is committed, crash marks are counted, and a new engine is told of every claimed job. It
does not know what jobs are; claims and journal do, and `engines` knows where processes come from. The door runs it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ...core.clock import Clock
from ...core.effects import AccountGiven, PromptsNeeded, SnapshotGiven, TurnEffects
from ...core.errors import ExecutorLost, InvariantViolation, SkipjoinError
from ...core.events import Event
from ...proto.admin_pb2 import ExecutorRank
from ...proto.frames import Effects, Events, Executors, FromEngine, Hello, Launched, Ready, StartFailed, Starting
from ..facts import EngineFacts, failure_of
from ..ipc import DoorEnd, IpcClosed
from .child import Child
from .claimed import ClaimedJobs
from .claims import Claims
from .engines import Engines
from .journal import Journal
from .patience import HANGS_AFTER_S, Patience
from .questions import Questions
from .silence import Silence

log = logging.getLogger("skipjoin.door")

_LOOK_S = 0.25
_FIRST_BACKOFF_S = 0.1
_HEALTHY_NS = 5_000_000_000
_DIES_WITHIN_S = 10.0
_ENDS_ITSELF_S = 1.0
"""An engine that closes its end of the socket is about to exit, and its code says why."""
_FRAMES_AHEAD = 8
"""Frames that are read before the ones before them are dealt with: few, for a full token log pauses the engine by
their not being read.
"""


class Supervisor:
    """One engine at a time."""

    def __init__(
        self,
        settings: dict[str, Any],
        engines: Engines,
        table: ClaimedJobs,
        claims: Claims,
        journal: Journal,
        questions: Questions,
        clock: Clock,
        *,
        patience: Patience,
        max_backoff_s: float,
    ) -> None:
        self._settings = settings
        self._engines = engines
        self._table = table
        self._claims = claims
        self._journal = journal
        self._questions = questions
        self._clock = clock
        self.patience = patience
        self.executors: tuple[ExecutorRank, ...] = ()
        self._max_backoff_s = max_backoff_s
        self._ipc: DoorEnd | None = None
        self._child: Child | None = None
        self._in_flight: frozenset[int] = frozenset()
        self._silence = Silence(int(_LOOK_S * 1e9), clock.now_ns())
        self._listening = False
        self._hangs = False
        self._worked = False
        self._stopping = False
        self._left_ns = clock.now_ns()
        self._step = "starting"
        self.incarnation = 0
        self.stalls = {"start": 0, "turn": 0}
        self.failed_starts = 0
        self.facts: EngineFacts | None = None
        self.ready = False
        self.failure: SkipjoinError | None = None
        self.on_change: list[Callable[[bool], None]] = []
        self.on_health: list[Callable[[bool], None]] = []

    @property
    def answering(self) -> bool:
        """Whether there is an engine that serves and does not hang."""
        return self.ready and not self._hangs

    @property
    def spare_ready(self) -> bool:
        """Whether an engine stands by."""
        return self._engines.spare_ready

    # life -------------------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Keep an engine until `stop`. Raises the engine's own error, or what became of it, when the very first one
        cannot start.
        """
        backoff_s = 0.0
        while not self._stopping:
            self.incarnation += 1
            ready_ns = await self._one_life()
            if self._stopping:
                return
            ended = "could not be started" if self._child is None else self._child.said_of_end
            if self.facts is None:
                said = f"The engine process {ended} while it was {self._step}, before it was ready."
                raise self.failure or ExecutorLost(said)
            # One that made tokens was worth its start; one that dies over the same job again and again made none.
            lived = ready_ns is not None and self._clock.now_ns() - ready_ns > _HEALTHY_NS
            backoff_s = 0.0 if lived or self._worked else min(self._max_backoff_s, max(_FIRST_BACKOFF_S, 2 * backoff_s))
            log.warning("engine %d %s; the next one starts in %.1f s", self.incarnation, ended, backoff_s)
            await asyncio.sleep(backoff_s)

    async def _one_life(self) -> int | None:
        """Start one, listen to the end, clean up; answers when it was ready."""
        ready_ns: int | None = None
        self._in_flight, self._child, self._step, self.failure = frozenset(), None, "starting", None
        self._worked, self.executors = False, ()
        frames: asyncio.Queue[FromEngine | InvariantViolation | None] = asyncio.Queue(_FRAMES_AHEAD)
        tasks = [asyncio.create_task(self._watch())]
        try:
            self._child, self._ipc = await self._engines.next(self._stepped)
            if self._stopping:  # `stop` came before there was a process that it could end
                self._child.kill()
                return None
            tasks.append(asyncio.create_task(self._read(self._ipc, frames)))
            await self._ipc.send(Hello(self.incarnation, json.dumps(self._settings)))
            while (frame := await frames.get()) is not None:
                if isinstance(frame, InvariantViolation):
                    raise frame
                if isinstance(frame, Ready):
                    ready_ns = self._clock.now_ns()
                await self._heard(frame)
        except IpcClosed:
            pass
        except OSError as error:
            self.failed_starts += 1
            if self.failure is None and not self._stopping:
                self.failure = ExecutorLost(f"The engine process cannot be started: {error.strerror}.")
                log.error("engine %d cannot be started: %s", self.incarnation, error.strerror)
        except InvariantViolation as error:
            log.error("engine %d sent what cannot be: %s", self.incarnation, error)
        finally:
            for task in tasks:
                task.cancel()
            await self._ended()
        return ready_ns

    async def _read(self, ipc: DoorEnd, frames: asyncio.Queue[FromEngine | InvariantViolation | None]) -> None:
        """Read ahead of what is done about it: an engine is heard, or is silent, also while the door waits for it to
        take something.
        """
        frame: FromEngine | InvariantViolation | None = None
        try:
            while True:
                self._listening = True
                frame = await ipc.receive()
                self._listening = False
                self._silence.heard()
                if frame is None:
                    break
                await frames.put(frame)
        except Exception as error:  # whatever it is, it ends this engine's life, or the supervisor would wait for ever
            if not isinstance(error, SkipjoinError):
                log.exception(
                    "engine %d: a frame cannot be read, which is a fault of the server's own", self.incarnation
                )
            frame = InvariantViolation(f"a frame that cannot be read ({error})")
        finally:
            self._listening = False
        await frames.put(frame)

    async def _heard(self, frame: FromEngine) -> None:
        """Raises InvariantViolation for what is another engine's."""
        if frame.incarnation != self.incarnation:
            raise InvariantViolation(
                f"A frame of engine {frame.incarnation} came over engine {self.incarnation}'s socket."
            )
        match frame:
            case Effects():
                await self._take(frame.effects)
            case Launched():
                self._in_flight = frame.handles
            case Executors():
                self.executors = frame.ranks
            case Starting():
                self._come_to(frame.step)
            case Ready():
                await self._started(EngineFacts.from_frame(frame))
            case StartFailed():
                self.failure = failure_of(frame)
                if self.facts is not None:  # the first engine's failure ends the server, which says it
                    log.error("engine %d: %s", self.incarnation, self.failure)

    def _stepped(self, step: str) -> None:
        """The spare that the engine will be forked from goes on importing."""
        self._come_to(step)
        self._silence.heard()

    def _come_to(self, step: str) -> None:
        if step != self._step:
            self._step = step
            log.debug("engine %d: %s", self.incarnation, step)

    async def _started(self, facts: EngineFacts) -> None:
        self.facts, self.ready, self.failure = facts, True, None
        took_s = (self._clock.now_ns() - self._left_ns) / 1e9
        if self.incarnation == 1:
            log.info("engine 1 is ready after %.1f s", took_s)
        else:
            log.info("engine %d took over after %.1f s; %d jobs go on", self.incarnation, took_s, len(self._table.jobs))
        self._questions.engine_started(self.send)
        await self._claims.engine_started(facts, self.send)
        for listener in self.on_change:
            listener(True)

    async def _take(self, turn: TurnEffects) -> None:
        self._journal.feed(turn)
        self.patience.steps.took(turn.stats)
        self._worked = self._worked or (turn.tokens is not None and len(turn.tokens.tokens) > 0)
        await self._answer(turn)
        await self._journal.room()

    async def _answer(self, turn: TurnEffects) -> None:
        """What is for the door itself."""
        for effect in turn.effects:
            if isinstance(effect, PromptsNeeded):
                await self._claims.prompts_needed(effect.handles)
            elif isinstance(effect, (AccountGiven, SnapshotGiven)):
                self._questions.answered(effect)

    async def _ended(self) -> None:
        """The socket has been read to its end: no process stays, what came is committed, and the dead one's jobs are
        free again.
        """
        was_ready = self.ready
        if was_ready:
            self._left_ns = self._clock.now_ns()
        self.ready, ipc, self._ipc = False, self._ipc, None
        self._set_hangs(False)
        for listener in self.on_change:
            listener(False)
        if ipc is not None:
            ipc.close()
        if self._child is not None:
            if self._stopping:
                if not was_ready:  # it would load to the end; `stop` sees to one that hears its socket end
                    self._child.kill()
            elif not await self._child.wait(_ENDS_ITSELF_S):
                self._child.kill()
            if not await self._child.wait(_DIES_WITHIN_S):
                log.error("engine %d was killed and does not end; its memory stays taken", self.incarnation)
        self._questions.engine_ended()
        await self._journal.flush()
        if not self._stopping:
            await self._claims.count_crash(self._in_flight)
        self._claims.engine_ended()

    # talk -------------------------------------------------------------------------------------------------------
    async def send(self, events: Sequence[Event]) -> None:
        """Events to the engine, if there is one; the next one is told everything anew."""
        ipc = self._ipc
        if ipc is None:
            return
        try:
            await ipc.send(Events(self.incarnation, tuple(events)))
        except IpcClosed:
            return

    def choose_policy(self, policy: str, tail: float | None) -> None:
        """Engines that start from now on have this policy, with its dial where it has one."""
        chosen = {"policy": policy} if tail is None else {"policy": policy, "tail": tail}
        self._settings = {**self._settings, **chosen}
        log.info("the policy is %s from now on%s", policy, "" if tail is None else f", with the dial at {tail:g}")

    async def stop(self, patience_s: float = 5.0) -> None:
        """End the engine for good: it reads the end of its socket and exits; after `patience_s` it is killed.

        One that is still loading hears nothing and has nothing to say: it is killed at once.
        """
        self._stopping = True
        patience_s = patience_s if self.answering else 0.0
        await self._engines.close()
        if self._ipc is not None:
            self._ipc.close()
        child = self._child
        if child is None or await child.wait(patience_s):
            return
        child.kill()
        await child.wait(_DIES_WITHIN_S)

    # watch ------------------------------------------------------------------------------------------------------
    async def _watch(self) -> None:
        """Kill an engine that starts and makes no progress, or says nothing; a rank may hang for ever in a
        collective.
        """
        silence = self._silence = Silence(int(_LOOK_S * 1e9), self._clock.now_ns())
        while True:
            await asyncio.sleep(_LOOK_S)
            heard = self._listening and not self._journal.full
            silent_s = silence.look(self._clock.now_ns(), owed=heard or not self.ready) / 1e9
            self._set_hangs(self.ready and silent_s >= HANGS_AFTER_S)
            working = bool(self._table.by_handle)
            patience_s = self.patience.start_stall_s
            if self.ready:
                patience_s = self.patience.with_one_that_serves(working=working, ranks=len(self.executors))
            if silent_s >= patience_s:
                self._kill_silent(silent_s)
                return

    def _kill_silent(self, silent_s: float) -> None:
        self.stalls["turn" if self.ready else "start"] += 1
        if self.ready:
            log.error("engine %d has said nothing for %.0f s and is killed", self.incarnation, silent_s)
        else:
            said = f"The engine made no progress for {silent_s:.0f} s while it was {self._step}."
            self.failure = ExecutorLost(
                f"{said} On a machine that is that slow, raise start_stall_s.",
                limit=f"{self.patience.start_stall_s:g} s",
            )
            log.error("engine %d is killed: %s", self.incarnation, said)
        if self._child is not None:
            self._child.kill()
        else:
            self._engines.give_up()

    def _set_hangs(self, hangs: bool) -> None:
        if hangs is self._hangs:
            return
        self._hangs = hangs
        if self.ready:
            if hangs:
                log.warning("engine %d says nothing: not serving", self.incarnation)
            else:
                log.info("engine %d goes on", self.incarnation)
        for listener in self.on_health:
            listener(self.answering)
