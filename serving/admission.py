"""Which calls the gRPC door takes in, and which it refuses before it has read them.

Owns the bound on open calls over all connections, and the order to refuse while the door is behind with its work: a call that is refused at once
costs a fraction of one that waits. It knows no method and no message. `rpc.py` asks it with a call's headers at hand; clients are told when to
come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.errors import OPEN_CALLS, Overloaded

SPARE = 8
"""One place in eight more is there for connections that hold none: one client alone cannot shut the others out."""

FEW = 2
"""Unanswered calls that a connection may have while the door is behind: a client that asks one thing at a time is served whatever others do."""


class Admission:
    """Places for calls. `wait_ns` says how long a call that comes now will wait, given the unanswered ones: beyond `max_wait_ms` the door is behind.

    `on_full` hears of every refusal, by the setting that bound.
    """

    def __init__(
        self,
        max_calls: int,
        max_wait_ms: float = 0.0,
        wait_ns: Callable[[int], int] = lambda unanswered: 0,
        on_full: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._max_calls = max_calls
        self._max_wait_ns = max_wait_ms * 1e6
        self._most = max_calls + max(1, max_calls // SPARE)
        self._wait_ns = wait_ns
        self._on_full = on_full
        self._held: Counter[str] = Counter()
        self._begun: Counter[str] = Counter()
        self.open = 0
        self.unanswered = 0

    @contextmanager
    def place(self, peer: str) -> Iterator[Place]:
        """A place for one call of a connection, until the block ends. Raises Overloaded when there is none."""
        self._check(peer)
        place = Place(self, peer)
        self.open += 1
        self.unanswered += 1
        self._held[peer] += 1
        self._begun[peer] += 1
        try:
            yield place
        finally:
            place.answered()
            self.open -= 1
            _one_less(self._held, peer)

    def _check(self, peer: str) -> None:
        if self.open >= (self._max_calls if self._held[peer] else self._most):
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
            _one_less(self._admission._begun, self._peer)


def _one_less(counter: Counter[str], peer: str) -> None:
    counter[peer] -= 1
    if counter[peer] <= 0:
        del counter[peer]
