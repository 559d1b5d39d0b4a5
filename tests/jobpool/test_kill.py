"""kill -9 of a pool's owner, again and again: nothing it was told is stored is ever missing."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from job_pools import check_log, end, entry, job_id, logged, new_job

from skipjoin.core.errors import NotFound
from skipjoin.core.job import JobState
from skipjoin.core.pool import LogBatch
from skipjoin.jobpool.sqlite import SqliteJobPool

KILLS = 24


@dataclass
class Told:
    """What was acknowledged: jobs, log lengths, ends."""

    lengths: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def note(self, line: str) -> None:
        """Read one line of the owner's."""
        what, *words = line.split()
        for word in words:
            number, *rest = map(int, word.split(":"))
            if what == "submitted":
                assert number not in self.lengths
                self.lengths[number] = 0
            else:
                self.lengths[number] = rest[0]
                if rest[1]:
                    self.ended.add(number)

    def check(self, pool: SqliteJobPool) -> None:
        """All of it is there, and no log has a token that is not its own."""
        for number, least in self.lengths.items():
            record = pool.get(job_id(number))
            # Between the commit and the word of it the owner may die: more than was told is right,
            # less never is.
            assert record.output_tokens >= least, f"job {number}: {record.output_tokens} of {least} tokens"
            if number in self.ended:
                assert (record.state, record.output_tokens) == (JobState.SUCCEEDED, least)
            check_log(pool, number, record.output_tokens)
            self.lengths[number] = record.output_tokens
            if record.state.final:
                self.ended.add(number)


def _lines_until_killed(path: Path, first: int, seed: int, rng: random.Random) -> list[str]:
    """Let an owner work for a random number of acknowledgements and a random moment more, kill it,
    answer all it said.
    """
    owner = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("owner.py")), str(path), str(first), str(seed)],
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    said = b""
    try:
        wanted = rng.randint(0, 60)
        while said.count(b"\n") < wanted:
            ready, _, _ = select.select([owner.stdout], [], [], 30)
            assert ready, "the owner says nothing"
            more = os.read(owner.stdout.fileno(), 65536)
            assert more, "the owner died by itself"
            said += more
        time.sleep(rng.random() * 0.02 if wanted else rng.random() * 0.4)
    finally:
        owner.kill()
        said += owner.stdout.read()
        owner.stdout.close()
        owner.wait()
    return said.decode("ascii").splitlines()


def test_nothing_acknowledged_is_lost(quick_folder: Path) -> None:
    path = quick_folder / "jobs.sqlite"
    rng = random.Random(20260101)
    told = Told()
    lines = 0
    for kill in range(KILLS):
        spoken = _lines_until_killed(path, 1 + 100_000 * kill, kill, rng)
        lines += len(spoken)
        for line in spoken:
            told.note(line)
        pool = SqliteJobPool(path)
        told.check(pool)
        pool.close()
    assert lines > 10 * KILLS
    assert len(told.ended) > 10
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("last")
    for record in pool.claim(epoch, 10_000):
        number = int(record.job.job_id, 16)
        assert len(record.generated) == told.lengths.get(number, len(record.generated))
        pool.commit(epoch, LogBatch((entry(number, len(record.generated), 1),), (end(number),)))
    depth = pool.depth()
    assert (depth.accepted, depth.claimed) == (0, 0)
    assert pool._database.connection.execute("SELECT COUNT(*) FROM turn").fetchone()[0] == 0
    assert pool._database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    pool.close()


@pytest.mark.parametrize("size", [0, 4096])
def test_an_index_that_is_cut_off_in_a_transaction_ends_the_owner_and_loses_nothing(path: Path, size: int) -> None:
    """SQLite has the `-shm` mapped into memory, and the system ends who touches what is not there
    any more.
    """
    told = Told()
    for seed in range(3):
        owner = subprocess.run(
            [
                sys.executable,
                str(Path(__file__).with_name("owner.py")),
                str(path),
                f"{1 + 1000 * seed}",
                f"{seed}",
                f"{size}",
            ],
            stdout=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        assert owner.returncode == -signal.SIGBUS
        lines = owner.stdout.decode("ascii").splitlines()
        assert len(lines) > 20
        for line in lines:
            told.note(line)
        pool = SqliteJobPool(path)
        told.check(pool)
        assert pool._database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        pool.close()


def test_a_torn_write_is_undone_to_a_commit(path: Path, tmp_path: Path) -> None:
    """A power cut may leave any part of what was not synced yet: the file then says what it said
    after some commit.
    """
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(1), new_job(2)])
    pool.claim(epoch, 9)
    for _ in range(30):
        logged(pool, epoch, 1, [3])
        logged(pool, epoch, 2, [90])
    log = path.with_name(path.name + "-wal").read_bytes()
    main = path.read_bytes()
    pool.close()
    rng = random.Random(7)
    lengths = set()
    for case in range(40):
        torn = tmp_path / f"torn{case}" / "jobs.sqlite"
        torn.parent.mkdir()
        torn.write_bytes(main)
        cut = rng.randrange(len(log))
        rest = rng.randbytes(min(4096, len(log) - cut)) if case % 2 else b""
        torn.with_name(torn.name + "-wal").write_bytes(log[:cut] + rest)
        again = SqliteJobPool(torn)
        try:
            one, two = (again.get(job_id(n)).output_tokens for n in (1, 2))
            assert one in (two // 90 * 3, two // 90 * 3 + 3)
            check_log(again, 1, one)
            check_log(again, 2, two)
            lengths.add(one + two)
        except NotFound:
            lengths.add(-1)  # cut before the first submit
        again.close()
        shutil.rmtree(torn.parent)
    assert len(lengths) > 10


def test_an_owner_that_is_alive_is_not_pushed_aside(path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("owner.py")), str(path), "1", "1"], stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    try:
        assert owner.stdout.readline()
        with pytest.raises(Exception, match=f"in use by process {owner.pid}"):
            SqliteJobPool(path)
        assert owner.poll() is None
    finally:
        owner.kill()
        owner.stdout.close()
        owner.wait()
    SqliteJobPool(path).close()
