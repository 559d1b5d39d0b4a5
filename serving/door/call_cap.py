"""The server's own end of a call that has lasted for too long.

Owns the bound and the knowledge that it was the bound which ended the call. A door whose clients
can follow their jobs again runs its calls within `capped`; `following` asks `capped_out`, because a
client whose call the server ended has not gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_cap: ContextVar[asyncio.Timeout | None] = ContextVar("the cap of this call", default=None)


@asynccontextmanager
async def capped(cap_s: float) -> AsyncIterator[None]:
    """The body may last for `cap_s` seconds; TimeoutError then."""
    async with asyncio.timeout(cap_s) as cap:
        token = _cap.set(cap)
        try:
            yield
        finally:
            _cap.reset(token)


def capped_out() -> bool:
    """Whether the call that is being ended here is ended by its cap."""
    cap = _cap.get()
    return cap is not None and cap.expired()
