"""A pool's file goes away, is cut off or written into under its open pool: nothing is acknowledged
that a restart would not find.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from job_pools import check_log, end, entry, job_id, logged, new_job, submit_one

from skipjoin.core.errors import DataLoss, InvalidSettings, NotFound, StoreUnavailable, WrongState
from skipjoin.core.job import JobState
from skipjoin.core.pool import LogBatch
from skipjoin.jobpool.database import explained
from skipjoin.jobpool.file_watch import Trust
from skipjoin.jobpool.sqlite import SqliteJobPool

Fault = Callable[[Path], object]


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _shm(path: Path) -> Path:
    return path.with_name(path.name + "-shm")


def _replace_by_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)


GONE: dict[str, Fault] = {
    "deleted": lambda p: p.unlink(),
    "deleted with its log": lambda p: [one.unlink() for one in (p, _wal(p), _shm(p))],
    "moved": lambda p: p.rename(p.with_name("elsewhere")),
    "replaced by a copy": _replace_by_copy,
    "folder renamed": lambda p: p.parent.rename(p.parent.with_name("elsewhere")),
    "log deleted": lambda p: _wal(p).unlink(),
    "log replaced": lambda p: _replace_by_copy(_wal(p)),
    "index deleted": lambda p: _shm(p).unlink(),
    "log cut off": lambda p: os.truncate(_wal(p), 0),
    "log cut by a page": lambda p: os.truncate(_wal(p), _wal(p).stat().st_size - 4120),
    "log overwritten": lambda p: _overwrite(_wal(p)),
}


def _opened(path: Path, jobs: int = 4) -> tuple[SqliteJobPool, int]:
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n, prompt=range(2000)) for n in range(jobs)])
    pool.claim(epoch, 1)
    logged(pool, epoch, 0, [3])
    return pool, epoch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a folder that may be renamed."""
    (tmp_path / "pool").mkdir()
    return tmp_path / "pool" / "jobs.sqlite"


@pytest.mark.parametrize("fault", GONE.values(), ids=list(GONE))
def test_nothing_is_acknowledged_any_more(path: Path, fault: Fault) -> None:
    pool, epoch = _opened(path)
    pool.look()
    fault(path)
    for write in (
        pool.look,
        pool.probe,
        lambda: pool.submit([new_job(9)]),
        lambda: pool.commit(epoch, LogBatch((entry(0, 3, 1),))),
        lambda: pool.claim(epoch, 1),
        lambda: pool.cancel(job_id(1), ""),
        lambda: pool.sweep(2**62, 0),
    ):
        with pytest.raises(StoreUnavailable) as refused:
            write()
        assert "while the server runs" in refused.value.message
    pool.close()


@pytest.mark.parametrize("name", ["moved", "folder renamed"])
def test_it_goes_on_when_the_same_file_is_back(path: Path, name: str) -> None:
    pool, epoch = _opened(path)
    GONE[name](path)
    with pytest.raises(StoreUnavailable):
        pool.probe()
    if name == "moved":
        path.with_name("elsewhere").rename(path)
    else:
        path.parent.with_name("elsewhere").rename(path.parent)
    pool.probe()
    submit_one(pool, new_job(9))
    logged(pool, epoch, 0, [2])
    pool.close()
    again = SqliteJobPool(path)
    check_log(again, 0, 5)
    assert again.get(job_id(9)).state is JobState.ACCEPTED
    again.close()


def test_a_symbolic_link_that_turns_elsewhere(path: Path) -> None:
    real, other = path.with_name("real.sqlite"), path.with_name("other.sqlite")
    path.symlink_to(real)
    pool, _ = _opened(path)
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(StoreUnavailable, match="replaced"):
        pool.submit([new_job(9)])
    path.unlink()
    path.symlink_to(real)
    submit_one(pool, new_job(9))
    pool.close()


@pytest.mark.parametrize("name", ["log deleted", "log replaced", "index deleted"])
def test_what_a_lost_log_held_is_in_the_file_even_after_a_kill(path: Path, name: str, tmp_path: Path) -> None:
    pool, _ = _opened(path, 40)
    GONE[name](path)
    with pytest.raises(StoreUnavailable):
        pool.look()
    left = tmp_path / "left" / path.name  # what a restart would find now, without the process's own end
    left.parent.mkdir()
    shutil.copy(path, left)
    again = SqliteJobPool(left)
    assert again.depth().accepted == 39
    check_log(again, 0, 3)
    again.close()
    pool.close()


