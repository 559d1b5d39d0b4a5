"""Where the next engine process comes from.

Owns the choice between a copy of the spare and a process started from nothing, the spare's own
restarts, and the descriptors that both need. It does not listen to engines and counts no back-off;
the supervisor asks for one engine after the other.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable

from .. import worker
from ..ipc import DoorEnd, ipc_pair
from ..settings import ServeSettings
from .child import Child
from .reserve import Reserve
from .spare import Spare, spare_for

log = logging.getLogger("skipjoin.door")

ENGINE_MODULE = f"{worker.__name__}.engine_process"
_TRIES = 2
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 60.0


class Engines:
    """Starts engines. `spare`: one that was begun before."""

    def __init__(self, settings: ServeSettings, spare: Spare | None = None) -> None:
        self._settings = settings
        self._begun = spare
        self._spare: Spare | None = None
        self._reserve = Reserve()
        self._delay_s = _FIRST_DELAY_S
        self._again: asyncio.TimerHandle | None = None
        self._given_up = False
        self._closed = False

    @property
    def spare_ready(self) -> bool:
        """Whether the next engine can be forked at once."""
        return self._spare is not None and self._spare.ready and self._spare.usable

    async def next(self, heard: Callable[[str], None]) -> tuple[Child, DoorEnd]:
        """A new engine process that waits for its Hello, and the socket to it. `heard` is called with
        the step of a spare that still imports.

        Raises OSError when no process can be had.
        """
        self._given_up = False
        for _ in range(_TRIES):
            spare = self._spare_now()
            if spare is None:
                break
            heard(spare.step)
            try:
                return await self._copy(spare, heard)
            except OSError as error:
                if self._given_up:
                    raise OSError(0, "it took too long") from None
                if self._closed or error.errno:
                    raise
                log.warning("no engine can be forked: %s", error.strerror)
                self._let_go(spare)
        started = await self._spawn()
        if self._settings.spare_engine and self._spare is None:
            self._begin_later()
        return started

    def give_up(self) -> None:
        """The engine that `next` is waiting for takes too long: the spare is killed, and `next`
        raises.
        """
        self._given_up = True
        if self._spare is not None:
            self._let_go(self._spare)

    async def close(self) -> None:
        """End the spare; no further engine can be had."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        spare, self._spare = self._spare or self._begun, None
        self._reserve.close()
        if spare is not None:
            await spare.close()

    def _spare_now(self) -> Spare | None:
        """The spare, begun if there is none. Raises OSError."""
        if self._closed:
            raise OSError(0, "the server is going down")
        if self._spare is None or not self._spare.usable:
            with self._reserve.lent():
                spare, self._begun = self._begun or spare_for(self._settings), None
                if spare is not None:
                    self._adopt(spare)
        return self._spare

    def _adopt(self, spare: Spare) -> None:
        """From now on it is the spare. Raises OSError."""
        try:
            spare.watch(lambda: self._ended(spare))
        except OSError:
            spare.kill()
            raise
        self._spare = spare

    async def _copy(self, spare: Spare, heard: Callable[[str], None]) -> tuple[Child, DoorEnd]:
        with self._reserve.lent():
            ours, theirs = ipc_pair()
        try:
            child = Child(await spare.copy(theirs.fileno(), heard))
            child.watch()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return child, await DoorEnd.open(ours)

    async def _spawn(self) -> tuple[Child, DoorEnd]:
        """From nothing."""
        with self._reserve.lent():
            ours, theirs = ipc_pair()
            try:
                # -P: a module of the folder that the server was started in must not pass for one of
                # Python's.
                command = (sys.executable, "-P", "-m", ENGINE_MODULE, str(theirs.fileno()))
                child = Child.spawn(command, fds=[theirs.fileno()])
                child.watch()
            except OSError:
                ours.close()
                raise
            finally:
                theirs.close()
        return child, await DoorEnd.open(ours)

    # the spare's own life
    # ---------------------------------------------------------------------------------------
    def _let_go(self, spare: Spare) -> None:
        if self._spare is spare:
            self._spare = None
        spare.kill()

    def _ended(self, spare: Spare) -> None:
        """It died beside a living engine: another is started after a while, so that one that always
        dies takes little from the engine.
        """
        if self._spare is not spare:
            return
        self._spare = None
        if self._closed:
            return
        log.warning("the spare engine %s; another one starts in %.0f s", spare.said_of_end, self._delay_s)
        self._begin_later()

    def _begin_later(self) -> None:
        if self._closed:
            return
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(self._delay_s, self._begin_again)
        self._delay_s = min(_LONGEST_DELAY_S, 2 * self._delay_s)

    def _begin_again(self) -> None:
        try:
            self._spare_now()
        except OSError as error:
            log.warning("the spare engine cannot be started: %s", error.strerror)
            self._begin_later()
