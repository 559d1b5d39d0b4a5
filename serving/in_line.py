"""Work of which one piece is done at a time, while the tenants take turns.

Owns who is next, and the refusal of what would wait too long. One tenant's five hundred long bodies stand before another's one for the time of one.
It does not know what the work is; `openai.py` reads long bodies in it. Only the event loop's thread uses it.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..core.errors import Overloaded
from ..core.ids import TenantId

_TYPICAL_OF = 5


class InLine:
    """The line. `wait_s` is how long work may be expected to wait in it; `on_full` hears of every refusal."""

    def __init__(self, wait_s: float, on_full: Callable[[], None] = lambda: None) -> None:
        self._wait_s = wait_s
        self._on_full = on_full
        self._busy = False
        self._lines: dict[TenantId, deque[asyncio.Future[None]]] = {}
        self._took_s: deque[float] = deque([0.0] * (_TYPICAL_OF // 2 + 1), maxlen=_TYPICAL_OF)

    @asynccontextmanager
    async def turn(self, tenant: TenantId) -> AsyncIterator[None]:
        """The tenant's turn, until the block ends. Raises Overloaded where too much stands before it."""
        await self._take(tenant)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self._took_s.append(loop.time() - began)
            self._next()

    async def _take(self, tenant: TenantId) -> None:
        if not self._busy:
            self._busy = True
            return
        self._check(tenant)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came in the same moment
                self._next()
            raise

    def _check(self, tenant: TenantId) -> None:
        own = len(self._lines.get(tenant, ())) + 1
        others = sum(min(own, len(line)) for name, line in self._lines.items() if name != tenant)
        wait_s = (own + others) * statistics.median(self._took_s)
        if wait_s > self._wait_s:
            self._on_full()
            raise Overloaded(
                f"Other long requests are being read and this one would wait for about {wait_s:.0f} s; try again.",
                retry_after_s=max(1.0, wait_s - self._wait_s),
                field="body",
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
        self._busy = False
