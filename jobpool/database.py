"""One SQLite file, opened so that a finished commit is on the disk, and its errors in words.

Owns the connection (WAL, synchronous=FULL, explicit transactions), the file's rights, the check that it is a job pool of a version we
know or can bring up to date, and the table from SQLite's codes to our errors. It knows no job; the SQLite pool and its token log run their
statements on it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import InvalidSettings, InvariantViolation, SkipjoinError, StoreUnavailable
from .owner_lock import OwnerLock
from .schema import APPLICATION_ID, SCHEMA, STEPS, VERSION

BUSY_TIMEOUT_MS = 5_000
_WAL_KEEP_BYTES = 64 * 2**20

_SENTENCES = {
    sqlite3.SQLITE_FULL: "The job pool's disk is full; nothing was stored. Make room there.",
    sqlite3.SQLITE_READONLY: "The job pool is read-only; nothing was stored. Make its file and folder writable.",
    sqlite3.SQLITE_BUSY: "The job pool's file is locked by another program; close that one.",
    sqlite3.SQLITE_LOCKED: "The job pool's file is locked by another program; close that one.",
    sqlite3.SQLITE_IOERR: "The job pool's disk reports an error; look at the machine's log.",
    sqlite3.SQLITE_CORRUPT: "The job pool's file is damaged; restore it from a backup or start with a new one.",
    sqlite3.SQLITE_NOTADB: "The job pool's file is damaged or no job pool; restore it from a backup or start with a new one.",
    sqlite3.SQLITE_CANTOPEN: "The job pool's file cannot be opened; look at its folder and rights.",
    sqlite3.SQLITE_NOMEM: "There is no memory left for the job pool.",
    sqlite3.SQLITE_TOOBIG: "A job is larger than the job pool can store.",
}
_SETTINGS_AT_OPEN = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
}


def explained(error: sqlite3.Error, *, opening: bool = False) -> SkipjoinError:
    """Our error for one of SQLite's; a statement that SQLite does not understand is our bug."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    sentence = None if primary is None else _SENTENCES.get(primary)
    if sentence is None:
        return InvariantViolation(f"The job pool refused a statement ({getattr(error, 'sqlite_errorname', 'misuse')}).")
    if opening and primary in _SETTINGS_AT_OPEN:
        return InvalidSettings(sentence, field="job_pool")
    return StoreUnavailable(sentence)


class Database:
    """An open job pool file. Use it from the thread that opened it."""

    def __init__(self, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, max_pages: int | None = None) -> None:
        """Open or make the file (mode 0600, missing folders 0700); `max_pages` bounds its size in pages of 4096 bytes.

        Raises InvalidSettings for a path or file that cannot be a job pool, StoreUnavailable when another server owns it or the disk is full.
        """
        real = Path(os.path.realpath(path))
        self._make_folder(real)
        self._lock = OwnerLock(real.with_name(real.name + ".lock"))
        try:
            self._make_file(real)
            self.connection = self._connect(real, busy_timeout_ms, max_pages)
        except BaseException:
            self._lock.release()
            raise

    @staticmethod
    def _make_folder(path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidSettings(
                f"The job pool's folder cannot be made: {error.strerror}.", field="job_pool"
            ) from None

    @staticmethod
    def _make_file(path: Path) -> None:
        """Ours alone from the first moment, and its name on the disk; SQLite gives the log beside it the same rights."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(fd, 0o600)
            finally:
                os.close(fd)
            folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise InvalidSettings(f"The job pool cannot be opened: {error.strerror}.", field="job_pool") from None

    @staticmethod
    def _connect(path: Path, busy_timeout_ms: int, max_pages: int | None) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=busy_timeout_ms / 1000, isolation_level=None)
        try:
            _check_kind(connection)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone stops at the drive's cache
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute(f"PRAGMA journal_size_limit={_WAL_KEEP_BYTES}")
            if max_pages is not None:
                connection.execute(f"PRAGMA max_page_count={max_pages}")
            _make_schema(connection)
        except sqlite3.Error as error:
            connection.close()
            raise explained(error, opening=True) from None
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its start; on stable storage when the block is left, undone if it raises.

        Raises StoreUnavailable.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            if isinstance(error, sqlite3.Error):
                raise explained(error) from None
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Statements that only read. Raises StoreUnavailable."""
        try:
            yield self.connection
        except sqlite3.Error as error:
            raise explained(error) from None

    def _undo(self) -> None:
        if self.connection.in_transaction:
            try:
                self.connection.execute("ROLLBACK")
            except sqlite3.Error:
                return  # SQLite undoes an unfinished transaction by itself when the file is opened again.

    def close(self) -> None:
        """Close the file, then let others have it; idempotent."""
        try:
            self.connection.close()
        finally:
            self._lock.release()


def _check_kind(connection: sqlite3.Connection) -> None:
    """Refuse, untouched, what is not an empty file nor a job pool of this version or one that there is a step from."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    things = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]
    if application == 0 and version == 0 and things == 0:
        return
    if application != APPLICATION_ID:
        raise InvalidSettings(
            "The file is another program's database, not a job pool; give another path.", field="job_pool"
        )
    if version != VERSION and version not in STEPS:
        raise InvalidSettings(
            f"The job pool has format {version} and this skipjoin knows format {VERSION}; use the skipjoin that wrote it.",
            field="job_pool",
        )


def _make_schema(connection: sqlite3.Connection) -> None:
    """All tables of a new file, or the steps of an old one, in one transaction: a crash leaves the file as it was."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    statements = SCHEMA if version == 0 else [one for step in range(version, VERSION) for one in STEPS[step]]
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
