"""Length-prefixed frames over the one Unix socket between door and engine.

Owns framing, its bound, and the two ends: a plain socket for the engine (drain without waiting, wait with a bound) and asyncio for the door.
It does not know what a payload means beyond its kind; proto/link makes and reads events and effects.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

MAX_FRAME_BYTES = 256 * 2**20
_HEADER = struct.Struct("<IB")
_READ_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 20


class FrameKind(IntEnum):
    """What a frame holds. SETTINGS and EVENTS go to the engine, the others come from it."""

    SETTINGS = 1  # JSON: how to build the engine; the first frame
    EVENTS = 2  # proto/link.encode_events
    READY = 3  # JSON: EngineFacts
    FAILED = 4  # JSON: why the engine ends
    LAUNCHED = 5  # int64 handles of a batch, sent before it is computed
    EFFECTS = 6  # proto/link.encode_effects


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: FrameKind
    payload: bytes


class LinkClosed(Exception):
    """The other end is gone: not an error of a caller, the sign to stop."""


def link_pair() -> tuple[socket.socket, socket.socket]:
    """(door's end, engine's end) of a new link."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return ends


class FrameParser:
    """Bytes in, whole frames out; keeps the unfinished rest."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises LinkClosed for a header that no peer of ours sends."""
        self._rest += data
        frames: list[Frame] = []
        start = 0
        while len(self._rest) - start >= _HEADER.size:
            size, kind = _HEADER.unpack_from(self._rest, start)
            if size > MAX_FRAME_BYTES or kind not in FrameKind:
                raise LinkClosed(f"The link carried a frame of kind {kind} and {size} bytes.")
            end = start + _HEADER.size + size
            if len(self._rest) < end:
                break
            frames.append(Frame(FrameKind(kind), bytes(self._rest[start + _HEADER.size : end])))
            start = end
        del self._rest[:start]
        return frames


def pack(kind: FrameKind, payload: bytes) -> bytes:
    """Header and payload of one frame."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"A frame of {len(payload)} bytes; the limit is {MAX_FRAME_BYTES}.")
    return _HEADER.pack(len(payload), kind) + payload


class EngineEnd:
    """The engine's end: blocking sends, reads that never wait unless asked."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._socket = end
        self._parser = FrameParser()
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def drain(self) -> list[Frame]:
        """Every frame that is there now. Raises LinkClosed when the door has closed its end."""
        frames: list[Frame] = []
        while True:
            try:
                data = self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return frames
            except OSError as error:
                raise LinkClosed(str(error)) from None
            if not data:
                raise LinkClosed("The door closed the link.")
            frames += self._parser.feed(data)
            if len(data) < _READ_BYTES:
                return frames

    def wait(self, timeout_ns: int | None) -> None:
        """Return when something can be read, or after `timeout_ns` (None: only then)."""
        self._poll.poll(None if timeout_ns is None else max(0, -(-timeout_ns // 1_000_000)))

    def send(self, kind: FrameKind, payload: bytes) -> None:
        """Send; waits while the door does not read (that is how it pauses the engine). Raises LinkClosed."""
        try:
            self._socket.sendall(pack(kind, payload))
        except OSError as error:
            raise LinkClosed(str(error)) from None


class DoorEnd:
    """The door's end, on the event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, end: socket.socket) -> DoorEnd:
        """Take over the door's end of a pair."""
        reader, writer = await asyncio.open_connection(sock=end, limit=_BUFFER_BYTES)
        return cls(reader, writer)

    async def receive(self) -> Frame | None:
        """The next frame; None at the end, a frame that was cut off by a death included."""
        try:
            size, kind = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
            if size > MAX_FRAME_BYTES or kind not in FrameKind:
                return None
            return Frame(FrameKind(kind), await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            return None

    async def send(self, kind: FrameKind, payload: bytes) -> None:
        """Send whole frames in call order; waits while the engine does not read. Raises LinkClosed."""
        async with self._turn:
            try:
                self._writer.write(pack(kind, payload))
                await self._writer.drain()
            except OSError as error:
                raise LinkClosed(str(error)) from None

    def close(self) -> None:
        """Close at once: the engine reads the end and exits."""
        self._writer.close()
