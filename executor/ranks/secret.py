"""What ranks of several machines prove to each other before they say anything else.

Owns the shared secret and both proofs: HMAC-SHA256 over the nonces of both ends, so that neither
can be replayed and each end proves itself by another text. It knows no socket. Rank 0's `arrivals`
and the other ranks' `joining` ask it.
"""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

from ...core.errors import InvalidSettings

NONCE_BYTES = 32
LARGEST_UNPROVEN_BYTES = 512
"""Of a frame from somebody who has proven nothing."""
ANOTHER_SECRET = "its ranks_secret is another one. Give all ranks the same file"
"""Rank 0's word to a rank without the secret: one that hears nothing comes again."""
SHORTEST_BYTES = 16
_LARGEST_FILE_BYTES = 4096
_OF_RANK = b"skipjoin: a rank has the secret"
_OF_LEADER = b"skipjoin: rank 0 has the secret"


class Secret:
    """A key; it shows itself to nobody."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of_rank(self, challenge: bytes, nonce: bytes, rank: int, world: int) -> bytes:
        """The proof of rank `rank` of `world`."""
        return self._over(_OF_RANK, challenge, nonce, rank, world)

    def of_leader(self, challenge: bytes, nonce: bytes, rank: int, world: int) -> bytes:
        """Rank 0's proof to that rank."""
        return self._over(_OF_LEADER, challenge, nonce, rank, world)

    def _over(self, who: bytes, challenge: bytes, nonce: bytes, rank: int, world: int) -> bytes:
        text = b"|".join((who, challenge.hex().encode(), nonce.hex().encode(), b"%d of %d" % (rank, world)))
        return hmac.digest(self._key, text, "sha256")


def new_nonce() -> bytes:
    """Bytes that nobody has seen."""
    return secrets.token_bytes(NONCE_BYTES)


def proven(shown: bytes, wanted: bytes) -> bool:
    """Whether the proof is right; takes as long for a wrong one."""
    return hmac.compare_digest(shown, wanted)


def read_secret(path: Path | None) -> Secret:
    """The secret in a file, without spaces and line ends around it. Raises InvalidSettings."""
    if path is None:
        raise InvalidSettings(
            "Ranks of several machines need a secret: a file with the same content on each.", field="ranks_secret"
        )
    try:
        with path.open("rb") as file:
            key = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidSettings(
            f"The file of the ranks' secret cannot be read: {error.strerror}.", field="ranks_secret"
        ) from None
    if len(key) > _LARGEST_FILE_BYTES or len(key.strip()) < SHORTEST_BYTES:
        raise InvalidSettings(
            "The file of the ranks' secret holds no secret; `openssl rand -hex 32` makes one.",
            field="ranks_secret",
            limit=f"{SHORTEST_BYTES}..{_LARGEST_FILE_BYTES} bytes",
        )
    return Secret(key.strip())
