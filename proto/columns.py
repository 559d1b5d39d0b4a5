"""Columns of numbers as raw little-endian bytes.

Owns the four functions between numpy columns and bytes. It knows nothing of what the columns mean;
proto/events and proto/effects use it. Columns that were read are read-only views of the message's
bytes.
"""

from __future__ import annotations

import numpy as np

from ..core.errors import InvariantViolation
from ..core.plan import Int32s, Int64s

_LE32 = np.dtype("<i4")
_LE64 = np.dtype("<i8")


def int32_bytes(column: Int32s) -> bytes:
    """int32[n] as 4n bytes."""
    return column.astype(_LE32, copy=False).tobytes()


def int64_bytes(column: Int64s) -> bytes:
    """int64[n] as 8n bytes."""
    return column.astype(_LE64, copy=False).tobytes()


def int32_column(data: bytes) -> Int32s:
    """4n bytes as int32[n]. Raises InvariantViolation for another length."""
    if len(data) % 4:
        raise InvariantViolation("An int32 column has a broken length.")
    return np.frombuffer(data, dtype=_LE32).astype(np.int32, copy=False)


def int64_column(data: bytes) -> Int64s:
    """8n bytes as int64[n]. Raises InvariantViolation for another length."""
    if len(data) % 8:
        raise InvariantViolation("An int64 column has a broken length.")
    return np.frombuffer(data, dtype=_LE64).astype(np.int64, copy=False)
