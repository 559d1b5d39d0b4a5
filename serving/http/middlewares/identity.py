"""Who calls.

Owns that the tenant of every call is known before anything of its body is read. Tokens are
`Access`'s. `door.py` lists it; calls ask `tenant_of`.
"""

from __future__ import annotations

from aiohttp import web

from ....core.ids import DEFAULT_TENANT, TenantId
from ...door.access import BY_HEADER, Access
from .chain import Handler
from .routes import route_of

_KEY = web.RequestKey("skipjoin.tenant", str)


class Identity:
    """Finds the tenant by the header Authorization. A public path has the default tenant."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer. Raises Unauthenticated."""
        if route_of(request).public:
            request[_KEY] = DEFAULT_TENANT
        else:
            request[_KEY] = self._access.tenant(request.headers.get("Authorization"), BY_HEADER)
        return await handler(request)


def tenant_of(request: web.BaseRequest) -> TenantId:
    """The tenant of a call."""
    return TenantId(request[_KEY])


def known_tenant(request: web.BaseRequest) -> str | None:
    """The same of any request; None of one that was refused before."""
    return request.get(_KEY)
