"""A pool's owner that lives until it is killed: a process of its own for the kill tests.

Writes to the pool as a door does, and tells on standard output what the pool has acknowledged, a
line per call, only after the call returned. It never checks anything: the test that kills it does.
With a number of bytes as its last word it cuts the pool's `-shm` off to them in the middle of a
transaction, which kills it as well.
"""

from __future__ import annotations

import os
import random
import resource
import sys
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # job_pools, beside this file

from job_pools import end, entry, new_job

from skipjoin.core.pool import JobRecord, LogBatch
from skipjoin.jobpool.sqlite import SqliteJobPool


def tell(line: str) -> None:
    """One write, so that a kill cannot cut a line in two before it is complete."""
    os.write(1, line.encode("ascii") + b"\n")


def cut_index_off_in_the_next_transaction(pool: SqliteJobPool, path: str, size: int) -> None:
    """Between a BEGIN and its COMMIT: SQLite has mapped the file into memory, and touches what is
    gone.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pool._database.connection.set_trace_callback(
        lambda statement: os.truncate(f"{path}-shm", size) if statement == "COMMIT" else None
    )


def main(path: str, first: int, seed: int, cut: int | None = None) -> None:
    """Own the pool at `path` and number new jobs from `first` on."""
    rng = random.Random(seed)
    pool = SqliteJobPool(Path(path))
    epoch = pool.open_epoch("owner")
    lengths: dict[int, int] = {}
    for turn in count():
        if turn == 25 and cut is not None:
            cut_index_off_in_the_next_transaction(pool, path, cut)
        if len(lengths) < 12:
            numbers = list(range(first, first + rng.randint(1, 4)))
            answers = pool.submit([new_job(n, request_id=f"r{n}") for n in numbers])
            assert all(isinstance(answer, JobRecord) for answer in answers)
            first += len(numbers)
            tell("submitted " + " ".join(map(str, numbers)))
            for record in pool.claim(epoch, 8):
                lengths[int(record.job.job_id, 16)] = len(record.generated)
        members = rng.sample(sorted(lengths), min(len(lengths), rng.randint(1, 8)))
        counts = {n: rng.choice([1, 1, 1, 2, 40, 300]) for n in members}
        done = [n for n in members if rng.random() < 0.08]
        entries = tuple(entry(n, lengths[n], more) for n, more in counts.items())
        pool.commit(epoch, LogBatch(entries, tuple(end(n) for n in done)))
        for n, more in counts.items():
            lengths[n] += more
        tell("logged " + " ".join(f"{n}:{lengths[n]}:{int(n in done)}" for n in members))
        for n in done:
            del lengths[n]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
