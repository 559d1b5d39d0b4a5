"""`skipjoin bench pool`: how many submits and token-log commits a second a job pool takes.

Owns the load on a pool: submits one at a time and many in flight, through the door's own group
commit, and commits of one token for each job of a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...console.json_flag import add_json_flag
from ...core.asked import Asked
from ...core.clock import Clock, MonotonicClock, unix_ns
from ...core.errors import InvalidSettings
from ...core.ids import DEFAULT_TENANT, JobId
from ...core.pool import LogBatch, LogEntry, NewJob
from ...core.sampling import SamplingParams
from ...jobpool.registry import open_pool
from ...serving.door.store import Store
from ..flags import Flags, check_bounds
from ..json_file import write_json
from ..table import grid

NS = 1e9
IN_FLIGHT = 64
PROMPT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """Operations a second. A commit holds one token of each of `batch` jobs."""

    pool: str
    durable: bool
    submits_alone_per_s: float
    submits_per_s: float
    in_flight: int
    commits_per_s: float
    batch: int

    @property
    def tokens_per_s(self) -> float:
        """Tokens that the log takes."""
        return self.commits_per_s * self.batch


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `bench pool`."""
    flags = Flags(parser)
    flags.value("seconds", "S", "per figure", 5.0)
    flags.value("dir", "DIR", "where the durable pool is made (default: a temporary folder)")
    add_json_flag(parser, "the figures")


def run(args: argparse.Namespace) -> int:
    """A durable pool in a folder of its own and one in memory. Raises InvalidSettings,
    StoreUnavailable.
    """
    check_bounds(args, seconds=(0.1, 3600))
    if args.dir is not None and not Path(args.dir).is_dir():
        raise InvalidSettings(f"{args.dir} is no folder.", field="dir")
    with tempfile.TemporaryDirectory(prefix="skipjoin-bench-", dir=args.dir) as folder:
        settings = (f"sqlite:{Path(folder) / 'jobs.sqlite'}", "memory")
        figures = [asyncio.run(measure_pool(setting, MonotonicClock(), args.seconds)) for setting in settings]
    print(pool_table(figures), end="")
    write_json(args.json, {"pools": [asdict(one) | {"tokens_per_s": one.tokens_per_s} for one in figures]})
    return 0


def pool_table(figures: Sequence[PoolFigures]) -> str:
    """Job pools side by side."""
    first = figures[0]
    rows: list[tuple[str, list[float]]] = [
        ("submits a second, 1 in flight", [one.submits_alone_per_s for one in figures]),
        (f"submits a second, {first.in_flight} in flight", [one.submits_per_s for one in figures]),
        (f"commits a second, {first.batch} jobs each", [one.commits_per_s for one in figures]),
        ("tokens logged a second", [one.tokens_per_s for one in figures]),
    ]
    head = ["", *(f"{one.pool}{'' if one.durable else ' (not durable)'}" for one in figures)]
    return grid([head, *([name, *(f"{value:,.0f}" for value in values)] for name, values in rows)])


async def measure_pool(setting: str, clock: Clock, seconds: float, batch: int = IN_FLIGHT) -> PoolFigures:
    """Of the pool that `setting` opens. Raises StoreUnavailable, InvalidSettings."""
    store = await Store.open(lambda: open_pool(setting))
    numbers = iter(range(10**9))

    async def submit_until(end_ns: int) -> int:
        done = 0
        while clock.now_ns() < end_ns:
            await store.submit(_job(next(numbers)))
            done += 1
        return done

    try:
        alone = await _rate(clock, seconds, submit_until, 1)
        together = await _rate(clock, seconds, submit_until, IN_FLIGHT)
        epoch = await store.call(lambda pool: pool.open_epoch("bench"))
        claimed = await store.call(lambda pool: pool.claim(epoch, batch))
        jobs = [record.job.job_id for record in claimed]
        commits = await store.call(lambda pool: _commits(pool.commit, epoch, jobs, clock, seconds))
        return PoolFigures(setting.partition(":")[0], store.durable, alone, together, IN_FLIGHT, commits, len(jobs))
    finally:
        await store.close()


async def _rate(
    clock: Clock, seconds: float, submit_until: Callable[[int], Coroutine[Any, Any, int]], lanes: int
) -> float:
    begun_ns = clock.now_ns()
    end_ns = begun_ns + int(seconds * NS)
    done = await asyncio.gather(*(submit_until(end_ns) for _ in range(lanes)))
    return float(sum(done)) * NS / (clock.now_ns() - begun_ns)


def _commits(
    commit: Callable[[int, LogBatch], None], epoch: int, jobs: list[JobId], clock: Clock, seconds: float
) -> float:
    begun_ns = clock.now_ns()
    position = 0
    while clock.now_ns() < begun_ns + seconds * NS:
        token = np.array([position % 1000], dtype=np.int32)
        commit(epoch, LogBatch(tuple(LogEntry(job, position, token) for job in jobs)))
        position += 1
    return position * NS / (clock.now_ns() - begun_ns)


def _job(number: int) -> NewJob:
    return NewJob(
        job_id=JobId(f"{number:032x}"),
        tenant=DEFAULT_TENANT,
        request_id=f"bench-{number}",
        body_digest=number.to_bytes(32, "big"),
        prompt=np.arange(PROMPT_TOKENS, dtype=np.int32),
        asked=Asked(SamplingParams(temperature=0.0, seed=0, max_new_tokens=2**20)),
        submitted_unix_ns=unix_ns(),
    )
