"""Room for slow messages: those that rest longest give it up, first of the connection that has
most, and only to their own tenant.
"""

from __future__ import annotations

import pytest

from skipjoin.core.errors import Overloaded, SkipjoinError
from skipjoin.core.ids import TenantId
from skipjoin.serving.door.payloads import Payload, Payloads
from skipjoin.serving.door.shares import Shares
from skipjoin.serving.grpc.slow_messages import FAIR_S, SlowMessages

RED, BLUE = TenantId("red"), TenantId("blue")


class Room:
    """Places for so many slow messages, and whose call was ended."""

    def __init__(self, places: int, *tenants: TenantId) -> None:
        self.payloads = Payloads(Shares(places * 100, tenants))
        self.heard: list[str] = []
        self.slow = SlowMessages(self.payloads, 100, 2, lambda: self.heard.append("max_slow_messages"))
        self.ended: list[str] = []

    def begin(self, name: str, now_s: float, tenant: TenantId = RED) -> Payload:
        """A slow message `PEER-NUMBER`."""

        def end(why: SkipjoinError) -> None:
            assert isinstance(why, Overloaded)
            self.ended.append(name)

        payload = self.payloads.reserve(tenant)
        self.slow.begin(payload, name.partition("-")[0], end, now_s)
        return payload


def test_a_newcomer_gets_the_room_of_the_one_that_has_had_it_longest_of_the_connection_that_has_most() -> None:
    room = Room(4)
    room.begin("a-1", 0.0)
    room.begin("b-1", 0.1)
    room.begin("b-2", 0.2)
    last = room.begin("c-1", 0.3)
    with pytest.raises(Overloaded):
        room.begin("d-1", 0.9 * FAIR_S)
    room.begin("d-1", FAIR_S + 0.3)
    assert room.ended == ["b-1"]
    room.begin("e-1", FAIR_S + 0.4)
    assert room.ended == ["b-1", "a-1"]
    assert room.payloads.held_bytes == 400
    room.slow.done(last)
    last.release()
    room.begin("f-1", FAIR_S + 0.5)
    assert room.ended == ["b-1", "a-1"]


def test_a_connection_has_few_while_half_of_the_room_is_taken() -> None:
    room = Room(4)
    for number in range(2):
        room.begin(f"a-{number}", 0.0)
    with pytest.raises(Overloaded):
        room.begin("a-2", 5.0)
    assert (room.heard, room.ended) == (["max_slow_messages"], [])


def test_no_tenant_takes_the_room_of_another() -> None:
    room = Room(8, RED, BLUE)
    for number in range(6):
        room.begin(f"{number}-1", 0.0)
    for number in range(2):
        room.begin(f"{number}-2", 0.1, BLUE)
    with pytest.raises(Overloaded):
        room.begin("8-1", FAIR_S / 2, BLUE)
    assert room.ended == []
    room.begin("8-1", 2 * FAIR_S, BLUE)
    assert room.ended == ["0-2"]
