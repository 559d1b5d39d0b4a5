"""The two ends of the one Unix socket between door and engine.

Owns the socket: a plain one for the engine (drain without waiting, wait with a bound) and asyncio
for the door. It does not know what a frame means; proto/frames makes and cuts them.
"""

from __future__ import annotations

import asyncio
import select
import socket

from ..proto.frames import (
    FrameReader,
    FromDoor,
    FromEngine,
    decode_from_door,
    decode_from_engine,
    encode_from_door,
    encode_from_engine,
    framed,
)

_READ_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 20


class IpcClosed(Exception):
    """The other end is gone: not an error of a caller, the sign to stop."""


def ipc_pair() -> tuple[socket.socket, socket.socket]:
    """(door's end, engine's end) of a new socket between door and engine."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ends


class EngineEnd:
    """The engine's end: blocking sends, reads that never wait unless asked."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._socket = end
        self._reader = FrameReader()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def drain(self) -> list[FromDoor]:
        """Every frame that is there now. Raises IpcClosed when the door has closed its end."""
        frames: list[FromDoor] = []
        # Asked first: a read of nothing is an exception, and most turns find nothing.
        while self._poll.poll(0):
            try:
                data = self._socket.recv(_READ_BYTES)
            except OSError as error:
                raise IpcClosed(str(error)) from None
            if not data:
                raise IpcClosed("The door closed its end.")
            frames += [decode_from_door(message) for message in self._reader.feed(data)]
            if len(data) < _READ_BYTES:
                break
        return frames

    def wait(self, timeout_ns: int | None) -> None:
        """Return when something can be read, or after `timeout_ns` (None: only then)."""
        self._poll.poll(None if timeout_ns is None else max(0, -(-timeout_ns // 1_000_000)))

    def send(self, frame: FromEngine) -> None:
        """Send; waits while the door does not read (that is how it pauses the engine). Raises
        IpcClosed.
        """
        try:
            self._socket.sendall(framed(encode_from_engine(frame)))
        except OSError as error:
            raise IpcClosed(str(error)) from None


class DoorEnd:
    """The door's end, on the event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stream = reader
        self._writer = writer
        self._reader = FrameReader()
        self._ready: list[bytes] = []
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, end: socket.socket) -> DoorEnd:
        """Take over the door's end of a pair."""
        reader, writer = await asyncio.open_connection(sock=end, limit=_BUFFER_BYTES)
        return cls(reader, writer)

    async def receive(self) -> FromEngine | None:
        """The next frame; None at the end (a frame that a death cut off is lost). Raises
        InvariantViolation.
        """
        while not self._ready:
            try:
                data = await self._stream.read(_READ_BYTES)
            except OSError:
                return None
            if not data:
                return None
            self._ready = self._reader.feed(data)[::-1]
        return decode_from_engine(self._ready.pop())

    async def send(self, frame: FromDoor) -> None:
        """Send whole frames in call order; waits while the engine does not read. Raises IpcClosed."""
        async with self._turn:
            if self._writer.is_closing():
                raise IpcClosed("The socket is closed.")
            try:
                self._writer.write(framed(encode_from_door(frame)))
                await self._writer.drain()
            except OSError as error:
                raise IpcClosed(str(error)) from None

    def close(self) -> None:
        """Close at once: the engine reads the end and exits."""
        self._writer.close()
