"""The server's own end of a call that has lasted for too long.

Owns the bound and the knowledge that it was the bound which ended the call. Each door runs its
calls within `capped`. `following` asks `capped_out`, because a client whose call the server ended
has not gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from ...core.errors import DeadlineExceeded

_cap: ContextVar[asyncio.Timeout | None] = ContextVar("the cap of this call", default=None)


@asynccontextmanager
async def capped(cap_s: float, then: str) -> AsyncIterator[None]:
    """The body may last for `cap_s` seconds. Raises DeadlineExceeded after that; `then` tells the
    client what it can do.
    """
    try:
        async with asyncio.timeout(cap_s) as cap:
            token = _cap.set(cap)
            try:
                yield
            finally:
                _cap.reset(token)
    except TimeoutError:
        if not cap.expired():
            raise
        raise DeadlineExceeded(f"No call lasts longer than {cap_s:g} s here. {then}") from None


def capped_out() -> bool:
    """Whether the call that is being ended here is ended by its cap."""
    cap = _cap.get()
    return cap is not None and cap.expired()
