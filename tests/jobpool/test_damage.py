"""What a disk gives back wrong is never taken for what was stored: it is computed again, or said to
be lost, and no other job is hurt.

A file at rest gets one bit flipped in a page, page after page, and in every page at once. Whatever
the place, what a reader and the next owner are told is true or a typed error.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from job_pools import NOW, check_log, end, entry, job_id, logged, new_job, submit_one, token_at

from skipjoin.core.errors import DataLoss, InvalidSettings, NotFound, StoreUnavailable
from skipjoin.core.job import FinishReason, JobState
from skipjoin.core.pool import JobQuery, LogBatch, LogEnd
from skipjoin.jobpool.sqlite import SqliteJobPool

PAGE = 4096
PROMPT = list(range(700))
RUNNING, ENDED, WAITING = range(8, 12), range(8), range(12, 16)
LOGGED = 603


@pytest.fixture(scope="module")
def resting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with ended, running and waiting jobs; its server is gone."""
    path = tmp_path_factory.mktemp("resting") / "jobs.sqlite"
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n, request_id=f"r{n}", prompt=PROMPT) for n in range(16)])
    pool.claim(epoch, 12)
    for n in range(12):
        logged(pool, epoch, n, [600, 3])
    pool.commit(epoch, LogBatch((), tuple(end(n) for n in ENDED)))
    pool.close()
    return path


@pytest.fixture
def copy(resting: Path, quick_folder: Path) -> Path:
    """Where a damaged copy lies."""
    return quick_folder / "jobs.sqlite"


def _copied(resting: Path, copy: Path) -> Path:
    for old in copy.parent.glob(copy.name + "*"):
        old.unlink()
    shutil.copy(resting, copy)
    return copy


