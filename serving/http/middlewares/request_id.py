"""A name for every request, for the log.

Owns where it comes from: the caller's X-Request-Id where that is safe to write down, else a random
one. `access_log.py` and `errors.py` write it.
"""

from __future__ import annotations

import re
import secrets

from aiohttp import web

from .chain import Handler

HEADER = "X-Request-Id"
_KEY = web.RequestKey("skipjoin.request_id", str)
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
_BYTES = 8


class RequestId:
    """Names requests."""

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer."""
        said = request.headers.get(HEADER, "")
        request[_KEY] = said if _SANE.fullmatch(said) else secrets.token_hex(_BYTES)
        return await handler(request)


def request_id_of(request: web.BaseRequest) -> str:
    """The request's name."""
    return request[_KEY]
