"""Server-sent events of one answer.

Owns the bytes of events, the comments that keep a waiting stream alive, and the end, also of a
stream that broke off. It knows nothing of what the events say; `openai/calls.py` and
`middlewares/errors.py` send them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from aiohttp import web

from .openai.answer import dumps

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
    "Server": "skipjoin",
}
_BEGUN = web.RequestKey("skipjoin.begun", web.StreamResponse)
_COMMENT = b": waiting\n\n"
_DONE = b"data: [DONE]\n\n"


class EventStream:
    """An open stream.

    As a context manager it sends a comment whenever nothing else was sent for `comment_s` seconds,
    or up to half as long again.
    """

    def __init__(self, response: web.StreamResponse, comment_s: float) -> None:
        self._response = response
        self._half_s = comment_s / 2
        self._sent = 0
        self._comments: asyncio.Task[None] | None = None

    async def open(self, request: web.BaseRequest) -> None:
        """Send the headers, at once: proxies count the time to the first byte."""
        request[_BEGUN] = self._response
        await self._response.prepare(request)
        request.writer.send_headers()

    async def send(self, value: dict[str, object]) -> None:
        """One event."""
        self._sent += 1
        await self._response.write(_event(value))

    async def done(self) -> None:
        """The mark that everything was sent, and the end."""
        self._sent += 1
        await self._response.write(_DONE)
        await self._response.write_eof()

    async def __aenter__(self) -> EventStream:
        self._comments = asyncio.create_task(self._comment())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._comments is not None:
            self._comments.cancel()
            await asyncio.gather(self._comments, return_exceptions=True)

    async def _comment(self) -> None:
        quiet = 0
        while True:
            seen = self._sent
            await asyncio.sleep(self._half_s)
            quiet = quiet + 1 if seen == self._sent else 0
            if quiet == 2:
                quiet = 0
                await self._response.write(_COMMENT)


def begun(request: web.BaseRequest) -> web.StreamResponse | None:
    """The answer to a request whose status is out already."""
    response = request.get(_BEGUN)
    return response if response is not None and response.prepared else None


async def broken_off(response: web.StreamResponse, value: dict[str, object]) -> None:
    """End a stream that failed in the middle: a last event instead of the mark, and the end."""
    with suppress(ConnectionError):
        await response.write(_event(value))
        await response.write_eof()


def _event(value: dict[str, object]) -> bytes:
    return f"data: {dumps(value)}\n\n".encode()
