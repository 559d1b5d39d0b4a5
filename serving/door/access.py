"""Who may call: tokens and their tenants.

Owns the tokens file and the comparison, in constant time, of what a caller shows with what is
known. It keeps digests only and never says which part was wrong. The gRPC and HTTP doors ask it
once per call.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidSettings, Unauthenticated
from ...core.ids import DEFAULT_TENANT, TenantId

log = logging.getLogger("skipjoin.door")

MAX_TOKEN_CHARS = 512
BY_METADATA = "the metadata authorization: Bearer TOKEN"
BY_HEADER = "the header Authorization: Bearer TOKEN"
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Access:
    """Known tokens as (tenant, SHA-256 digest). None of them: an open door, everybody is the
    default tenant.
    """

    known: tuple[tuple[TenantId, bytes], ...] | None = None

    @property
    def tenants(self) -> frozenset[TenantId]:
        """Who can call."""
        return frozenset({DEFAULT_TENANT} if self.known is None else (tenant for tenant, _ in self.known))

    def tenant(self, authorization: str | None, sent_as: str = BY_METADATA) -> TenantId:
        """The tenant of an `authorization` ("Bearer TOKEN"); `sent_as` tells a caller without one
        how to send it. Raises Unauthenticated.
        """
        if self.known is None:
            return DEFAULT_TENANT
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not 1 <= len(token) <= MAX_TOKEN_CHARS:
            raise Unauthenticated(f"This server needs a token: send {sent_as}.")
        shown = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found: TenantId | None = None
        # Every entry is compared, so that the time tells nothing about which one it was.
        for tenant, digest in self.known:
            if hmac.compare_digest(shown, digest):
                found = tenant
        if found is None:
            log.warning("a call with a token that is not known was refused")
            raise Unauthenticated("The token is not known here.")
        return found


def read_tokens(path: Path | None) -> Access:
    """Access from a tokens file: a line per token, `TENANT SHA256-IN-HEX`, `#` for remarks. Raises
    InvalidSettings naming the line.
    """
    if path is None:
        return Access()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InvalidSettings("The tokens file cannot be read.", field="tokens") from None
    known: list[tuple[TenantId, bytes]] = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not _TENANT.fullmatch(words[0]) or not _DIGEST.fullmatch(words[1].lower()):
            raise InvalidSettings(
                f"Line {number} of the tokens file is not a tenant and a SHA-256 in hex (sha256sum of the token).",
                field="tokens",
            )
        known.append((TenantId(words[0]), bytes.fromhex(words[1])))
    if not known:
        raise InvalidSettings("The tokens file has no token: nobody could call.", field="tokens")
    return Access(tuple(known))
