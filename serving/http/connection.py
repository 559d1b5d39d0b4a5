"""One HTTP connection: how long a request may take to come, and what a bad one is told.

Owns the deadline of a request's head, that of a connection between requests, the bound on bytes
sent ahead of their turn, and the JSON shape of every answer that aiohttp makes without asking a
handler. It knows no route and counts nothing; `connections.py` makes one per accepted socket.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import BadStatusLine, InvalidHeader, LineTooLong

from ...core.errors import InternalError, InvalidInput, SkipjoinError
from .answers import SERVER, Refused, raw_refusal, refusal

MAX_LINE = 8190
"""Bytes of the request line, or of one header."""
MAX_HEADERS = 128
MAX_HEAD = 64 * 1024
"""Bytes of the request line and all headers."""
MAX_EARLY_BYTES = 64 * 1024
"""Bytes of further requests that may arrive while one is answered."""
_READ_BYTES = 64 * 1024
MAX_CRUMBS = 4096
"""Chunks of less than 256 bytes that a body may have; one more for every 256 bytes of it."""
_CRUMB_BYTES = 256
_CRUMB = re.compile(rb"\r\n0*[0-9A-Fa-f]{1,2}(?:;[^\r\n]*)?\r\n")
_FEW_LINES = 16
_END = b"\r\n\r\n"
# aiohttp writes a traceback for every malformed request, which anybody can send; our own errors are
# logged by the handlers.
_QUIET = logging.getLogger("skipjoin.http")
_QUIET.setLevel(logging.CRITICAL)
_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for the head of a request, for the next request, and for a TLS handshake."""

    head_s: float
    idle_s: float
    handshake_s: float


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    def rests(self, connection: HttpConnection) -> None: ...
    def works(self, connection: HttpConnection) -> None: ...
    def gone(self, connection: HttpConnection) -> None: ...
    def refused(self, error: SkipjoinError) -> None: ...


