"""Files that others wrote, read with a word for what is wrong in them.

Owns the folder of data, the bound on a file's size and the check of a number. It knows no file's
fields; `measured_run`, `fidelity` and `curves` do.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ...core.errors import InvalidSettings, InvalidTrace
from ...workload.source import DATA_VARIABLE

MAX_BYTES = 64 << 20


def data_folder(named: str | None, holds: str) -> Path:
    """The folder that `--data` or the environment names. Raises InvalidSettings."""
    folder = named or os.environ.get(DATA_VARIABLE)
    if not folder or not Path(folder).is_dir():
        what = "--data is missing" if not folder else f"--data {folder} is no folder"
        raise InvalidSettings(f"{what}; it names the folder of {holds}.", field="data")
    return Path(folder)


def text_of(path: Path, most_bytes: int = MAX_BYTES) -> str:
    """The file's text. Raises InvalidTrace."""
    try:
        if path.stat().st_size > most_bytes:
            raise InvalidTrace(f"{path.name} is too large.", field="file", limit=f"at most {most_bytes} bytes")
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise InvalidTrace(f"{path.name} cannot be read: {problem.strerror}.", field="file") from None
    except UnicodeDecodeError:
        raise InvalidTrace(f"{path.name} is no text file.", field="file") from None


def object_of(text: str, where: str, field: str) -> dict[str, Any]:
    """A JSON object. Raises InvalidTrace."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidTrace(f"{where}: no JSON.", field=field) from None
    if not isinstance(raw, dict):
        raise InvalidTrace(f"{where}: no object.", field=field)
    return raw


def number(where: str, key: str, value: object, low: float, high: float, limit: str | None = None) -> float:
    """A finite number in [low, high]. Raises InvalidTrace naming `key`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        told = f": {value[:40]!r}" if isinstance(value, str) else ""
        raise InvalidTrace(f"{where}: {key} is missing or no number{told}.", field=key)
    if not low <= value <= high:
        raise InvalidTrace(f"{where}: {key} is {value:g}.", field=key, limit=limit or f"{low:g} to {high:g}")
    return float(value)


def count(where: str, key: str, value: object) -> int:
    """A whole number from 1 to 2^20. Raises InvalidTrace."""
    limit = "whole, 1 to 2^20"
    found = number(where, key, value, 1, 1 << 20, limit)
    if found != int(found):
        raise InvalidTrace(f"{where}: {key} is {found:g}.", field=key, limit=limit)
    return int(found)