def test_a_shared_index_that_was_cut_off_is_made_anew(path: Path) -> None:
    pool, epoch = _opened(path)
    reader = pool.reader()
    os.truncate(_shm(path), 0)
    with pytest.raises(StoreUnavailable):  # to touch it now would end the process
        reader.get(job_id(0))
    pool.look()
    assert reader.get(job_id(0)).output_tokens == 3
    submit_one(pool, new_job(9))
    logged(pool, epoch, 0, [2])
    reader.close()
    pool.close()
    again = SqliteJobPool(path)
    check_log(again, 0, 5)
    again.get(job_id(9))
    again.close()


def test_a_file_that_was_written_into_is_looked_through(path: Path) -> None:
    pool, epoch = _opened(path, 40)
    pool._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    submit_one(pool, new_job(100))
    os.utime(path)
    submit_one(pool, new_job(101))  # only its time changed, and the whole file is sound
    _overwrite(path)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="wrote into"):
            pool.commit(epoch, LogBatch((entry(0, 3, 1),)))
    pool.close()


def test_a_file_that_was_cut_off_is_not_taken_for_a_new_one(path: Path, tmp_path: Path) -> None:
    pool, _ = _opened(path, 700)  # more than the log keeps before it begins anew
    submit_one(pool, new_job(1000))
    os.truncate(path, 0)
    left = tmp_path / "left" / path.name
    left.parent.mkdir()
    shutil.copy(path, left)
    shutil.copy(_wal(path), _wal(left))
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            pool.submit([new_job(1001)])
    with pytest.raises(InvalidSettings, match="cut off"):
        SqliteJobPool(left)
    pool.close()


def test_another_program_may_read_back_up_and_write_with_sqlite(path: Path) -> None:
    pool, epoch = _opened(path)
    other = sqlite3.connect(path, isolation_level=None)
    copy = sqlite3.connect(path.with_name("copy"))
    other.backup(copy)
    copy.close()
    for statement in (
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "VACUUM",
        "PRAGMA user_version=3",
        "PRAGMA wal_checkpoint(FULL)",
    ):
        other.execute(statement).fetchall()
        logged(pool, epoch, 0, [1])
        other.execute("SELECT COUNT(*) FROM job").fetchall()
    other.close()
    check_log(pool, 0, 7)
    pool.close()


class _AtCommit:
    """Does something when the pool is about to commit: in the moment between its look before and
    its look behind.
    """

    def __init__(self, pool: SqliteJobPool, act: Callable[[], object], at: str = "COMMIT") -> None:
        self._connection = pool._database.connection
        self._act = act
        self._at = at
        self._connection.set_trace_callback(self._traced)

    def _traced(self, statement: str) -> None:
        if statement == self._at:
            self._connection.set_trace_callback(None)
            self._act()


def test_what_was_written_into_a_file_that_just_went_is_not_acknowledged_nor_written_twice(path: Path) -> None:
    pool, epoch = _opened(path)
    away = path.with_name("elsewhere")
    batch = LogBatch((entry(0, 3, 2),))
    _AtCommit(pool, lambda: path.rename(away))
    with pytest.raises(StoreUnavailable):
        pool.commit(epoch, batch)
    with pytest.raises(StoreUnavailable):  # asked again, as the journal does
        pool.commit(epoch, batch)
    away.rename(path)
    pool.commit(epoch, batch)
    _AtCommit(pool, lambda: path.rename(away))
    with pytest.raises(StoreUnavailable):
        pool.claim(epoch, 2)
    away.rename(path)
    assert [record.job.job_id for record in pool.claim(epoch, 1)] == [job_id(n) for n in (1, 2, 3)]
    assert pool.claim(epoch, 9) == []
    pool.commit(epoch, LogBatch((entry(0, 5, 1),), (end(0),)))
    pool.close()
    again = SqliteJobPool(path)
    check_log(again, 0, 6)
    again.close()


def test_a_pool_that_was_deleted_in_a_submit_acknowledges_nothing(path: Path) -> None:
    pool, _ = _opened(path)
    _AtCommit(pool, lambda: path.unlink())
    with pytest.raises(StoreUnavailable):
        pool.submit([new_job(9)])
    pool.close()
    again = SqliteJobPool(path)
    with pytest.raises(NotFound):
        again.get(job_id(9))
    again.close()


def _in_file(pool: SqliteJobPool) -> None:
    """All pages are in the file, and its time is none that a write of the next milliseconds could
    have too.
    """
    pool._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    submit_one(pool, new_job(500))
    time.sleep(0.02)


def _stays_refused(pool: SqliteJobPool) -> None:
    for write in (
        pool.probe,
        lambda: pool.submit([new_job(600)]),
        lambda: pool.submit([new_job(600, request_id="r", body="b")]),
        pool.look,
    ):
        with pytest.raises(StoreUnavailable, match="wrote into"):
            write()


