"""A bound that all tenants share, of which each keeps a part that no other can take.

Owns who holds how much: half of the bound is for all comers, the other half is divided among the
known tenants. It does not know what is counted; the backlog counts jobs with it, the HTTP door open
calls, `payloads.py` bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...core.ids import TenantId


class Shares:
    """Amounts held by tenants under one bound.

    With one tenant, or none known, the whole bound is for all comers. A tenant that is not known
    (its token is gone, its jobs are not) has no part of its own.
    """

    def __init__(self, limit: int, tenants: Iterable[TenantId] = ()) -> None:
        self.limit = limit
        self._known = frozenset(tenants)
        several = len(self._known) > 1
        # A bound so tight that half of it gives some tenant nothing still gives each tenant one,
        # where it has as many.
        at_least = 1 if limit >= len(self._known) else 0
        self.own = max(at_least, limit // (2 * len(self._known))) if several else 0
        self._common = limit - self.own * (len(self._known) if several else 0)
        self._held: dict[TenantId, int] = {}
        self._common_held = 0
        self.total = 0

    def fits(self, tenant: TenantId, amount: int = 1) -> bool:
        """Whether the tenant may hold so much more."""
        held = self._held.get(tenant, 0)
        more = self._beyond(tenant, held + amount) - self._beyond(tenant, held)
        return more == 0 or self._common_held + more <= self._common

    def take(self, tenant: TenantId, amount: int = 1) -> None:
        """Count in; ask `fits` first where the bound shall hold."""
        self._set(tenant, self._held.get(tenant, 0) + amount)

    def give_back(self, tenant: TenantId, amount: int = 1) -> None:
        """Count out."""
        self._set(tenant, max(0, self._held.get(tenant, 0) - amount))

    def largest(self, tenant: TenantId) -> int:
        """What this tenant could hold at most, were it alone."""
        return self._common + (self.own if tenant in self._known else 0)

    def _beyond(self, tenant: TenantId, amount: int) -> int:
        """What of an amount is not covered by the tenant's own part."""
        return max(0, amount - (self.own if tenant in self._known else 0))

    def _set(self, tenant: TenantId, amount: int) -> None:
        before = self._held.pop(tenant, 0)
        if amount:
            self._held[tenant] = amount
        self._common_held += self._beyond(tenant, amount) - self._beyond(tenant, before)
        self.total += amount - before
