"""The channels of one client: further ones to the same server before one is full.

Owns which channel a call goes over. A server takes a bounded number of calls from a connection, and
what gRPC holds back for that waits in the client in silence. It makes no call and does not know how
a channel is opened. Both clients use it, `Client` from any threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

FULL = 80
"""With so many calls a channel counts as full: HTTP/2 wants 100 allowed (RFC 9113, 6.5.2), and a
server hears of an end later than its client.
"""
MOST = 64
"""Channels to one server at most. When all are full, a call goes where the fewest are, and the
server may refuse it.
"""

C = TypeVar("C")


class Channels(Generic[C]):
    """Channels by target, opened by `open_` when they are needed."""

    def __init__(self, open_: Callable[[str], C]) -> None:
        self._open = open_
        self._lock = threading.Lock()
        self._of: dict[str, list[_Counted[C]]] = {}

    @contextmanager
    def to(self, target: str) -> Iterator[C]:
        """A channel for one call, which counts until the block ends."""
        with self._lock:
            counted = self._least(target)
            counted.calls += 1
        try:
            yield counted.channel
        finally:
            with self._lock:
                counted.calls -= 1

    def drain(self) -> list[C]:
        """All channels, to be closed; later calls open new ones."""
        with self._lock:
            taken, self._of = self._of, {}
        return [counted.channel for listed in taken.values() for counted in listed]

    def _least(self, target: str) -> _Counted[C]:
        """The first channel with room, else a new one, else that with the fewest calls."""
        listed = self._of.setdefault(target, [])
        for counted in listed:
            if counted.calls < FULL:
                return counted
        if len(listed) == MOST:
            return min(listed, key=lambda counted: counted.calls)
        listed.append(_Counted(self._open(target)))
        return listed[-1]


class _Counted(Generic[C]):
    """A channel and how many calls are on it."""

    def __init__(self, channel: C) -> None:
        self.channel = channel
        self.calls = 0
