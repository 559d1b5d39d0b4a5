"""Which pool a setting means.

Owns the table from the word before the colon to what opens that pool. It does not know how one
works; wiring and the bench call it. Another store adds its line here and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.errors import InvalidSettings
from ..core.jobpool import JobPool


def _memory(rest: str) -> JobPool:
    from .memory import MemoryJobPool

    if rest:
        raise InvalidSettings("The memory pool takes nothing behind its name.", field="job_pool")
    return MemoryJobPool()


def _sqlite(rest: str) -> JobPool:
    from .sqlite import SqliteJobPool

    if not rest:
        raise InvalidSettings("sqlite needs a file: sqlite:PATH.", field="job_pool")
    return SqliteJobPool(Path(rest))


OPENERS: dict[str, Callable[[str], JobPool]] = {"memory": _memory, "sqlite": _sqlite}


def open_pool(setting: str) -> JobPool:
    """The pool that "memory" or "sqlite:PATH" names, to be used from the calling thread only.

    Raises InvalidSettings for another word or a file that cannot be a job pool, StoreUnavailable
    when another server has it or the disk is full.
    """
    name, _, rest = setting.partition(":")
    opener = OPENERS.get(name)
    if opener is None:
        raise InvalidSettings(f"There is no job pool {name[:40]!r}.", field="job_pool", limit="memory or sqlite:PATH")
    return opener(rest)
