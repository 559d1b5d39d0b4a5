"""Which calls the gRPC door takes in, and which it refuses before it has read them.

Owns the bound on open calls over all connections, which the tenants share as they share every
bound, and the order to refuse while the door is behind with its work: a call that is refused at
once costs a fraction of one that waits. It knows no method and no message. `rpc.py` asks it with a
call's headers at hand; clients are told when to come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ...core.errors import OPEN_CALLS, Overloaded
from ...core.ids import DEFAULT_TENANT, TenantId
from ..door.shares import Shares

SPARE = 8
"""One place in eight more is there for connections that hold none: one connection alone cannot shut
the others out.
"""

FEW = 2
"""Unanswered calls that a connection may have while the door is behind: a client that asks one
thing at a time is served whatever others do.
"""


class Admission:
    """Places for calls. `wait_ns` says how long a call that comes now will wait, given the
    unanswered ones: beyond `max_wait_ms` the door is behind.

    One connection has `max_connection_calls` open at most. `on_full` hears of every refusal, by the
    setting that bound.
    """

    def __init__(
        self,
        max_calls: int,
        max_wait_ms: float = 0.0,
        wait_ns: Callable[[int], int] = lambda unanswered: 0,
        on_full: Callable[[str], None] = lambda _: None,
        tenants: Iterable[TenantId] = (),
        max_connection_calls: int | None = None,
    ) -> None:
        self._max_calls = max_calls
        self._max_connection_calls = max_connection_calls
        self._max_wait_ns = max_wait_ms * 1e6
        self._shares = Shares(max_calls, tenants)
        self._spare = max(1, max_calls // SPARE)
        self._wait_ns = wait_ns
        self._on_full = on_full
        self._held: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self.open = 0
        self.unanswered = 0

    @contextmanager
    def place(self, peer: str, tenant: TenantId = DEFAULT_TENANT) -> Iterator[Place]:
        """A place for one call of a tenant's connection, until the block ends. Raises Overloaded
        when there is none.
        """
        shared = self._check(peer, tenant)
        place = Place(self, peer)
        if shared:
            self._shares.take(tenant)
        else:
            self._spare -= 1
        self.open += 1
        self.unanswered += 1
        self._held[peer] += 1
        self._begun[peer] += 1
        try:
            yield place
        finally:
            place.answered()
            if shared:
                self._shares.give_back(tenant)
            else:
                self._spare += 1
            self.open -= 1
            one_less(self._held, peer)

    def _check(self, peer: str, tenant: TenantId) -> bool:
        """Whether the place is one of those that are shared, or a spare one. Raises Overloaded."""
        if self._max_connection_calls is not None and self._held[peer] >= self._max_connection_calls:
            self._on_full("max_connection_calls")
            raise Overloaded(
                "This connection has as many calls open as one may have; open another one.",
                retry_after_s=1.0,
                field=OPEN_CALLS,
                limit=f"{self._max_connection_calls} calls of a connection",
            )
        shared = self._shares.fits(tenant)
        if not shared and (self._held[peer] or not self._spare):
            self._on_full("max_streams")
            raise Overloaded(
                "Too many calls are open at this server.",
                retry_after_s=1.0,
                field=OPEN_CALLS,
                limit=f"{self._max_calls} calls",
            )
        if self._begun[peer] >= FEW and self._wait_ns(self.unanswered) > self._max_wait_ns:
            self._on_full("max_call_wait_ms")
            raise Overloaded(
                "The server is behind with the calls it has.",
                retry_after_s=0.5,
                field=OPEN_CALLS,
                limit=f"{FEW} unanswered calls of a connection meanwhile",
            )
        return shared


class Place:
    """A call's place."""

    def __init__(self, admission: Admission, peer: str) -> None:
        self._admission = admission
        self._peer = peer
        self._answered = False

    def answered(self) -> None:
        """The call is answered, or is a stream that only waits for its job from now on."""
        if not self._answered:
            self._answered = True
            self._admission.unanswered -= 1
            one_less(self._admission._begun, self._peer)


def one_less(counter: Counter[str], peer: str) -> None:
    """Count one of a connection out; it leaves nothing behind."""
    counter[peer] -= 1
    if counter[peer] <= 0:
        del counter[peer]
