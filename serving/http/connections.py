"""All HTTP connections: accepted, bounded, and ended when others need their room.

Owns the accept loop, the bound on connections, and who goes when it is reached: the connection that
has rested longest, of the address that has most of them. It knows no request but whether one is
being handled. `door.py` starts and stops it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from ...core.errors import InvalidInput, Overloaded, SkipjoinError
from ...proto.status import http_status
from .answers import Refused, raw_refusal
from .connection import HttpConnection, Patience

log = logging.getLogger("skipjoin.door")

_HANDSHAKE = b"\x16"
_SHUTDOWN_S = 2.0
_NONE_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_AT_ONCE = 8  # more, and a flood would have whoever came just before it ended before it is heard
_FEWEST = 16
_KEPT_FREE = 32
_PAUSE_S = 1.0  # a socket that waits to be accepted keeps waking the loop, which must not try again at once

Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Silent:
    """An accepted socket of which nothing was heard yet: it costs a descriptor and little more."""

    __slots__ = ("peer", "socket")

    def __init__(self, accepted: socket.socket, peer: str) -> None:
        self.socket = accepted
        self.peer = peer

    def abort(self) -> None:
        """End at once."""
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self.socket.close()


class HttpConnections(web.Server):
    """At most `most` connections.

    `refused` hears of errors that were answered below any handler, `on_full` of each connection
    that had to go.
    """

    def __init__(
        self,
        handle: Handle,
        most: int,
        patience: Patience,
        refused: Callable[[SkipjoinError], None],
        on_full: Callable[[], None],
    ) -> None:
        # A client that goes cancels its handler, so that nothing computes for nobody.
        super().__init__(self._handled, handler_cancellation=True)
        self._handle = handle
        self._limit = most
        self._most = most
        self._patience = patience
        self._refused = refused
        self._on_full = on_full
        self._resting: dict[str, dict[_Silent | HttpConnection, None]] = {}
        self._silent: dict[_Silent, asyncio.TimerHandle] = {}
        self._arriving: dict[asyncio.Task[None], None] = {}
        self._made = 0
        self._listening: socket.socket | None = None
        self._in_vain = False
        self._again: asyncio.TimerHandle | None = None
        self._grow: asyncio.TimerHandle | None = None

    def __call__(self) -> HttpConnection:
        """A protocol for an accepted socket."""
        return HttpConnection(self, self, self._patience)

    @property
    def count(self) -> int:
        """Connections now, those included that have said nothing or still agree on TLS."""
        return self._made + len(self._silent) + len(self._arriving)

    @property
    def most(self) -> int:
        """Connections that may be open now: fewer for a while, once the system had no room."""
        return self._most

    # accepting
    # ----------------------------------------------------------------------------------------------------
    def accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accept from now on, until `end`."""
        listening.setblocking(False)
        self._listening = listening
        asyncio.get_running_loop().add_reader(listening, self._accept, listening, tls)

    def stop_accepting(self) -> None:
        """Accept nothing more."""
        for timer in (self._again, self._grow):
            if timer is not None:
                timer.cancel()
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)

    async def end(self, timeout_s: float) -> None:
        """Close what rests, give handlers `timeout_s`, then cut them off."""
        for silent in list(self._silent):
            self._forget(silent)
            silent.abort()
        for task in list(self._arriving):
            task.cancel()
        self.pre_shutdown()
        await asyncio.sleep(0)
        await self.shutdown(timeout_s)

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                accepted, where = listening.accept()
            except OSError as error:
                if error.errno in _NONE_LEFT:
                    self._out_of_room(error, listening, tls)
                return
            self._in_vain = False
            if self.count >= self._most and not self._make_room():
                self._turn_away(accepted, plain=tls is None)
                continue
            accepted.setblocking(False)
            silent = _Silent(accepted, str(where[0]) if where else "")
            self._silent[silent] = loop.call_later(self._patience.head_s, self._too_late, silent)
            self._rest(silent)
            loop.add_reader(accepted.fileno(), self._spoke, silent, tls)

    def _spoke(self, silent: _Silent, tls: ssl.SSLContext | None) -> None:
        """The first bytes are there: HTTP, or a handshake."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(silent.socket.fileno())
        self._forget(silent)
        first = _first_byte(silent.socket)
        if first == b"" or (tls is not None and first not in (None, _HANDSHAKE)):
            if first:
                _say_tls(silent.socket)
            silent.socket.close()
            return
        task = loop.create_task(self._take(silent.socket, tls))
        self._arriving[task] = None
        task.add_done_callback(self._arrived)

    def _too_late(self, silent: _Silent) -> None:
        self._forget(silent)
        silent.abort()

    def _forget(self, silent: _Silent) -> None:
        self._silent.pop(silent).cancel()
        self._stir(silent)

    async def _take(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            if tls is None:
                await loop.connect_accepted_socket(self, accepted)
            else:
                await loop.connect_accepted_socket(
                    self,
                    accepted,
                    ssl=tls,
                    ssl_handshake_timeout=self._patience.handshake_s,
                    ssl_shutdown_timeout=_SHUTDOWN_S,
                )
        except (OSError, asyncio.CancelledError):  # no TLS, or it went: there is nothing to answer
            accepted.close()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._arriving.pop(task, None)
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("a connection could not be taken", exc_info=problem)

    # what the connections tell
    # -----------------------------------------------------------------------------------
    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """One more."""
        self._made += 1
        super().connection_made(handler, transport)

    def gone(self, connection: HttpConnection) -> None:
        """One less."""
        self._made -= 1
        self._stir(connection)

    def refused(self, error: SkipjoinError) -> None:
        """An error was answered below any handler."""
        self._refused(error)

    def rests(self, connection: HttpConnection) -> None:
        """It waits for a request: it may go when room is needed."""
        self._rest(connection)

    def works(self, connection: HttpConnection) -> None:
        """It has a request."""
        self._stir(connection)

    def _rest(self, who: _Silent | HttpConnection) -> None:
        self._resting.setdefault(who.peer, {})[who] = None

    def _stir(self, who: _Silent | HttpConnection) -> None:
        of_peer = self._resting.get(who.peer)
        if of_peer is not None:
            of_peer.pop(who, None)
            if not of_peer:
                del self._resting[who.peer]

    async def _handled(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        connection.begin(request)
        try:
            return await self._handle(request)
        finally:
            connection.end()

    # room
    # -------------------------------------------------------------------------------------------------------
    def _make_room(self) -> bool:
        """End one, for the bound on all of them is reached. False when all have a request."""
        log.warning(
            "all %d HTTP connections are in use (setting max_connections): the one that rests longest is closed",
            self._most,
        )
        return self._end_one()

    def _end_one(self) -> bool:
        """End the one that has rested longest, of the peer that has most of them.

        Where none rests, it is the oldest that still agrees on TLS.
        """
        self._on_full()
        if self._resting:
            of_peer: dict[_Silent | HttpConnection, None] = max(self._resting.values(), key=len)
            oldest = next(iter(of_peer))
            if isinstance(oldest, _Silent):
                self._forget(oldest)
            else:
                self._stir(oldest)
            oldest.abort()
            return True
        if self._arriving:
            next(iter(self._arriving)).cancel()
            return True
        return False

    def _turn_away(self, accepted: socket.socket, *, plain: bool) -> None:
        """Say once that there is no room, and close."""
        if plain:
            limit = f"{self._most} connections"
            said = Overloaded("All HTTP connections are in use.", retry_after_s=1.0, limit=limit)
            self._refused(said)
            with suppress(OSError):
                accepted.send(raw_refusal(Refused(said, http_status(Overloaded))))
        accepted.close()

    def _out_of_room(self, error: OSError, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Fewer connections must do for a while: the rest of the server needs descriptors.

        Where this process's own limit is reached, ending some helps at once. Else, or when that was
        in vain, nothing is accepted for a moment.
        """
        self._most = max(min(_FEWEST, self._limit), min(self._limit, self.count - _KEPT_FREE))
        log.error("no connection can be accepted: %s; at most %d are held for now", error.strerror, self._most)
        too_many = self.count - self._most  # counted once: what is ended here counts until the loop has closed it
        ended = sum(1 for _ in range(too_many) if self._end_one())
        if self._grow is not None:
            self._grow.cancel()
        loop = asyncio.get_running_loop()
        if error.errno == errno.EMFILE and ended and not self._in_vain:
            self._in_vain = True
            self._grow = loop.call_later(_PAUSE_S, self._grow_back)
            return
        loop.remove_reader(listening)
        self._again = loop.call_later(_PAUSE_S, self._accept_again, listening, tls)

    def _accept_again(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(listening, self._accept, listening, tls)
        self._grow = loop.call_later(_PAUSE_S, self._grow_back)

    def _grow_back(self) -> None:
        """A while has gone well: twice as many may be tried, up to what is allowed."""
        self._most = min(self._limit, self._most * 2)
        if self._most < self._limit:
            self._grow = asyncio.get_running_loop().call_later(_PAUSE_S, self._grow_back)


def _first_byte(spoken: socket.socket) -> bytes | None:
    """The first byte to read, left where it is. Empty at the end, None before one is there."""
    try:
        return spoken.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _say_tls(spoken: socket.socket) -> None:
    """Answer a client that does not know that this port speaks TLS."""
    said = InvalidInput("This port speaks TLS: use https://.", field="request")
    with suppress(OSError):
        spoken.recv(65_536)  # a socket closed over unread bytes would take the answer with it
        spoken.send(raw_refusal(Refused(said, 400)))
