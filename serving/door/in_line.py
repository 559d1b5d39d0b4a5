"""Work of which one piece, or a few, is done at a time, while the tenants take turns.

Owns who is next, and the refusal of what would wait too long. One tenant's five hundred long bodies
stand before another's one for the time of one. It does not know what the work is: `openai.py` reads
long bodies in it, `messages.py` parses long messages, `lanes.py` hands prompts to its threads. Only
the event loop's thread uses it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ...core.errors import Overloaded, Unavailable
from ...core.ids import TenantId

_TYPICAL_OF = 5


class InLine:
    """The line, for `places` pieces of work at a time. `wait_s` is how long work may be expected to
    wait in it.

    `on_full` hears of every refusal, which says of `others` what is done with them, and names the
    `field` that is theirs.
    """

    def __init__(
        self,
        wait_s: float,
        on_full: Callable[[], None] = lambda: None,
        *,
        places: int = 1,
        others: str = "long requests are being read",
        field: str = "body",
    ) -> None:
        self._wait_s = wait_s
        self._on_full = on_full
        self._places = places
        self._others = others
        self._field = field
        self._free = places
        self._closed = False
        self._lines: dict[TenantId, deque[asyncio.Future[None]]] = {}
        self._took_s: deque[float] = deque([0.0] * (_TYPICAL_OF // 2 + 1), maxlen=_TYPICAL_OF)

    @asynccontextmanager
    async def turn(self, tenant: TenantId) -> AsyncIterator[None]:
        """The tenant's turn, until the block ends. Raises Overloaded where too much stands before
        it, Unavailable after `close`.
        """
        await self.take(tenant)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self.leave(loop.time() - began)

    async def take(self, tenant: TenantId) -> None:
        """Wait for a turn of the tenant, to be ended with `leave`. Raises as `turn` does."""
        if self._closed:
            raise _going()
        if self._free:
            self._free -= 1
            return
        self._check(tenant)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:  # it came in the same moment
                self._next()
            raise

    def leave(self, took_s: float) -> None:
        """The turn is over after so many seconds."""
        self._took_s.append(took_s)
        self._next()

    def close(self) -> None:
        """Tell those that wait that the server is going down; what has its turn keeps it.
        Idempotent.
        """
        self._closed = True
        lines, self._lines = self._lines, {}
        for line in lines.values():
            for turn in line:
                if not turn.done():
                    turn.set_exception(_going())

    def _check(self, tenant: TenantId) -> None:
        own = len(self._lines.get(tenant, ())) + 1
        others = sum(min(own, len(line)) for name, line in self._lines.items() if name != tenant)
        wait_s = (own + others) / self._places * statistics.median(self._took_s)
        if wait_s > self._wait_s:
            self._on_full()
            raise Overloaded(
                f"Other {self._others} and this one would wait for about {wait_s:.0f} s; try again.",
                retry_after_s=max(1.0, wait_s - self._wait_s),
                field=self._field,
                limit=f"at most {self._wait_s:g} s",
            )

    def _next(self) -> None:
        while self._lines:
            tenant = next(iter(self._lines))
            line = self._lines.pop(tenant)
            turn = line.popleft()
            if line:
                self._lines[tenant] = line  # behind the others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _going() -> Unavailable:
    return Unavailable("The server is going down.")
