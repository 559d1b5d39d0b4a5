"""Bytes of requests that are being taken in, over all calls of all doors.

Owns the bound on them: a request reserves its bytes before they are read or unpacked, and gives
them back when its job is stored or refused. It reads nothing itself; the HTTP door and the gRPC
servicers reserve.

    with payloads.reserve(tenant, 4096) as payload:
        payload.grow(4096)
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from ...core.errors import Overloaded
from ...core.ids import TenantId
from .shares import Shares

RETRY_AFTER_S = 1.0


class Payloads:
    """The bound. `on_full` hears of every refusal."""

    def __init__(self, shares: Shares, on_full: Callable[[], None] = lambda: None) -> None:
        self._shares = shares
        self._on_full = on_full

    @property
    def held_bytes(self) -> int:
        """Bytes that are reserved now."""
        return self._shares.total

    @property
    def half_full(self) -> bool:
        """Whether half of the bound is taken, or more."""
        return 2 * self._shares.total >= self._shares.limit

    def fits(self, tenant: TenantId, nbytes: int) -> bool:
        """Whether there is room for so many more bytes of a tenant."""
        return self._shares.fits(tenant, nbytes)

    def refusal(self) -> Overloaded:
        """What is said to a request for which there is no room; it is counted."""
        self._on_full()
        return Overloaded(
            "The server is taking in as many bytes of requests as it can hold.",
            retry_after_s=RETRY_AFTER_S,
            limit=f"{self._shares.limit} bytes",
        )

    def reserve(self, tenant: TenantId, nbytes: int = 0) -> Payload:
        """Bytes of one request, to be released when it is stored or refused. Raises Overloaded when
        there is no room.
        """
        payload = Payload(self, tenant)
        payload.grow(nbytes)
        return payload

    def _take(self, tenant: TenantId, nbytes: int) -> None:
        if not self._shares.fits(tenant, nbytes):
            raise self.refusal()
        self._shares.take(tenant, nbytes)

    def _give_back(self, tenant: TenantId, nbytes: int) -> None:
        self._shares.give_back(tenant, nbytes)


class Payload:
    """Reserved bytes of one request. A `with` block, or `release`, gives them back, once."""

    def __init__(self, payloads: Payloads, tenant: TenantId) -> None:
        self._payloads = payloads
        self.tenant = tenant
        self.nbytes = 0

    def grow(self, nbytes: int) -> None:
        """Reserve more. Raises Overloaded; what was reserved before is kept until it is released."""
        self._payloads._take(self.tenant, nbytes)
        self.nbytes += nbytes

    def release(self) -> None:
        """Give everything back."""
        nbytes, self.nbytes = self.nbytes, 0
        self._payloads._give_back(self.tenant, nbytes)

    def __enter__(self) -> Payload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
