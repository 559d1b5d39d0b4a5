"""A pool's owner that lives until it is killed: a process of its own for the kill tests.

Writes to the pool as a door does, and tells on standard output what the pool has acknowledged, a line per call, only after the call returned. It
never checks anything: the test that kills it does.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # job_pools, beside this file

from job_pools import end, entry, new_job

from skipjoin.core.pool import JobRecord, LogBatch
from skipjoin.jobpool.sqlite import SqliteJobPool


def tell(line: str) -> None:
    """One write, so that a kill cannot cut a line in two before it is complete."""
    os.write(1, line.encode("ascii") + b"\n")


def main(path: str, first: int, seed: int) -> None:
    """Own the pool at `path` and number new jobs from `first` on."""
    rng = random.Random(seed)
    pool = SqliteJobPool(Path(path))
    epoch = pool.open_epoch("owner")
    lengths: dict[int, int] = {}
    while True:
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
        entries = tuple(entry(n, lengths[n], count) for n, count in counts.items())
        pool.commit(epoch, LogBatch(entries, tuple(end(n) for n in done)))
        for n, count in counts.items():
            lengths[n] += count
        tell("logged " + " ".join(f"{n}:{lengths[n]}:{int(n in done)}" for n in members))
        for n in done:
            del lengths[n]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
