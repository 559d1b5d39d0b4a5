"""The head that every answer has.

Owns the header Server, and that an answer to a body not read is the last of its connection. It
knows no call. `door.py` lists it.
"""

from __future__ import annotations

from aiohttp import web

from ..answers import SERVER
from .chain import Handler


class AnswerHead:
    """Completes the head of an answer that is not out yet."""

    async def __call__(self, request: web.BaseRequest, handler: Handler) -> web.StreamResponse:
        """The handler's answer."""
        answer = await handler(request)
        if not answer.prepared:
            # Without this, aiohttp tells every caller its and Python's version.
            answer.headers["Server"] = SERVER
            if not request.content.is_eof():
                answer.force_close()  # what comes of the body is thrown away for a moment, so that the answer is read
        return answer
