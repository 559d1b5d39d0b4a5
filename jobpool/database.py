"""One SQLite file, opened so that a finished commit is on the disk, and its errors in words.

Owns the writing connection (WAL, synchronous=FULL, explicit transactions), the file's rights, the
check that it is a job pool of a version we know or can bring up to date, the looks at the file
under the path, connections that only read, and the table from SQLite's codes to our errors. It
knows no job; the SQLite pool, its reader and its token log run their statements on it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from ..core.clock import Clock, MonotonicClock
from ..core.errors import DataLoss, InvalidSettings, InvariantViolation, SkipjoinError, StoreUnavailable
from .checksum import offer as offer_checksum
from .file_watch import FileWatch, Sight, Trust
from .owner_lock import OwnerLock
from .schema import APPLICATION_ID, SCHEMA, STEPS, VERSION

log = logging.getLogger("skipjoin.jobpool")

OPEN_BUSY_MS = 5_000
"""At the start another program may have the file for a moment."""
BUSY_MS = 250
"""Later a client waits for the answer; who tries again is the door."""
_WAL_KEEP_BYTES = 64 * 2**20
_AUTOCHECKPOINT = 1000
"""SQLite's default: a COMMIT that leaves as many frames in the log copies them into the file."""
_SPOILT = (
    "Another program wrote into the job pool's file while the server runs; nothing more is stored."
    " Look at it with `skipjoin pool check`, then restart the server or restore a backup."
)

_SENTENCES = {
    sqlite3.SQLITE_FULL: "The job pool's disk is full; nothing was stored. Make room there.",
    sqlite3.SQLITE_READONLY: "The job pool is read-only; nothing was stored. Make its file and folder writable.",
    sqlite3.SQLITE_BUSY: "The job pool's file is locked by another program; close that one.",
    sqlite3.SQLITE_LOCKED: "The job pool's file is locked by another program; close that one.",
    sqlite3.SQLITE_IOERR: "The job pool's disk reports an error; look at the machine's log.",
    sqlite3.SQLITE_CORRUPT: "The job pool's file is damaged. Save what can be read with `skipjoin pool export`,"
    " then restore a backup or start with a new file.",
    sqlite3.SQLITE_NOTADB: "The job pool's file is damaged or no job pool; restore it from a backup or start with "
    "a new one.",
    sqlite3.SQLITE_CANTOPEN: "The job pool's file cannot be opened; look at its folder and rights.",
    sqlite3.SQLITE_NOMEM: "There is no memory left for the job pool.",
    sqlite3.SQLITE_TOOBIG: "A job is larger than the job pool can store.",
    sqlite3.SQLITE_PROTOCOL: "The job pool's file is locked by another program; close that one.",
    sqlite3.SQLITE_INTERRUPT: "The job pool was interrupted; nothing was stored. Try again.",
    sqlite3.SQLITE_PERM: "The job pool's file cannot be opened; look at its folder and rights.",
    sqlite3.SQLITE_AUTH: "The job pool's file cannot be opened; look at its folder and rights.",
    sqlite3.SQLITE_SCHEMA: _SPOILT,
}
_SETTINGS_AT_OPEN = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
}


def explained(error: sqlite3.Error, *, opening: bool = False, reading: bool = False) -> SkipjoinError:
    """Our error for one of SQLite's; a statement that SQLite does not understand is our bug.

    Damage keeps a pool from being opened or written (InvalidSettings, StoreUnavailable); for who
    reads it is DataLoss.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT) and is_damage(error):
        primary = sqlite3.SQLITE_CORRUPT
    if _is_foreign(error):
        return StoreUnavailable(_SPOILT)
    sentence = None if primary is None else _SENTENCES.get(primary)
    if sentence is None:
        return InvariantViolation(f"The job pool refused a statement ({getattr(error, 'sqlite_errorname', 'misuse')}).")
    if opening and primary in _SETTINGS_AT_OPEN:
        return InvalidSettings(sentence, field="job_pool")
    if reading and is_damage(error):
        return DataLoss(sentence)
    return StoreUnavailable(sentence)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file holds what nobody wrote: SQLite says so, or a text is no text, which Python
    says in its own words.
    """
    code = getattr(error, "sqlite_errorcode", None)
    # No statement of ours breaks a constraint: what it meets was not written by one.
    if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT):
        return True
    return str(error).startswith(("Could not decode to UTF-8", "user-defined function raised"))


