"""Which call a request is for.

Owns the table of paths and methods, and which of them are public. It knows nothing of what a call
does. `door.py` makes the table and lists it; a path that is not there is refused before the caller
is asked who they are, as it says nothing of the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from ....core.errors import InvalidInput, NotFound
from ..answers import Refused
from .chain import Handler


@dataclass(frozen=True, slots=True)
class Route:
    """The call of a path and method. A public one needs no token and takes no call's place."""

    call: Handler
    public: bool = False


_KEY = web.RequestKey("skipjoin.route", Route)


class Routes:
    """Finds the route of a request in `table`, by path and method.

    A path of the table that ends with / stands for all below it, and not for itself.
    """

    def __init__(self, table: Mapping[str, Mapping[str, Route]]) -> None:
        self._table = table
        self._above = tuple(path for path in table if path.endswith("/"))

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer. Raises NotFound, Refused."""
        request[_KEY] = self._route(request)
        return await handler(request)

    def _route(self, request: web.BaseRequest) -> Route:
        path = request.path
        methods = None if path in self._above else self._table.get(path)
        if methods is None:
            above = next((above for above in self._above if path.startswith(above) and path != above), None)
            if above is None:
                raise NotFound("There is nothing at this path.", field="path")
            methods = self._table[above]
        method = "GET" if request.method == "HEAD" else request.method
        if method not in methods:
            allowed = ", ".join(methods)
            said = InvalidInput(f"This path does not take {request.method[:10]}.", field="method", limit=allowed)
            raise Refused(said, 405, {"Allow": allowed})
        return methods[method]


def route_of(request: web.BaseRequest) -> Route:
    """The route that was found."""
    return request[_KEY]
