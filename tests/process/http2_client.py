"""A client that writes HTTP/2 frames as it likes, for tests of what no gRPC client does.

Owns the frames and a connection that throws away what it is sent. It knows as much of HPACK as a
call's headers take, uses nothing of the product but its wire, and judges nothing. Tests of floods
use it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
CANCEL = struct.pack("!I", 8)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def call_headers(path: str) -> bytes:
    """The header block of a gRPC call, without Huffman codes and without a table."""

    def text(value: bytes) -> bytes:
        return bytes([len(value)]) + value

    fixed = b"\x83\x86\x04" + text(path.encode()) + b"\x01" + text(b"localhost")  # POST, http, path, authority
    return fixed + b"\x0f\x10" + text(b"application/grpc") + b"\x00" + text(b"te") + text(b"trailers")


def call_and_reset(block: bytes, streams: range) -> bytes:
    """Calls that are opened and reset at once, one for each number."""
    return b"".join(
        frame(HEADERS, END_HEADERS, stream, block) + frame(RST_STREAM, 0, stream, CANCEL) for stream in streams
    )


def flood(port: int, seconds: float, pieces: Callable[[], Iterator[bytes]]) -> int:
    """Send the pieces of one connection after the other, and connect again when the server closes;
    how many were sent.
    """
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                threading.Thread(target=_throw_away, args=(connection,), daemon=True).start()
                connection.sendall(PREFACE + frame(SETTINGS))
                for piece in pieces():
                    connection.sendall(piece)
                    sent += 1
                    if time.monotonic() > until:
                        break
        except OSError:
            time.sleep(0.01)
    return sent


def _throw_away(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass
