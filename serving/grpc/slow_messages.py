"""Room for gRPC messages that are slow or long.

Owns who of them has room, and who gives it up. How much of a message has come is not known before
it is there whole, so each needs room for the largest. Where there is no room, a newcomer gets that
of the one of its tenant that has had it for longest, first of the connection that has most: eight
connections that announce messages and send none keep a tenant's others out for a second and not
until their time is over. Between tenants `payloads.py` shares. It reads nothing; `messages.py`
does, on the event loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ...core.errors import SkipjoinError
from ..door.payloads import Payload, Payloads

FAIR_S = 1.0
"""A slow message keeps its room for so long at least."""


@dataclass(frozen=True, slots=True, eq=False)
class _Slow:
    """A slow message that has room; `end` ends its call."""

    peer: str
    since_s: float
    end: Callable[[SkipjoinError], None]


class SlowMessages:
    """Those that have room, `nbytes` each. A connection has `most` of them while half of the room
    is taken; `on_full` hears of that refusal.
    """

    def __init__(self, payloads: Payloads, nbytes: int, most: int, on_full: Callable[[], None] = lambda: None) -> None:
        self._payloads = payloads
        self._nbytes = nbytes
        self._most = most
        self._on_full = on_full
        self._of_peer: Counter[str] = Counter()
        self._slow: dict[Payload, _Slow] = {}  # in the order of their coming

    def begin(self, payload: Payload, peer: str, end: Callable[[SkipjoinError], None], now_s: float) -> None:
        """Room for a message that is not there at once; `end` may be called until `done` is. Raises
        Overloaded.
        """
        if self._of_peer[peer] >= self._most and self._payloads.half_full:
            self._on_full()
            raise self._payloads.refusal()
        if not self._payloads.fits(payload.tenant, self._nbytes):
            self._make_room(payload, now_s)
        payload.grow(self._nbytes)
        self._slow[payload] = _Slow(peer, now_s, end)
        self._of_peer[peer] += 1

    def done(self, payload: Payload) -> None:
        """The message is there, or will not come any more; what never had room is done as well."""
        slow = self._slow.pop(payload, None)
        if slow is not None:
            self._of_peer[slow.peer] -= 1
            if not self._of_peer[slow.peer]:
                del self._of_peer[slow.peer]

    def _make_room(self, newcomer: Payload, now_s: float) -> None:
        last: tuple[int, float] | None = None
        given_up: Payload | None = None
        for payload, slow in self._slow.items():
            had_s = now_s - slow.since_s
            rank = (self._of_peer[slow.peer], had_s)
            if payload.tenant == newcomer.tenant and had_s >= FAIR_S and (last is None or rank > last):
                last, given_up = rank, payload
        if given_up is not None:
            slow = self._slow[given_up]
            self.done(given_up)
            given_up.release()
            slow.end(self._payloads.refusal())
