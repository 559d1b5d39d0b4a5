"""Questions to the engine and who waits for the answers.

Owns the numbering of AccountAsked and SnapshotAsked and their futures. It does not know what is
done with an answer; the admin service and metrics ask, the supervisor delivers, and a dead engine
answers None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...core.effects import AccountGiven, SnapshotGiven
from ...core.events import AccountAsked, Event, SnapshotAsked
from ...core.ids import Handle
from .claims import Send

_PATIENCE_S = 5.0


class Questions:
    """Ask the engine that is there, if one is."""

    def __init__(self) -> None:
        self._next = 1
        self._open: dict[int, asyncio.Future[AccountGiven | SnapshotGiven | None]] = {}
        self._send: Send | None = None

    def engine_started(self, send: Send) -> None:
        """There is somebody to ask."""
        self._send = send

    def engine_ended(self) -> None:
        """Nobody will answer any more."""
        self._send = None
        for answer in self._open.values():
            if not answer.done():
                answer.set_result(None)
        self._open.clear()

    def answered(self, answer: AccountGiven | SnapshotGiven) -> None:
        """The engine has answered."""
        waiting = self._open.pop(answer.question, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def account(self, handle: Handle) -> AccountGiven | None:
        """Where a job's time went; None when the engine cannot say."""
        answer = await self._ask(AccountAsked(handle, self._next))
        return answer if isinstance(answer, AccountGiven) else None

    async def snapshot(self) -> SnapshotGiven | None:
        """Queues and KV now; None when the engine cannot say."""
        answer = await self._ask(SnapshotAsked(self._next))
        return answer if isinstance(answer, SnapshotGiven) else None

    async def _ask(self, event: AccountAsked | SnapshotAsked) -> AccountGiven | SnapshotGiven | None:
        if self._send is None:
            return None
        self._next += 1
        answer: asyncio.Future[AccountGiven | SnapshotGiven | None] = asyncio.get_running_loop().create_future()
        self._open[event.question] = answer
        events: Sequence[Event] = [event]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._send(events)
                return await answer
        except TimeoutError:
            return None
        finally:
            self._open.pop(event.question, None)
