"""What an engine learned, kept beside the job pool from one life of the server to the next.

Owns the file, its place, and how often it is written. It does not know what is learned: the bytes
are engine/state's, `scheduler.learned` says if they can be read. engine_process loads it once, and
writes it now and then and at the end.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from ...core.errors import InvalidInput
from ...scheduler.lengths.learned import MAX_BYTES, fresh, read, write

PERIOD_NS = 30_000_000_000
SALT_BYTES = 16

_log = logging.getLogger(__name__)


def place_of(pool_path: Path | None) -> Path | None:
    """Beside the job pool's file; nowhere for a pool that is memory."""
    return None if pool_path is None else pool_path.with_name(f"{pool_path.name}.learned")


class LearnedFile:
    """One file, replaced whole. What cannot be read or written is said once in the log and costs
    what was learned, nothing else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._due_ns: int | None = None
        self._refused = False

    def load(self) -> bytes:
        """What an engine begins with: the file's bytes, or nothing learned under a salt of its own."""
        cold = write(fresh(os.urandom(SALT_BYTES)))
        if self._path is None:
            return cold
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            read(data)
        except FileNotFoundError:
            return cold
        except (OSError, InvalidInput) as error:
            why = error.message if isinstance(error, InvalidInput) else error.strerror or "input error"
            _log.warning("Lengths are learned anew: %s cannot be used. %s", self._path.name, why)
            return cold
        return data

    def keep(self, now_ns: int, learned: Callable[[], bytes]) -> None:
        """Write if it is time to."""
        if self._due_ns is None:
            self._due_ns = now_ns + PERIOD_NS
        elif now_ns >= self._due_ns:
            self._due_ns = now_ns + PERIOD_NS
            self.write(learned)

    def write(self, learned: Callable[[], bytes]) -> None:
        """Replace the file: for its owner alone, as a job pool is."""
        if self._path is None:
            return
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with open(beside, "wb", opener=partial(os.open, mode=0o600)) as file:
                file.write(learned())
            os.replace(beside, self._path)
        except OSError as bad:
            with suppress(OSError):
                beside.unlink()
            if not self._refused:
                _log.warning("What was learned cannot be kept: %s", bad.strerror or "output error")
            self._refused = True
