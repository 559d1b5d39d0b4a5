"""The pool, looked through: what has expired there, what is old, and what it holds.

Owns the sweep. Jobs that end by it give their places back, and their streams hear of it. It decides
no deadline of a claimed job; `deadlines.py` does. The door runs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from ...core.clock import unix_ns
from ...core.errors import SkipjoinError, StoreUnavailable
from ...core.ids import JobId
from .claims import Claims
from .open_jobs import OpenJobs
from .store import Store
from .streams import Streams

log = logging.getLogger("skipjoin.door")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Looks every `every_s` seconds; ended jobs are kept for `retention_s`."""

    store: Store
    streams: Streams
    open_jobs: OpenJobs
    claims: Claims
    every_s: float
    retention_s: float

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self.expire()
                await self.set_right()
            except StoreUnavailable:
                pass  # The store says so itself.
            except SkipjoinError as error:
                log.warning("the sweep failed and will be tried again: %s", error)

    async def expire(self) -> None:
        """End what waits in the pool and is past its deadline, and forget what is old. Raises
        StoreUnavailable.
        """
        keep_ns = int(self.retention_s * 1e9)
        touched = True
        while touched:  # A call touches a bounded number, so that commits get in between.
            swept = await self.store.call(lambda pool: pool.sweep(unix_ns(), keep_ns))
            self._ended(swept.expired)
            touched = swept.touched > 0

    async def set_right(self) -> None:
        """Count the places anew. Raises StoreUnavailable, DataLoss."""
        self.open_jobs.begin_count()
        unfinished = await self.store.scan(lambda reader: reader.unfinished())
        self._ended(self.open_jobs.counted(unfinished))
        self.claims.kick()

    def _ended(self, jobs: Iterable[JobId]) -> None:
        for job_id in jobs:
            self.open_jobs.ended(job_id)
            self.streams.tell(job_id)