class HttpConnection(web.RequestHandler):
    """aiohttp's protocol with deadlines of ours.

    Between `begin` and `end` a handler has the request.
    """

    __slots__ = (
        "_bytes", "_crumbs", "_deadline", "_deaf", "_early", "_first_line", "_head", "_head_end",
        "_last", "_over", "_owner", "_patience", "_request", "peer",
    )  # fmt: skip

    def __init__(self, server: web.Server, owner: Owner, patience: Patience) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            logger=_QUIET,
            keepalive_timeout=patience.idle_s + patience.head_s,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            read_bufsize=_READ_BYTES,
            lingering_time=_LINGER_S,
            # What is packed is refused: nothing is ever unpacked for a caller.
            auto_decompress=False,
        )
        self._owner = owner
        self._patience = patience
        self._deadline: asyncio.TimerHandle | None = None
        self._request: web.BaseRequest | None = None
        self._head = 0
        self._first_line = b""
        self._head_end = b""
        self._early = self._crumbs = self._bytes = 0
        self._last = self._deaf = False
        self._over = asyncio.Event()
        self.peer = ""

    # life
    # -------------------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there, and TLS is agreed on."""
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        super().connection_made(transport)
        self._owner.rests(self)
        self._wait(self._patience.head_s)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The socket is gone."""
        self._over.set()
        self._wait(None)
        self._owner.gone(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deaf:
            return
        if not self._chunks_fit(data):
            return
        if self._last:
            pass  # the rest of a body that was refused: it is thrown away for a moment
        elif self._request is None:
            if data and not self._head:
                self._wait(self._patience.head_s)
            self._head += len(data)
            self._first_line = _first_line(self._first_line, data)
            if not self._head_fits(data):
                return
        elif data and self._request.content.is_eof():
            self._early += len(data)
            if self._early > MAX_EARLY_BYTES:
                self.abort()
                return
        super().data_received(data)

    def _head_fits(self, data: bytes) -> bool:
        """Whether the head has ended or may still grow; one that may not is answered here."""
        if self._head_end == _END:
            return True
        seen = self._head_end + data
        self._head_end = _END if _END in seen else seen[-3:]
        if self._head_end == _END or self._head <= MAX_HEAD:
            return True
        self._say_last(
            Refused(InvalidInput("The headers are too long.", field="headers", limit=f"{MAX_HEAD} bytes"), 431)
        )
        return False

    def _chunks_fit(self, data: bytes) -> bool:
        """Whether a body does not come in crumbs. A chunk costs microseconds, be it small."""
        self._bytes += len(data)
        if data.count(b"\r\n") > _FEW_LINES:
            self._crumbs += len(_CRUMB.findall(data))
        if self._crumbs <= MAX_CRUMBS + self._bytes // _CRUMB_BYTES:
            return True
        limit = f"{MAX_CRUMBS} of less than {_CRUMB_BYTES} bytes"
        self._say_last(
            Refused(InvalidInput("The body comes in too many small chunks.", field="body", limit=limit), 400)
        )
        return False

    def begin(self, request: web.BaseRequest) -> None:
        """A handler has the request: its own deadlines hold now."""
        self._request, self._head, self._first_line, self._head_end, self._early = request, 0, b"", b"", 0
        self._wait(None)
        self._owner.works(self)

    def end(self) -> None:
        """The handler is done: the answer goes out, and the next request may come.

        What is left of the body is thrown away.
        """
        if self._request is not None and not self._request.content.is_eof():
            self._last = True
        self._request, self._crumbs, self._bytes = None, 0, 0
        if self.transport is not None:
            self._owner.rests(self)
            self._wait(self._patience.idle_s)

    def abort(self) -> None:
        """End at once, whatever is still to be sent."""
        if self.transport is not None:
            self.transport.abort()

    def _wait(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        loop = asyncio.get_running_loop()
        self._deadline = None if seconds is None else loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        limit = f"{self._patience.head_s:g} s"
        if self._head and not self._last:
            self._say_last(
                Refused(InvalidInput("The headers did not arrive in time.", field="headers", limit=limit), 408)
            )
        else:
            self.abort()

    def _say_last(self, refused: Refused) -> None:
        """Answer where there is no request to answer, and close."""
        if self._last:
            self.abort()
            return
        self._owner.refused(refused.error)
        if self.transport is not None:
            self.transport.write(raw_refusal(refused))
        self._hang_up()

    def _hang_up(self) -> None:
        """Say nothing more, and throw away what still comes.

        A socket closed over unread bytes would take the answer with it.
        """
        self._last = self._deaf = True
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()
        self._wait(_LINGER_S)

    def eof_received(self) -> None:
        """The client says nothing more. Returning None closes the socket."""
        self._over.set()

    # answers without a handler
    # ----------------------------------------------------------------------------------
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers by itself: to a request that it cannot read, or a handler's fault."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("The answer has begun.")
        refused = (
            self._misread(exc) if status == 400 else Refused(InternalError("The server failed at this call."), 500)
        )
        self._owner.refused(refused.error)
        answer = _LastAnswer(self, refused)
        answer.headers["Server"] = SERVER
        answer.force_close()
        return answer

    async def over(self) -> None:
        """Hang up, and wait until the client has, or has had the time."""
        self._hang_up()
        await self._over.wait()

    def _misread(self, exc: BaseException | None) -> Refused:
        limit = f"{MAX_LINE} bytes"
        line = self._first_line
        if isinstance(exc, LineTooLong):
            if len(line) > MAX_LINE:
                return Refused(InvalidInput("The request line is too long.", field="path", limit=limit), 414)
            return Refused(InvalidInput("A header is too long.", field="headers", limit=limit), 431)
        said = str(exc)
        if "Too many headers" in said:
            return Refused(
                InvalidInput("There are too many headers.", field="headers", limit=f"{MAX_HEADERS} headers"), 431
            )
        if line.startswith(b"\x16\x03"):
            said = (
                "This port speaks HTTP without TLS, and a TLS handshake came: use http://, or give the server"
                " a certificate."
            )
            return Refused(InvalidInput(said, field="request"), 400)
        if line.startswith(b"PRI * HTTP/2"):
            said = "This port speaks HTTP/1.1, and HTTP/2 came. gRPC has a port of its own, the setting listen."
            return Refused(InvalidInput(said, field="request"), 400)
        if "Host" in said:
            return Refused(InvalidInput("A request has exactly one Host header.", field="Host"), 400)
        if isinstance(exc, InvalidHeader):
            return Refused(InvalidInput("A header is malformed.", field="headers"), 400)
        if isinstance(exc, BadStatusLine):
            return Refused(InvalidInput("The request line is malformed: METHOD PATH HTTP/1.1.", field="request"), 400)
        return Refused(InvalidInput("The request is not well-formed HTTP/1.1.", field="request"), 400)


class _LastAnswer(web.Response):
    """The last answer of a connection: the socket stays until the client had time to read it."""

    def __init__(self, connection: HttpConnection, refused: Refused) -> None:
        plain = refusal(refused)
        super().__init__(text=plain.text, status=plain.status, headers=plain.headers)
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it, then hang up."""
        await super().write_eof(data)
        await self._connection.over()


def _first_line(so_far: bytes, data: bytes) -> bytes:
    """The first line as far as it came, with its end, cut off where it is longer than it may be."""
    if so_far.endswith(b"\n") or len(so_far) > MAX_LINE:
        return so_far
    line, end, _ = data.partition(b"\n")
    return (so_far + line + end)[: MAX_LINE + 2]
