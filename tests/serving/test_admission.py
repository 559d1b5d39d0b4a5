"""Places for calls: how many there are, who gets the last ones, and who is refused while the door
is behind.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from skipjoin.core.errors import OPEN_CALLS, Overloaded
from skipjoin.core.ids import TenantId
from skipjoin.serving.grpc.admission import FEW, Admission


def test_one_connection_cannot_shut_the_others_out() -> None:
    heard: list[str] = []
    admission = Admission(16, on_full=heard.append)
    with ExitStack() as held:
        for _ in range(16):
            held.enter_context(admission.place("flood"))
        with pytest.raises(Overloaded, match="Too many calls") as refused, admission.place("flood"):
            pass
        assert (refused.value.field, refused.value.limit) == (OPEN_CALLS, "16 calls")
        assert refused.value.retry_after_s > 0
        for other in ("a", "b"):
            held.enter_context(admission.place(other))
        for other in ("a", "c"):  # one place in eight more is there, and each has one of them at most
            with pytest.raises(Overloaded), admission.place(other):
                pass
        assert admission.open == 18
        assert heard == ["max_streams"] * 3
    assert admission.open == 0
    with admission.place("flood"):
        assert admission.open == 1


def test_one_tenant_with_many_connections_cannot_shut_the_others_out() -> None:
    red, blue = TenantId("red"), TenantId("blue")
    admission = Admission(16, tenants=(red, blue))
    with ExitStack() as held:
        for number in range(12 + 2):  # all but the four of the other, and the two spare ones
            held.enter_context(admission.place(f"red {number}", red))
        with pytest.raises(Overloaded, match="Too many calls"), admission.place("red 14", red):
            pass
        for number in range(4):
            held.enter_context(admission.place(f"blue {number % 2}", blue))
        with pytest.raises(Overloaded), admission.place("blue 9", blue):
            pass
    assert admission.open == 0
    with ExitStack() as held:
        for _ in range(12):
            held.enter_context(admission.place("blue", blue))
        with pytest.raises(Overloaded), admission.place("blue", blue):
            pass


def test_while_the_door_is_behind_a_connection_has_a_few_calls_and_the_rest_is_refused() -> None:
    wait_ms, heard = 0.0, list[str]()
    admission = Admission(100, 150.0, lambda unanswered: int(wait_ms * 1e6), heard.append)
    with ExitStack() as held:
        places = [held.enter_context(admission.place("flood")) for _ in range(10)]
        wait_ms = 151.0
        with pytest.raises(Overloaded, match="is behind") as refused, admission.place("flood"):
            pass
        assert refused.value.field == OPEN_CALLS
        assert heard == ["max_call_wait_ms"]
        for _ in range(FEW):
            held.enter_context(admission.place("one at a time"))
        with pytest.raises(Overloaded), admission.place("one at a time"):
            pass
        # Streams that only wait for their jobs make no work.
        for place in places[: 10 - FEW + 1]:
            place.answered()
            place.answered()
        held.enter_context(admission.place("flood"))
        wait_ms = 149.0
        held.enter_context(admission.place("flood"))
    assert admission.open == 0


def test_a_connection_has_its_own_bound_and_another_connection_is_served() -> None:
    heard: list[str] = []
    admission = Admission(16, on_full=heard.append, max_connection_calls=4)
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(admission.place("many")).answered()
        with pytest.raises(Overloaded, match="open another one") as refused, admission.place("many"):
            pass
        assert (refused.value.field, refused.value.limit) == ("calls", "4 calls of a connection")
        with admission.place("other"):
            pass
    with admission.place("many"):
        pass
    assert heard == ["max_connection_calls"]