def _flip(path: Path, page: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE + bit // 8)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1 << bit % 8]))


def _true_tokens(number: int, tokens: list[int]) -> bool:
    return tokens == [token_at(number, at) for at in range(len(tokens))]


def _read_all(pool: SqliteJobPool, told: Counter[str]) -> None:
    for number in range(16):
        try:
            piece = pool.tokens(job_id(number), 0)
        except DataLoss:
            told["lost"] += 1
            continue
        length = len(piece.tokens)
        assert _true_tokens(number, piece.tokens.tolist())
        assert length == (0 if number in WAITING else LOGGED) or (number in RUNNING and length < LOGGED)
        assert (piece.record.job.request_id, piece.record.job.tenant) == (f"r{number}", "default")
        told["true"] += 1
    for record in pool.list(JobQuery(None, page_size=100)).jobs:
        assert record.job.request_id == f"r{int(record.job.job_id, 16)}"


def _go_on(pool: SqliteJobPool, told: Counter[str]) -> None:
    """The next owner takes up what can be run, and ends it."""
    epoch = pool.open_epoch("b")
    for record in pool.claim(epoch, 99):
        number, known = int(record.job.job_id, 16), len(record.generated)
        assert record.job.prompt.tolist() == PROMPT
        assert _true_tokens(number, record.generated.tolist())
        rest = (entry(number, known, LOGGED - known),) if known < LOGGED else ()
        pool.commit(epoch, LogBatch(rest, (LogEnd(record.job.job_id, FinishReason.LENGTH, NOW),)))
        check_log(pool, number, LOGGED)
        told["ended"] += 1


def _live(path: Path, told: Counter[str]) -> None:
    try:
        pool = SqliteJobPool(path)
    except (InvalidSettings, StoreUnavailable):
        told["refused"] += 1
        return
    try:
        _read_all(pool, told)
        _go_on(pool, told)
    except StoreUnavailable:
        told["unwritable"] += 1
    finally:
        pool.close()


def test_one_flipped_bit_anywhere_is_never_believed(resting: Path, copy: Path) -> None:
    rng, told = random.Random(1), Counter[str]()
    for page in range(resting.stat().st_size // PAGE):
        for bits in (200 * 8, PAGE * 8):  # where SQLite keeps its own, and anywhere
            _flip(_copied(resting, copy), page, rng.randrange(bits))
            _live(copy, told)
    assert told["lost"] > 0
    assert told["true"] > 20 * (
        told["lost"] + told["refused"] + told["unwritable"]
    )  # one bit hurts one job, seldom more


def test_a_flipped_bit_in_every_page_is_never_believed(resting: Path, copy: Path) -> None:
    rng, told = random.Random(2), Counter[str]()
    for _ in range(12):
        _copied(resting, copy)
        for page in range(1, resting.stat().st_size // PAGE):
            _flip(copy, page, rng.randrange(PAGE * 8))
        _live(copy, told)
    assert told["lost"] > 0
    assert told["true"] > 0


def _tamper(resting: Path, copy: Path, statement: str) -> SqliteJobPool:
    """The pool after one statement that no skipjoin made."""
    connection = sqlite3.connect(_copied(resting, copy))
    assert connection.execute(statement).rowcount == 1
    connection.commit()
    connection.close()
    return SqliteJobPool(copy)


@pytest.mark.parametrize(
    "change",
    [
        "tenant = 'red'", "request_id = 'r99'", "sampling = replace(sampling, '0.0', '0.5')", "state = 1",
        "crashes = 1",
        "folded_tokens = 7", "priority = 9", "prompt_tokens = 1", "finished_unix_ns = 5", "deadline_unix_ns = 5",
    ],
)  # fmt: skip
def test_a_job_whose_row_changed_by_itself_is_not_given_out(resting: Path, copy: Path, change: str) -> None:
    pool = _tamper(resting, copy, f"UPDATE job SET {change} WHERE seq = 13")
    for ask in (lambda: pool.get(job_id(12)), lambda: pool.tokens(job_id(12), 0), lambda: pool.cancel(job_id(12), "")):
        with pytest.raises(DataLoss):
            ask()
    with pytest.raises(DataLoss):  # it may be the damaged one
        pool.get(job_id(77))
    assert len(pool.list(JobQuery(None)).jobs) == 15
    epoch = pool.open_epoch("b")
    assert job_id(12) not in [record.job.job_id for record in pool.claim(epoch, 99)]
    assert pool.claim(epoch, 99) == []
    with pytest.raises(DataLoss):
        pool.get(job_id(12))
    while pool.sweep(2**62, 0).touched:
        pass
    pool.close()
    again = SqliteJobPool(copy)
    with pytest.raises(NotFound):  # it went with the others
        again.get(job_id(12))
    again.close()


def test_a_damaged_prompt_fails_its_job_and_no_other(resting: Path, copy: Path) -> None:
    pool = _tamper(resting, copy, "UPDATE prompt SET tokens = zeroblob(2800) WHERE seq = 13")
    assert len(pool.claim(pool.open_epoch("b"), 99)) == 7
    record = pool.get(job_id(12))
    assert (record.state, record.finish) == (JobState.FAILED, FinishReason.FAILED)
    assert record.failure is not None
    assert record.failure[0] == "DATA_LOSS"
    pool.close()


def test_damaged_tokens_of_an_ended_job_are_not_given_out(resting: Path, copy: Path) -> None:
    pool = _tamper(resting, copy, "UPDATE piece SET tokens = zeroblob(12) WHERE seq = 1 AND position = 600")
    with pytest.raises(DataLoss):
        pool.tokens(job_id(0), 0)
    assert pool.get(job_id(0)).output_tokens == LOGGED
    check_log(pool, 1, LOGGED)
    pool.close()


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("UPDATE piece SET tokens = zeroblob(2400) WHERE seq = 9", 0),
        ("DELETE FROM piece WHERE seq = 9", 0),
        ("UPDATE turn SET tokens = zeroblob(length(tokens)) WHERE id = (SELECT min(id) FROM turn)", 600),
    ],
)
def test_damaged_tokens_of_a_running_job_are_computed_again(resting: Path, copy: Path, change: str, left: int) -> None:
    pool = _tamper(resting, copy, change)
    epoch = pool.open_epoch("b")
    claimed = {int(record.job.job_id, 16): record for record in pool.claim(epoch, 99)}
    assert len(claimed[8].generated) == claimed[8].output_tokens == left
    assert logged(pool, epoch, 8, [1] * (LOGGED - left)) == LOGGED
    check_log(pool, 8, LOGGED)
    pool.close()
    again = SqliteJobPool(copy)
    check_log(again, 8, LOGGED)
    assert len(again.claim(again.open_epoch("c"), 99)) == 8
    again.close()


def test_an_index_that_lost_a_job_is_made_anew(resting: Path, copy: Path) -> None:
    connection = sqlite3.connect(_copied(resting, copy))
    connection.execute("PRAGMA writable_schema=ON")
    # The index is told to hold no row; the rows do not change.
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'IS NOT NULL', 'IS NULL') WHERE name = 'job_by_request'"
    )
    connection.commit()
    connection.execute("PRAGMA writable_schema=RESET")
    connection.execute("REINDEX job_by_request")
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, 'IS NULL', 'IS NOT NULL') WHERE name = 'job_by_request'"
    )
    connection.commit()
    connection.close()
    pool = SqliteJobPool(copy)
    again = submit_one(pool, new_job(50, request_id="r3", body="3"))
    assert again.job.job_id == job_id(3)
    pool.close()
