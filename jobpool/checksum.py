"""A number that tells whether a stored row is the one that was written.

Owns the way from a row's values to 32 bits. It knows no table: the row modules say which values in
which order. The database offers it to SQL as `checksum(...)`, so that a statement which changes a
row seals it anew.
"""

from __future__ import annotations

import sqlite3
from zlib import crc32

Value = int | str | bytes | None


def checksum(*values: Value) -> int:
    """CRC-32 of the values as Python spells them in ASCII, bytes by their length and CRC-32: no
    value can pass for a part of its neighbour.
    """
    plain = [(len(value), crc32(value)) if type(value) is bytes else value for value in values]
    return crc32(ascii(plain).encode("ascii"))


def offer(connection: sqlite3.Connection) -> None:
    """Let statements of this connection call `checksum`."""
    connection.create_function("checksum", -1, checksum, deterministic=True)
