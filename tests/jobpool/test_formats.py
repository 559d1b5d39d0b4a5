"""A pool of an older format is brought up to date when it is opened, with everything that was acknowledged in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from job_pools import check_log, end, job_id, logged, new_job, submit_one

from skipjoin.core.errors import StoreUnavailable
from skipjoin.core.job import JobState
from skipjoin.core.pool import LogBatch
from skipjoin.jobpool.schema import VERSION
from skipjoin.jobpool.sqlite import SqliteJobPool

LATER = ("priority", "earlier_output_tokens")


def _of_format_1(path: Path) -> None:
    """Three jobs, one ended and one with a log, in a file as format 1 had it."""
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(1, request_id="r"), new_job(2)])
    pool.claim(epoch, 9)
    logged(pool, epoch, 1, [600, 5])
    pool.commit(epoch, LogBatch(ends=(end(2),)))
    submit_one(pool, new_job(3, prompt=range(2000)))
    pool.close()
    connection = sqlite3.connect(path)
    for name in LATER:
        connection.execute(f"ALTER TABLE job DROP COLUMN {name}")
    connection.execute("PRAGMA user_version=1")
    connection.commit()
    connection.close()


def _tables(path: Path) -> tuple[int, dict[str, list[tuple[object, ...]]]]:
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version, columns


def test_format_1_keeps_its_jobs(path: Path) -> None:
    _of_format_1(path)
    assert {row[1] for row in _tables(path)[1]["job"]}.isdisjoint(LATER)
    pool = SqliteJobPool(path)
    check_log(pool, 1, 605)
    assert pool.get(job_id(2)).state is JobState.SUCCEEDED
    assert submit_one(pool, new_job(9, request_id="r", body="1")).job.job_id == job_id(1)
    taken = pool.claim(pool.open_epoch("b"), 9)
    assert [(record.job.priority, record.job.earlier_output_tokens) for record in taken] == [(0, 0)] * 2
    assert taken[1].job.prompt.tolist() == list(range(2000))
    submit_one(pool, new_job(4, priority=-7))
    assert pool.get(job_id(4)).job.priority == -7
    pool.close()
    fresh = path.with_name("fresh.sqlite")
    SqliteJobPool(fresh).close()
    assert _tables(path) == _tables(fresh)
    assert _tables(path)[0] == VERSION


def test_a_step_that_cannot_be_written_leaves_the_file_as_it_was(path: Path) -> None:
    _of_format_1(path)
    before = _tables(path)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN IMMEDIATE")  # another program writes
    with pytest.raises(StoreUnavailable):
        SqliteJobPool(path, busy_timeout_ms=1)
    reader.execute("ROLLBACK")
    reader.close()
    assert _tables(path) == before
    SqliteJobPool(path).close()
    assert _tables(path)[0] == VERSION
