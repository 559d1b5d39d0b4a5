"""A socket between rank 0 and another rank.

Owns whole frames over a stream socket: sent at once, received with a bound on the wait. It knows
no plan. `leading` and `following` hold one end each.
"""

from __future__ import annotations

import select
import socket

from ...proto.frames import MAX_FRAME_BYTES, FrameReader, framed
from .addresses import LOOPBACK, prompt

_READ_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 22


class ChannelClosed(Exception):
    """The other end is gone."""


class Channel:
    """One end; it owns the socket."""

    def __init__(self, end: socket.socket, largest: int = MAX_FRAME_BYTES) -> None:
        """`largest`: bytes of a frame that is received."""
        end.setblocking(True)
        if end.family != socket.AF_UNIX:
            prompt(end)
        self._socket = end
        self._reader = FrameReader(largest)
        self._frames: list[bytes] = []
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)
        self._room = select.poll()
        self._room.register(end, select.POLLOUT)

    def fileno(self) -> int:
        """The socket's number, for whoever waits for several."""
        return self._socket.fileno()

    def send(self, message: bytes) -> None:
        """Send one frame; waits while the other end does not read. Raises ChannelClosed."""
        try:
            self._socket.sendall(framed(message))
        except OSError as error:
            raise ChannelClosed(str(error)) from None

    def offer(self, message: bytes) -> bool:
        """Send one short frame if there is room for it now; whether there was. Raises
        ChannelClosed.
        """
        if not self._room.poll(0):
            return False
        self.send(message)
        return True

    def receive(self, timeout_ns: int | None) -> bytes | None:
        """The next frame, waiting at most `timeout_ns` (None: for ever); None on time-out. Raises
        ChannelClosed at the end of the stream.
        """
        while not self._frames:
            if not self._poll.poll(None if timeout_ns is None else max(0, -(-timeout_ns // 1_000_000))):
                return None
            try:
                data = self._socket.recv(_READ_BYTES)
            except OSError as error:
                raise ChannelClosed(str(error)) from None
            if not data:
                raise ChannelClosed("The other end closed the channel.")
            self._frames = self._reader.feed(data)
        return self._frames.pop(0)

    @property
    def own_address(self) -> str:
        """The address of this machine by which the other end is reached."""
        return LOOPBACK if self._socket.family == socket.AF_UNIX else str(self._socket.getsockname()[0])

    def let_go(self) -> socket.socket:
        """The socket, which the caller owns from now on."""
        return self._socket

    def close(self) -> None:
        """Close; the other end reads the end. Idempotent."""
        self._socket.close()


def channel_pair() -> tuple[Channel, socket.socket]:
    """(rank 0's end, the other rank's end) of a new channel."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return Channel(here), there