def _is_foreign(error: sqlite3.Error) -> bool:
    """Whether a table or column of ours is missing: another database lies in the file now."""
    code = getattr(error, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column"))


class Database:
    """An open job pool file. Use it from the thread that opened it, but for `reader`."""

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int | None = None,
        max_pages: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Open or make the file (mode 0600, missing folders 0700). `max_pages`: of 4096 bytes.

        Raises InvalidSettings for a path or file that cannot be a job pool, StoreUnavailable when
        another server owns it or the disk is full.
        """
        self._real = Path(os.path.realpath(path))
        self._busy_ms = BUSY_MS if busy_timeout_ms is None else busy_timeout_ms
        self._spoilt = False
        self._suspect = False  # bytes changed that SQLite did not write, or the file may not be ours any more
        self._doubt = False  # damage was met: it may be as old as the file
        self._doubted = False  # and was looked into, since another program last touched the file
        self._touched = (
            False  # another program wrote the file, with SQLite or without, and not all of it was read since
        )
        self._rescued = False
        self.unseen = False
        self._clock = clock or MonotonicClock()
        self._trust = Trust(self._clock.now_ns())
        self._make_folder(self._real)
        self._lock = OwnerLock(self._real.with_name(self._real.name + ".lock"))
        try:
            self._make_file(self._real)
            opening_ms = OPEN_BUSY_MS if busy_timeout_ms is None else busy_timeout_ms
            self.connection = self._connect(self._real, opening_ms, max_pages)
            self._watch = self._watched(path)
        except BaseException:
            self._lock.release()
            raise

    def _watched(self, path: Path) -> FileWatch:
        try:
            self.connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")
            return FileWatch(path, self._real)
        except BaseException as error:
            self.connection.close()
            if isinstance(error, sqlite3.Error):
                raise explained(error, opening=True) from None
            if isinstance(error, OSError):
                raise StoreUnavailable("The job pool's file went away while it was opened; start again.") from None
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
        """Ours alone from the first moment, and its name on the disk; so is the log beside it."""
        beside = path.with_name(path.name + "-wal")
        # SQLite would take an empty file for a new one, and delete the log.
        if path.is_file() and path.stat().st_size == 0 and beside.is_file() and beside.stat().st_size > 0:
            raise InvalidSettings(
                "The job pool's file is empty and its write-ahead log is not: it was cut off. Restore it from a backup,"
                " or move both away to start with a new one.",
                field="job_pool",
            )
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
            offer_checksum(connection)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA fullfsync=ON")  # macOS: fsync alone stops at the drive's cache
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute(f"PRAGMA journal_size_limit={_WAL_KEEP_BYTES}")
            connection.execute(f"PRAGMA wal_autocheckpoint={_AUTOCHECKPOINT}")
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
        """A transaction that holds the write lock from its start; on stable storage under the path
        when the block is left, undone if it raises.

        A block that finds nothing to write may end it with ROLLBACK. Raises StoreUnavailable; then
        `unseen` tells whether the transaction is in the open file all the same, which is not the
        path's any more: it must not be acknowledged, nor written twice.
        """
        self.unseen = False
        self.look()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            if isinstance(error, sqlite3.Error):
                if is_damage(error) or _is_foreign(error):
                    self._watch.damage_met = True
                raise explained(error) from None
            raise
        try:
            self._look_behind()
        except SkipjoinError:
            self.unseen = True
            raise

    def look(self) -> None:
        """Raise StoreUnavailable unless what is written now would be found after a restart."""
        if self._spoilt:
            raise StoreUnavailable(_SPOILT)
        if not (self._suspect or self._doubt or self._watch.damage_met) and self._watch.unchanged():
            return
        try:
            sight = self._see()
        except StoreUnavailable:
            self._suspect = True
            raise
        if sight != self._watch.last:
            self._judge(sight)
        if self._watch.damage_met:
            self._heed_damage()
        if self._suspect or self._doubt:
            self._look_through()
        else:
            self._watch.last = sight

    def _see(self) -> Sight:
        """What lies under the path. Raises StoreUnavailable, behind a rescue of the log."""
        try:
            return self._watch.look()
        except StoreUnavailable:
            if self._watch.endangered and not self._rescued:
                self._rescued = self._rescue()
            raise

    def _judge(self, sight: Sight) -> None:
        """Between two transactions we write nothing: is it still ours? Raises StoreUnavailable."""
        last = self._watch.last
        if sight.file != last.file:
            self._touched, self._doubted = True, False
        by_hand = sight.changed_by_hand(last) or (sight.same_log(last) and sight.file_written_by_hand(last))
        if by_hand and self._trust.spend(self._clock.now_ns()):
            self._suspect = True
        elif sight.file != last.file and not self._suspect and not self._is_sound(quick=True):
            self._spoil()  # another program may checkpoint; that it did nothing else shows in the first pages

    def _look_behind(self) -> None:
        """After a COMMIT. Raises StoreUnavailable when what was written cannot be acknowledged."""
        sight = self._see()
        copied = sight.file != self._watch.last.file
        if copied:
            self._judge_own(sight)
        self._watch.last = sight
        if copied and not self._suspect and not self._is_sound(quick=True):
            self._spoil()
        if self._watch.damage_met:
            self._heed_damage()
        if self._suspect or self._doubt:
            self._look_through()

    def _judge_own(self, sight: Sight) -> None:
        """It changed in a transaction: SQLite only copies the log there, and its index says so."""
        if sight.file_written_by_hand(self._watch.last) and self._trust.spend(self._clock.now_ns()):
            self._suspect = True
        if sight.file != self._watch.last.file and sight.frames < _AUTOCHECKPOINT:
            self._touched, self._doubted = True, False  # another program copied the log into it

    def _heed_damage(self) -> None:
        """Damage was met: look into it, once until another program touches the file."""
        self._watch.damage_met = False
        self._doubt, self._doubted = self._doubt or not self._doubted, True

    def met_damage(self) -> None:
        """A row was not as it was written: look before anything more is acknowledged."""
        self._watch.damage_met = True

    def _rescue(self) -> bool:
        """The log lost its name, or the file was cut off: put what the log holds into the file.

        Whether all of it is there; a reader may be in the way, and the next look tries again.
        """
        try:
            (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            return not busy
        except sqlite3.Error as error:
            log.error("what the job pool's lost write-ahead log held cannot be saved: %s", explained(error))
            return True

    def _spoil(self) -> NoReturn:
        self._spoilt = True
        raise StoreUnavailable(_SPOILT)

    def _is_sound(self, *, quick: bool) -> bool:
        """Whether it is our pool, and (not `quick`) its pages fit. Raises SkipjoinError."""
        try:
            fresh = sqlite3.connect(
                f"file:{quote(str(self._real))}?mode=ro", uri=True, timeout=self._busy_ms / 1000, isolation_level=None
            )
            try:
                ours, theirs = (
                    c.execute("SELECT epoch, page_key FROM pool").fetchone() for c in (self.connection, fresh)
                )
                if quick or ours != theirs:
                    return bool(ours == theirs)
                return bool(fresh.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
            finally:
                fresh.close()
        except sqlite3.Error as error:
            if is_damage(error) or _is_foreign(error):
                return False
            self._suspect = True  # asked again at the next look
            raise explained(error) from None

    def _look_through(self) -> None:
        """Bytes changed that SQLite did not write, or only the file system's times: read all of it,
        and begin a new log.

        A log of which an old part was overwritten would end there for a restart. Raises
        StoreUnavailable when the file is not sound.
        """
        changed = self._suspect or self._touched
        if not self._is_sound(quick=False):
            if changed or not self._is_sound(quick=True):
                self._spoil()
            log.error(
                "the job pool's file is damaged, and no other program wrote into it; `skipjoin pool check` says more"
            )
        if changed:
            self._begin_log()
        self._suspect = self._doubt = self._touched = self._rescued = False
        self._watch.last = self._watch.look()

    def _begin_log(self) -> None:
        try:
            busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error as error:
            raise explained(error) from None
        if busy:
            raise StoreUnavailable("The job pool's file is looked through, for it changed under the server; try again.")

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """Statements that only read. Raises StoreUnavailable, DataLoss."""
        return _reading(self._watch, self.connection)

    def reader(self) -> ReadOnly:
        """A connection that only reads, for the calling thread. Raises StoreUnavailable."""
        return ReadOnly(self._real, self._busy_ms, self._watch)

    def _undo(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            sight = self._see()  # what was undone may have been in the log already
            self._judge_own(sight)
            self._watch.last = sight
        except (sqlite3.Error, StoreUnavailable):
            return  # SQLite undoes an unfinished transaction by itself when the file is opened again.

    def close(self) -> None:
        """Close the file, then let others have it; idempotent. Readers are closed before."""
        try:
            self._watch.part()
            self.connection.close()
            self._watch.close()
        finally:
            self._lock.release()


@contextmanager
def _reading(watch: FileWatch, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Statements that only read; the writer hears of damage that they meet. Raises
    StoreUnavailable, DataLoss.
    """
    watch.check_mapped()
    try:
        yield connection
    except DataLoss:
        watch.damage_met = True
        raise
    except sqlite3.Error as error:
        if is_damage(error) or _is_foreign(error):
            watch.damage_met = True
        raise explained(error, reading=True) from None


class ReadOnly:
    """A connection that only reads, beside the one that writes: neither waits for the other."""

    def __init__(self, path: Path, busy_ms: int, watch: FileWatch) -> None:
        self._watch = watch
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, timeout=busy_ms / 1000, isolation_level=None
            )
            self._connection.execute("PRAGMA query_only=ON")
            self._connection.execute("PRAGMA trusted_schema=OFF")
        except sqlite3.Error as error:
            raise explained(error) from None

    def read(self) -> AbstractContextManager[sqlite3.Connection]:
        """Statements that only read. Raises StoreUnavailable, DataLoss."""
        return _reading(self._watch, self._connection)

    def close(self) -> None:
        """Close it; idempotent."""
        self._connection.close()


def _check_kind(connection: sqlite3.Connection) -> None:
    """Refuse, untouched, what is not an empty file nor a job pool of this version or one that there
    is a step from.
    """
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
            f"The job pool has format {version} and this skipjoin knows format {VERSION}; use the skipjoin that "
            "wrote it.",
            field="job_pool",
        )


def _make_schema(connection: sqlite3.Connection) -> None:
    """All tables of a new file, or the steps of an old one, in one transaction: a crash leaves the
    file as it was.
    """
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
