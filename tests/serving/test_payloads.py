"""The bound on bytes being taken in: reserved, grown, given back once, and refused with a hint."""

from __future__ import annotations

import pytest

from skipjoin.core.errors import Overloaded
from skipjoin.core.ids import DEFAULT_TENANT, TenantId
from skipjoin.serving.door.payloads import Payloads
from skipjoin.serving.door.shares import Shares

RED, BLUE = TenantId("red"), TenantId("blue")


def test_bytes_are_held_as_long_as_their_request_is_taken_in() -> None:
    payloads = Payloads(Shares(100))
    with payloads.reserve(DEFAULT_TENANT, 60) as payload:
        payload.grow(40)
        assert payloads.held_bytes == payload.nbytes == 100
    assert payloads.held_bytes == 0
    payload.release()
    assert payloads.held_bytes == 0


def test_what_has_no_room_is_refused_with_a_hint_and_counted() -> None:
    refused: list[bool] = []
    payloads = Payloads(Shares(100), lambda: refused.append(True))
    held = payloads.reserve(DEFAULT_TENANT, 70)
    with pytest.raises(Overloaded) as error, payloads.reserve(DEFAULT_TENANT, 20) as second:
        second.grow(20)
    assert (error.value.limit, error.value.retry_after_s) == ("100 bytes", 1.0)
    assert payloads.held_bytes == 70
    assert refused == [True]
    held.release()
    payloads.reserve(DEFAULT_TENANT, 100).release()


def test_a_tenant_leaves_others_room() -> None:
    payloads = Payloads(Shares(100, [RED, BLUE]))
    payloads.reserve(RED, 75)
    with pytest.raises(Overloaded):
        payloads.reserve(RED, 1)
    payloads.reserve(BLUE, 25)
