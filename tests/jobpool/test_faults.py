"""What a person reads when the file is not what it should be, and that nothing is half stored then."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from job_pools import NOW, check_log, end, entry, job_id, logged, new_job, submit_one

from skipjoin.core.errors import (
    Conflict,
    InvalidSettings,
    InvariantViolation,
    NotFound,
    SkipjoinError,
    StoreUnavailable,
)
from skipjoin.core.pool import JobRecord, LogBatch
from skipjoin.jobpool.registry import open_pool
from skipjoin.jobpool.schema import APPLICATION_ID, VERSION
from skipjoin.jobpool.sqlite import SqliteJobPool


def _said(error: SkipjoinError, *words: str) -> None:
    """A sentence for a person, with these words and nothing of the inside."""
    text = str(error)
    assert text.endswith((".", ")")), text
    for word in words:
        assert word in text, text
    for inside in ("sqlite3", "SQLITE", "INSERT", "Error", "/tmp"):
        assert inside not in text, text


def test_a_durable_pool_syncs_every_commit(path: Path) -> None:
    pool = SqliteJobPool(path)
    ask = {n: pool._database.connection.execute(f"PRAGMA {n}").fetchone()[0] for n in ("journal_mode", "synchronous")}
    assert ask == {"journal_mode": "wal", "synchronous": 2}
    assert pool.durable
    pool.close()
    pool.close()


def test_files_are_their_owners_only(path: Path) -> None:
    old = os.umask(0)
    try:
        pool = SqliteJobPool(path.parent / "new" / "folder" / "jobs.sqlite")
        submit_one(pool, new_job(1))
        folder = path.parent / "new" / "folder"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        names = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
        assert set(names) == {"jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm", "jobs.sqlite.lock"}
        assert set(names.values()) == {0o600}
        pool.close()
    finally:
        os.umask(old)


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    SqliteJobPool(path).close()
    path.chmod(0o644)
    SqliteJobPool(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_doors_on_one_file(path: Path) -> None:
    pool = SqliteJobPool(path)
    other_name = path.with_name("link.sqlite")
    other_name.symlink_to(path)
    for name in (path, other_name, path.parent / "." / path.name):
        with pytest.raises(StoreUnavailable) as refused:
            SqliteJobPool(name)
        _said(refused.value, "in use by process", str(os.getpid()))
    submit_one(pool, new_job(1))
    pool.close()
    SqliteJobPool(path).close()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda p: p.write_bytes(b"not a database, only some text of a person" * 200), "damaged or no job pool"),
        (lambda p: p.mkdir(), "Is a directory"),
        (lambda p: _foreign(p, "CREATE TABLE t (a)", 0, 0), "another program's"),
        (lambda p: _foreign(p, "CREATE TABLE t (a)", 77, 1), "another program's"),
        (lambda p: _foreign(p, "CREATE TABLE job (a)", APPLICATION_ID, VERSION + 1), f"format {VERSION + 1}"),
    ],
    ids=["text", "folder", "foreign", "another application", "newer"],
)
def test_what_is_no_job_pool_is_refused_untouched(path: Path, make: object, word: str) -> None:
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(InvalidSettings) as refused:
        SqliteJobPool(path)
    _said(refused.value, word)
    assert refused.value.field == "job_pool"
    assert (path.read_bytes() if path.is_file() else b"") == before
    with pytest.raises(InvalidSettings):  # and the lock was given back
        SqliteJobPool(path)


def _foreign(path: Path, statement: str, application: int, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(f"{statement}; PRAGMA application_id={application}; PRAGMA user_version={version};")
    connection.close()


def _read_and_write(path: Path) -> None:
    damaged = SqliteJobPool(path)
    try:
        for n in range(40):
            damaged.get(job_id(n))
        damaged.submit([new_job(99)])
    finally:
        damaged.close()


def test_a_truncated_file(path: Path) -> None:
    pool = SqliteJobPool(path)
    pool.submit([new_job(n, prompt=range(2000)) for n in range(40)])
    pool.close()
    os.truncate(path, 3 * 4096)
    with pytest.raises((InvalidSettings, StoreUnavailable)) as refused:
        _read_and_write(path)
    _said(refused.value, "damaged")


def test_bytes_overwritten_in_the_middle(path: Path) -> None:
    pool = SqliteJobPool(path)
    pool.submit([new_job(n, prompt=range(500)) for n in range(40)])
    pool.close()
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xa5" * 64)
    with pytest.raises((InvalidSettings, StoreUnavailable)) as refused:
        _read_and_write(path)
    _said(refused.value, "damaged")


@pytest.mark.parametrize("place", ["/proc/no/jobs.sqlite", "/dev/null/jobs.sqlite"])
def test_places_where_nothing_can_be_made(place: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        SqliteJobPool(Path(place))
    _said(refused.value, "cannot be")


def _submit_until_refused(pool: SqliteJobPool) -> tuple[int, StoreUnavailable]:
    for number in range(2, 500):
        try:
            pool.submit([new_job(number, prompt=range(300)), new_job(1000 + number, prompt=range(300))])
        except StoreUnavailable as error:
            return number - 1, error
    raise AssertionError("the bound did not hold")


def _log_until_refused(pool: SqliteJobPool, epoch: int) -> int:
    for length in range(0, 100_000, 200):
        try:
            pool.commit(epoch, LogBatch((entry(1, length, 200),)))
        except StoreUnavailable:
            return length
    raise AssertionError("the bound did not hold")


def test_a_full_disk_stores_nothing_by_halves_and_goes_on_when_there_is_room(path: Path) -> None:
    pool = SqliteJobPool(path, max_pages=60)
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(epoch, 1)
    stored, refusal = _submit_until_refused(pool)
    _said(refusal, "full")
    assert 2 < stored < 400
    assert pool.depth().accepted == 2 * (stored - 1)
    for number in (stored + 1, 1000 + stored + 1):
        with pytest.raises(NotFound):
            pool.get(job_id(number))
    length = _log_until_refused(pool, epoch)
    check_log(pool, 1, length)
    pool._database.connection.execute("PRAGMA max_page_count=100000")
    length = logged(pool, epoch, 1, [200, 600, 1])
    check_log(pool, 1, length)
    pool.close()
    again = SqliteJobPool(path)
    check_log(again, 1, length)
    again.close()


def test_repeats_alone_write_nothing(path: Path) -> None:
    """So they are answered where nothing can be written, and cost no sync."""
    pool = SqliteJobPool(path)
    submit_one(pool, new_job(1, request_id="a", body="b"))
    log = path.with_name(path.name + "-wal")
    before = log.read_bytes()
    repeat, conflict, old_id = pool.submit(
        [new_job(2, request_id="a", body="b"), new_job(3, request_id="a", body="c"), new_job(1)]
    )
    assert isinstance(repeat, JobRecord)
    assert repeat.job.job_id == job_id(1)
    assert isinstance(conflict, Conflict)
    assert isinstance(old_id, InvariantViolation)
    assert log.read_bytes() == before
    submit_one(pool, new_job(4))
    assert log.read_bytes() != before
    pool.close()


def test_a_new_pool_on_a_full_disk(path: Path) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        SqliteJobPool(path, max_pages=3)
    _said(refused.value, "full")
    SqliteJobPool(path).close()


def test_writes_that_fail_in_the_file_system(path: Path) -> None:
    """A file size limit of the process makes write() fail for real (EFBIG): an I/O error to SQLite,
    in the log or at a checkpoint.
    """
    program = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from job_pools import new_job, entry, submit_one
from skipjoin.core.errors import StoreUnavailable
from skipjoin.core.pool import JobRecord, LogBatch
from skipjoin.jobpool.sqlite import SqliteJobPool
pool = SqliteJobPool(Path({str(path)!r}))
epoch = pool.open_epoch("a")
submit_one(pool, new_job(1))
pool.claim(epoch, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
length, refused = 0, 0
for _ in range(400):
    try:
        pool.commit(epoch, LogBatch((entry(1, length, 100),)))
        length += 100
    except StoreUnavailable as error:
        refused += 1
        said = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert pool.tokens(new_job(1).job_id, 0).record.output_tokens == length
for _ in range(5):
    pool.commit(epoch, LogBatch((entry(1, length, 100),)))
    length += 100
print(length, refused, said)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    length, refused, said = done.stdout.split(maxsplit=2)
    assert int(refused) > 0
    assert "disk" in said
    pool = SqliteJobPool(path)
    check_log(pool, 1, int(length))
    pool.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_read_only(path: Path) -> None:
    """query_only makes SQLite answer SQLITE_READONLY to writes, which file rights cannot do to
    root.
    """
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(epoch, 1)
    pool._database.connection.execute("PRAGMA query_only=ON")
    for write in (
        lambda: pool.submit([new_job(2)]),
        lambda: pool.commit(epoch, LogBatch((entry(1, 0, 1),))),
        lambda: pool.commit(epoch, LogBatch(ends=(end(1),))),
        lambda: pool.sweep(2**62, 0),
        lambda: pool.cancel(job_id(1), ""),
        lambda: pool.open_epoch("b"),
    ):
        with pytest.raises(StoreUnavailable) as refused:
            write()
        _said(refused.value, "read-only")
    assert pool.get(job_id(1)).output_tokens == 0
    pool._database.connection.execute("PRAGMA query_only=OFF")
    assert logged(pool, epoch, 1, [5]) == 5
    pool.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="file rights do not bind root")
def test_a_folder_that_may_not_be_written(path: Path) -> None:
    SqliteJobPool(path).close()
    path.with_name(path.name + ".lock").unlink()
    path.parent.chmod(0o500)
    try:
        with pytest.raises(InvalidSettings):
            SqliteJobPool(path)
    finally:
        path.parent.chmod(0o700)


def test_a_file_that_another_program_locks(path: Path) -> None:
    pool = SqliteJobPool(path, busy_timeout_ms=20)
    epoch = pool.open_epoch("a")
    submit_one(pool, new_job(1))
    pool.claim(epoch, 1)
    shell = sqlite3.connect(path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable) as refused:
        pool.commit(epoch, LogBatch((entry(1, 0, 1),)))
    _said(refused.value, "locked")
    assert pool.get(job_id(1)).output_tokens == 0
    shell.execute("ROLLBACK")
    shell.close()
    assert logged(pool, epoch, 1, [1]) == 1
    pool.close()


def test_an_owner_without_the_lock_is_fenced_by_its_epoch(path: Path) -> None:
    """Who removes the lock file can open the pool twice; the epoch still lets only the newest owner
    write.
    """
    old = SqliteJobPool(path)
    epoch = old.open_epoch("a")
    submit_one(old, new_job(1))
    old.claim(epoch, 1)
    logged(old, epoch, 1, [5])
    path.with_name(path.name + ".lock").unlink()
    new = SqliteJobPool(path)
    newer = new.open_epoch("b")
    new.claim(newer, 1)
    logged(new, newer, 1, [5])
    with pytest.raises(SkipjoinError, match="taken over"):
        old.commit(epoch, LogBatch((entry(1, 5, 1),)))
    check_log(new, 1, 10)
    old.close()
    new.close()


def test_another_thread_is_refused(path: Path) -> None:
    pool = SqliteJobPool(path)
    caught: list[Exception] = []

    def use() -> None:
        try:
            pool.depth()
        except InvariantViolation as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(caught) == 1
    pool.close()


@pytest.mark.parametrize("setting", ["", "sqlite", "sqlite:", "memory:x", "postgres://somewhere", "Memory"])
def test_settings_that_name_no_pool(setting: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        open_pool(setting)
    assert refused.value.field == "job_pool"


def test_tails_of_waiting_jobs_do_not_keep_the_log_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipjoin.jobpool.token_log.MAX_TURN_ROWS", 50)
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n) for n in range(3)])
    pool.claim(epoch, 9)
    logged(pool, epoch, 0, [1])  # preempted for a long time
    length = logged(pool, epoch, 1, [1] * 400)
    rows = pool._database.connection.execute("SELECT COUNT(*) FROM turn").fetchone()[0]
    assert rows <= 52
    for n, tokens in ((0, 1), (1, length), (2, 0)):
        check_log(pool, n, tokens)
    logged(pool, epoch, 0, [1] * 3)
    pool.close()
    again = SqliteJobPool(path)
    check_log(again, 0, 4)
    check_log(again, 1, length)
    again.close()


def test_a_sweep_goes_on_where_it_stopped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipjoin.jobpool.sqlite.SWEEP_JOBS", 7)
    pool = SqliteJobPool(path)
    pool.submit([new_job(n, deadline_unix_ns=NOW) for n in range(20)])
    touched = []
    while more := pool.sweep(NOW, 100).touched:
        touched.append(more)
    assert touched == [7, 7, 6]
    assert (pool.depth().accepted, pool.depth().final) == (0, 20)
    while pool.sweep(NOW + 101, 100).touched:
        pass
    assert pool.depth().final == 0
    pool.close()


def test_rows_of_the_log_go_with_the_last_job_in_them_after_a_takeover_too(path: Path) -> None:
    pool = SqliteJobPool(path)
    epoch = pool.open_epoch("a")
    pool.submit([new_job(n) for n in range(2)])
    pool.claim(epoch, 9)
    for at in range(3):
        pool.commit(epoch, LogBatch((entry(0, at, 1), entry(1, at, 1))))
    pool.close()
    again = SqliteJobPool(path)
    epoch = again.open_epoch("b")
    again.claim(epoch, 9)
    left = []
    for number in range(2):
        again.commit(epoch, LogBatch((), (end(number),)))
        left.append(again._database.connection.execute("SELECT COUNT(*) FROM turn").fetchone()[0])
    assert left == [3, 0]
    check_log(again, 0, 3)
    again.close()
