"""Middlewares around a handler, in aiohttp's form: each takes a request and the handler behind it.

Owns the types and the joining. aiohttp joins them for its `Application` alone; the server below
ours has one handler for all requests. `door.py` lists them and joins them once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    """One thing that happens to every request."""

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse: ...


def around(handler: Handler, middlewares: Sequence[Middleware]) -> Handler:
    """The handler with the middlewares around it, the first of them outermost."""
    for middleware in reversed(middlewares):
        handler = partial(middleware, handler=handler)
    return handler
