"""Log-probabilities as bytes beside the tokens.

Owns the encoding: per token one byte (255: none; else the number of alternatives), then
little-endian doubles and int32 ids. It knows no table; the token log writes and reads with it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ..core.errors import InvariantViolation
from ..core.logprobs import TokenLogprobs

_NONE = 255
_HEAD = struct.Struct("<Bd")
_ALTERNATIVE = struct.Struct("<id")


def encode(entries: Iterable[TokenLogprobs | None]) -> bytes:
    """The bytes of one entry a token. Raises InvariantViolation for more than 254 alternatives."""
    out = bytearray()
    for entry in entries:
        if entry is None:
            out.append(_NONE)
            continue
        if len(entry.top) >= _NONE:
            raise InvariantViolation("A token has too many log-probabilities to be stored.")
        out += _HEAD.pack(len(entry.top), entry.chosen)
        for token, value in entry.top:
            out += _ALTERNATIVE.pack(token, value)
    return bytes(out)


def decode(data: bytes) -> list[TokenLogprobs | None]:
    """What `encode` wrote. Raises InvariantViolation for other bytes."""
    entries: list[TokenLogprobs | None] = []
    at = 0
    try:
        while at < len(data):
            if data[at] == _NONE:
                entries.append(None)
                at += 1
                continue
            count, chosen = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            end = at + count * _ALTERNATIVE.size
            entries.append(TokenLogprobs(chosen, tuple(_ALTERNATIVE.iter_unpack(data[at:end]))))
            if end > len(data):
                raise struct.error
            at = end
    except struct.error as error:
        raise InvariantViolation("Stored log-probabilities cannot be read.") from error
    return entries
