"""A number that tells whether a stored row is the one that was written.

Owns the way from a row's values to 32 bits. It knows no table: the row modules say which values in which order. The database offers it to SQL as
`checksum(...)`, so that a statement which changes a row seals it anew.
"""

from __future__ import annotations

import sqlite3
from zlib import crc32

Value = int | float | str | bytes | None


def checksum(*values: Value) -> int:
    """CRC-32 over the values, their kinds and their lengths: no value can pass for a part of its neighbour."""
    crc = 0
    for value in values:
        if isinstance(value, bytes):
            crc = crc32(value, crc32(b"b%d:" % len(value), crc))
        elif value is None:
            crc = crc32(b"n", crc)
        else:
            text = str(value).encode("utf-8", "surrogatepass")
            crc = crc32(text, crc32(b"%c%d:" % (b"s" if isinstance(value, str) else b"i", len(text)), crc))
    return crc


def offer(connection: sqlite3.Connection) -> None:
    """Let statements of this connection call `checksum`."""
    connection.create_function("checksum", -1, checksum, deterministic=True)
