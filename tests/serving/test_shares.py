"""A bound shared by tenants: none can take another's part, and one alone has all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from skipjoin.core.ids import DEFAULT_TENANT, TenantId
from skipjoin.serving.door.shares import Shares

RED, BLUE, GREEN, GONE = (TenantId(name) for name in ("red", "blue", "green", "gone"))


def _fill(shares: Shares, tenant: TenantId) -> int:
    held = 0
    while shares.fits(tenant):
        shares.take(tenant)
        held += 1
    return held


def test_a_single_tenant_has_the_whole_bound() -> None:
    for shares in (Shares(7), Shares(7, [RED])):
        assert _fill(shares, RED) == shares.largest(RED) == 7
        assert not shares.fits(DEFAULT_TENANT)


def test_a_greedy_tenant_leaves_the_others_their_parts() -> None:
    shares = Shares(12, [RED, BLUE, GREEN])
    assert _fill(shares, RED) == shares.largest(RED) == 8
    assert _fill(shares, BLUE) == 2
    assert _fill(shares, GREEN) == 2
    shares.give_back(RED, 3)
    assert _fill(shares, BLUE) == 3


def test_a_tenant_without_a_token_has_only_what_is_common() -> None:
    shares = Shares(12, [RED, BLUE, GREEN])
    assert _fill(shares, GONE) == shares.largest(GONE) == 6
    assert [_fill(shares, tenant) for tenant in (RED, BLUE, GREEN)] == [2, 2, 2]


def test_a_tight_bound_still_has_one_for_each() -> None:
    shares = Shares(3, [RED, BLUE, GREEN])
    assert [_fill(shares, tenant) for tenant in (RED, BLUE, GREEN)] == [1, 1, 1]
    assert _fill(Shares(2, [RED, BLUE, GREEN]), GREEN) == 2


@given(
    limit=st.integers(1, 40),
    steps=st.lists(st.tuples(st.sampled_from([RED, BLUE, GREEN, GONE]), st.integers(-9, 9)), max_size=60),
)
def test_the_bound_holds_and_every_tenant_always_has_its_own_part(
    limit: int, steps: list[tuple[TenantId, int]]
) -> None:
    shares = Shares(limit, [RED, BLUE, GREEN])
    held = dict.fromkeys((RED, BLUE, GREEN, GONE), 0)
    for tenant, amount in steps:
        if amount >= 0 and shares.fits(tenant, amount):
            shares.take(tenant, amount)
            held[tenant] += amount
        elif amount < 0:
            given_back = min(-amount, held[tenant])
            shares.give_back(tenant, given_back)
            held[tenant] -= given_back
        assert shares.total == sum(held.values()) <= limit
        for known in (RED, BLUE, GREEN):
            assert shares.fits(known, max(0, shares.own - held[known]))
