"""How many calls are open at a time, and how long one may last.

Owns the places of calls, shared among tenants, and the cap on a call's time. A public call takes no
place. `door.py` lists it, and waits for it when the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from ....core.errors import Overloaded
from ...door.call_cap import capped
from ...door.shares import Shares
from .chain import Handler
from .identity import tenant_of
from .routes import route_of

_THEN = (
    "A request with an Idempotency-Key can be sent again, and finds its job. The job of any other request is cancelled."
)


class Places:
    """Bounds open calls by `shares` and each by `cap_s` seconds.

    `on_full` is told when a call found no place.
    """

    def __init__(self, shares: Shares, cap_s: float, on_full: Callable[[], None]) -> None:
        self._shares = shares
        self._cap_s = cap_s
        self._on_full = on_full
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open(self) -> int:
        """Calls now."""
        return self._shares.total

    async def all_free(self) -> None:
        """Wait until no call is open."""
        await self._idle.wait()

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer. Raises Overloaded, DeadlineExceeded."""
        if route_of(request).public:
            return await handler(request)
        tenant = tenant_of(request)
        if not self._shares.fits(tenant):
            self._on_full()
            limit = f"{self._shares.largest(tenant)} calls"
            raise Overloaded("Too many HTTP calls are open.", retry_after_s=1.0, limit=limit)
        self._shares.take(tenant)
        self._idle.clear()
        try:
            async with capped(self._cap_s, _THEN):
                return await handler(request)
        finally:
            self._shares.give_back(tenant)
            if not self._shares.total:
                self._idle.set()
