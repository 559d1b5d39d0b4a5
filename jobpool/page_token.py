"""Page tokens that say nothing and grant nothing.

Owns the sealing of a place in a list: bound to the query it came from, unreadable and unforgeable
without the pool's key. It knows no store; every pool seals with it. A token is looked at only
together with the caller's own tenant, so a stolen one opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from ..core.errors import InvalidInput
from ..core.pool import JobQuery

KEY_BYTES = 32
_MAC_BYTES = 16
_PLACE_BYTES = 8


def seal(key: bytes, query: JobQuery, place: int) -> str:
    """The token for going on behind `place` (0 <= place < 2**64) in the answer to `query`."""
    plain = place.to_bytes(_PLACE_BYTES, "big")
    mac = _mac(key, query, plain)
    return base64.urlsafe_b64encode(mac + _mask(key, mac, plain)).decode("ascii").rstrip("=")


def unseal(key: bytes, query: JobQuery) -> int:
    """The place that `query.page_token` means. Raises InvalidInput for a token of another query,
    another pool or nobody.
    """
    token = query.page_token
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        sealed = b""
    mac, masked = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
    if len(masked) == _PLACE_BYTES:
        plain = _mask(key, mac, masked)
        # The second test refuses another spelling of the same bytes.
        if (
            hmac.compare_digest(mac, _mac(key, query, plain))
            and seal(key, query, int.from_bytes(plain, "big")) == token
        ):
            return int.from_bytes(plain, "big")
    raise InvalidInput(
        "page_token is not one that this list gave; ask without it for the first page.", field="page_token"
    )


def _mac(key: bytes, query: JobQuery, plain: bytes) -> bytes:
    scope = repr((query.tenant, sorted(state.value for state in query.states)))
    return hmac.digest(key, b"place:" + plain + scope.encode("utf-8", "surrogatepass"), hashlib.sha256)[:_MAC_BYTES]


def _mask(key: bytes, mac: bytes, text: bytes) -> bytes:
    pad = hmac.digest(key, b"mask:" + mac, hashlib.sha256)
    return bytes(a ^ b for a, b in zip(text, pad, strict=False))
