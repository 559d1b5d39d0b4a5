"""A line of the log for every request.

Owns the line: method, path, status, time, request id, tenant and job. It is logged as debug,
since a busy door has thousands a second, and holds nothing of a body, a token or a query. `door.py`
lists it.
"""

from __future__ import annotations

import logging

from aiohttp import web

from ....core.clock import Clock
from ..answers import JOB_ID
from .chain import Handler
from .identity import known_tenant
from .request_id import request_id_of

log = logging.getLogger("skipjoin.access")

_LONGEST_PATH = 200


class AccessLog:
    """Writes the lines, once an answer is made or the client went."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer."""
        if not log.isEnabledFor(logging.DEBUG):
            return await handler(request)
        began_ns = self._clock.now_ns()
        status, job = "gone", None
        try:
            answer = await handler(request)
            status, job = str(answer.status), answer.headers.get(JOB_ID)
            return answer
        finally:
            log.debug(
                "%s %s %s in %.3f s, request %s, tenant %s, job %s",
                request.method[:10],
                ascii(request.path[:_LONGEST_PATH]),
                status,
                (self._clock.now_ns() - began_ns) / 1e9,
                request_id_of(request),
                known_tenant(request) or "-",
                job or "-",
            )
