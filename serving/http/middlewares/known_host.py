"""Whether a request speaks our HTTP and means this machine.

Owns the check of the version and of the Host. Nothing else of a request counts before. `door.py`
lists it.
"""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, web

from ....core.errors import InvalidInput
from ..hosts import Hosts
from .chain import Handler


class KnownHost:
    """Lets requests through that are for one of `hosts`."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer. Raises InvalidInput, PermissionDenied."""
        if request.version not in (HttpVersion10, HttpVersion11):
            raise InvalidInput("This server speaks HTTP/1.1.", field="request")
        self._hosts.check(request.headers.getall("Host", ()), request.raw_path)
        return await handler(request)