def test_a_file_that_is_overwritten_during_a_commit_acknowledges_nothing(path: Path) -> None:
    pool, _ = _opened(path, 40)
    _in_file(pool)
    _AtCommit(pool, lambda: _overwrite(path))
    with pytest.raises(StoreUnavailable, match="wrote into"):
        pool.submit([new_job(600)])
    assert pool._database.unseen
    _stays_refused(pool)
    pool.close()


def test_a_file_that_is_overwritten_before_a_rollback_is_looked_through(path: Path) -> None:
    pool, epoch = _opened(path, 40)
    _in_file(pool)
    _AtCommit(pool, lambda: _overwrite(path), at="ROLLBACK")
    with pytest.raises(WrongState):
        pool.claim(epoch + 1, 1)
    _stays_refused(pool)
    pool.close()


def _checkpoint_elsewhere(path: Path, kind: str = "FULL") -> None:
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()[0] == 0
    other.close()


def test_a_file_that_is_overwritten_behind_a_checkpoint_of_another_program(path: Path) -> None:
    pool, _ = _opened(path, 40)
    _checkpoint_elsewhere(path)
    _overwrite(path)
    _stays_refused(pool)
    pool.close()


def test_a_checkpoint_of_another_program_and_an_overwrite_during_one_commit(path: Path) -> None:
    pool, _ = _opened(path, 40)
    time.sleep(0.02)
    _AtCommit(pool, lambda: (_checkpoint_elsewhere(path, "PASSIVE"), _overwrite(path)))
    with pytest.raises(StoreUnavailable, match="wrote into"):
        pool.submit([new_job(600)])
    _stays_refused(pool)
    pool.close()


def test_damage_that_a_reader_meets_in_a_file_that_others_wrote_stops_the_writer(path: Path) -> None:
    pool, _ = _opened(path, 40)
    _checkpoint_elsewhere(path)
    pages = path.stat().st_size // 4096
    root = pool._database.connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'job'").fetchone()[0]
    keep = pool._database.connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'pool'").fetchone()[0]
    assert root != keep
    with path.open("r+b") as file:
        for page in set(range(pages)) - {0, keep - 1}:
            file.seek(4096 * page)
            file.write(b"\xa5" * 4096)
    reader = pool.reader()
    with pytest.raises(DataLoss):
        reader.get(job_id(1))
    reader.close()
    _stays_refused(pool)
    pool.close()


def test_a_look_through_that_cannot_be_made_now_is_made_later(path: Path) -> None:
    pool, _ = _opened(path, 40)
    _in_file(pool)
    os.utime(path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="cannot be opened"):
                pool.probe()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    pool.probe()
    submit_one(pool, new_job(600))
    pool.close()


def test_times_that_change_by_themselves_are_trusted_again_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    hour, trust = 3_600_000_000_000, Trust(0)
    assert [trust.spend(n) for n in range(6)] == [True] * 5 + [False]
    assert "not watched for an hour" in caplog.text
    with caplog.at_level("INFO", logger="skipjoin.jobpool"):
        assert [trust.spend(hour + n) for n in range(2)] == [True, False]
    assert "watched again" in caplog.text
    assert [trust.spend(100 * hour + n) for n in range(6)] == [True] * 5 + [False]


def test_another_database_over_the_file_is_no_fault_of_ours(path: Path) -> None:
    pool, _ = _opened(path)
    other = path.with_name("other")
    with sqlite3.connect(other) as made:
        made.execute("CREATE TABLE pool (something)")
        made.execute("CREATE TABLE job (something)")
    made.close()
    _in_file(pool)
    with path.open("r+b") as file:
        file.write(other.read_bytes())
    _stays_refused(pool)
    pool.close()


@pytest.mark.parametrize("code", ["PROTOCOL", "PERM", "SCHEMA", "INTERRUPT"])
def test_what_sqlite_may_say_of_a_file_is_a_trouble_of_the_store(code: str) -> None:
    error = sqlite3.OperationalError("said")
    error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{code}")
    assert isinstance(explained(error), StoreUnavailable)


def test_an_index_that_cannot_be_looked_at_is_a_trouble_of_the_store(path: Path) -> None:
    pool, _ = _opened(path)
    watch = pool._database._watch
    index, watch._index = watch._index, 10**6  # no such descriptor
    for ask in (pool.look, lambda: pool.get(job_id(0))):
        with pytest.raises(StoreUnavailable, match="Bad file descriptor"):
            ask()
    watch._index = index
    pool.look()
    pool.close()
