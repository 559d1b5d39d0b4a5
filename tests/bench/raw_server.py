"""An HTTP server that says exactly what a test wants, for what a well-behaved one never would.

Owns a listening socket on a thread. It knows no protocol beyond the end of a request's head and
body.
"""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def answer(body: str | bytes, *, status: str = "200 OK", kind: str = "text/event-stream") -> bytes:
    """A whole response; the connection ends it."""
    data = body.encode() if isinstance(body, str) else body
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + data


def events(*data: str) -> bytes:
    """A whole response of server-sent events."""
    return answer("".join(f"data: {one}\n\n" for one in data))


class RawServer:
    """Use it in a `with`: answers every request with the same bytes and keeps what came."""

    def __init__(self, response: bytes) -> None:
        self._response = response
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.requests: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):  # whoever asked may have heard enough
                connection.settimeout(10)
                self.requests.append(_request(connection))
                connection.sendall(self._response)


def _request(connection: socket.socket) -> bytes:
    got = b""
    while True:
        head, mark, body = got.partition(b"\r\n\r\n")
        wanted = _LENGTH.search(head)
        if mark and len(body) >= (0 if wanted is None else int(wanted[1])):
            return got
        more = connection.recv(65536)
        if not more:
            return got
        got += more
