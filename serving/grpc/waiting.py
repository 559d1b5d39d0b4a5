"""How many calls gRPC holds that it has not handed over yet.

Owns that count. gRPC's asyncio server takes in one call at a time, in the order of their arrival
and whoever sent them, so a client that sends two thousand at once is in front of everybody, and
nothing in the server's own code can see them wait. gRPC's channelz counts the calls that have
arrived; what was handed over is counted here. It refuses nothing; `admission.py` asks. channelz is
reached through gRPC's own module: a version of gRPC that answers otherwise is logged once, and
nothing is known to wait from then on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from ...core.clock import Clock

log = logging.getLogger("skipjoin.door")

LOOK_EVERY = 16
FIRST_GUESS_NS = 1_000_000
SLOWEST_NS = 5_000_000
SUSPECT = 32
"""So many that wait, though the event loop had time to rest, were broken off before they were
handed over. Fewer must be the same at two rests.
"""


class Waiting:
    """Counts the calls of one server.

    `arrived` says how many have come since its start, `rested` whether the event loop had nothing
    to do since it was last asked.
    """

    def __init__(self, arrived: Callable[[], int], rested: Callable[[], bool], clock: Clock) -> None:
        self._arrived = arrived
        self._rested = rested
        self._clock = clock
        self._handed_over = 0
        self._known_arrived = 0
        self._looked_ns = clock.now_ns()
        self._each_ns = FIRST_GUESS_NS
        self._left_at_rest: int | None = None

    def handed_over(self) -> None:
        """gRPC has handed over one call."""
        self._handed_over += 1
        if self._handed_over % LOOK_EVERY == 0:
            self._look()

    def count(self) -> int:
        """Calls that wait, as far as is known: of those that came since the last look nothing is."""
        return max(0, self._known_arrived - self._handed_over)

    def wait_ns(self, unanswered: int = 0) -> int:
        """How long a call that comes now will wait behind those and `unanswered` ones that were
        handed over, at the pace of the last ones.
        """
        return (self.count() + unanswered) * self._each_ns

    def _look(self) -> None:
        now_ns = self._clock.now_ns()
        between_ns = (now_ns - self._looked_ns) // LOOK_EVERY
        if self.count():  # one came behind the other, so the time between them is the server's and not the clients'
            self._each_ns = min(between_ns, SLOWEST_NS)
        else:
            self._each_ns = min(self._each_ns, max(between_ns, FIRST_GUESS_NS))
        self._looked_ns = now_ns
        self._known_arrived = self._arrived()
        # More cannot have been handed over than arrived: calls that were forgotten below did wait.
        self._handed_over = min(self._handed_over, self._known_arrived)
        rested, left = self._rested(), self.count()
        # Calls that wait come to an end when the loop has time: as many as at its last rest are
        # none that wait.
        if rested and (left >= SUSPECT or left == self._left_at_rest):
            self._handed_over = self._known_arrived
        self._left_at_rest = left if rested else None


def newest_server() -> int | None:
    """The number by which channelz knows the server that was made last in this process; None, and a
    warning, where channelz does not say.
    """
    number, more = 0, True
    try:
        while more:
            answer = _servers_from(number + 1)
            numbers = [int(server["ref"]["serverId"]) for server in answer.get("server", [])]
            more = bool(numbers) and max(numbers) > number and not answer.get("end", False)
            number = max(number, *numbers) if numbers else number
    except _NOT_UNDERSTOOD as error:
        _warn(error)
        return None
    return number


def arrivals(number: int | None) -> Callable[[], int]:
    """What says how many calls have come to a server; always 0 from when channelz does not say, and
    for no number.
    """
    known = number is not None

    def arrived() -> int:
        nonlocal known
        if not known or number is None:
            return 0
        try:
            servers = _servers_from(number).get("server", [])
            return int(servers[0]["data"].get("callsStarted", 0)) if servers else 0
        except _NOT_UNDERSTOOD as error:
            known = False
            _warn(error)
            return 0

    return arrived


_NOT_UNDERSTOOD = (ImportError, AttributeError, TypeError, ValueError, LookupError)


def _servers_from(number: int) -> Any:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]  # as grpcio-channelz, which adds messages to it

    return json.loads(cygrpc.channelz_get_servers(number))


def _warn(error: Exception) -> None:
    log.warning(
        "this version of gRPC does not say how many calls have come (%s): max_call_wait_ms has no effect",
        type(error).__name__,
    )
