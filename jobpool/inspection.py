"""A pool's file as somebody reads it who may not change it: beside a running server, after a crash,
or damaged.

Owns the way in (read-only, one moment of the file; a private copy where the log beside it has to be
read first), rows that are read as far as they can be, and every format that there was. It judges
nothing: `pool_check.py` and `pool_export.py` do, for `skipjoin pool`.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..core.errors import InvalidInput, StoreUnavailable
from .checksum import offer
from .database import explained, is_damage
from .schema import APPLICATION_ID, VERSION

Row = dict[str, Any]
_LAST_ROW = 2**62
_BUSY_S = 5.0


class Inspection:
    """One moment of a pool's file."""

    def __init__(self, connection: sqlite3.Connection, version: int) -> None:
        self.connection = connection
        self.format = version
        self.unreadable: dict[str, int] = {}
        """Table -> how often reading it met a place that could not be read."""

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns, none when there is no such table."""
        return [row[1] for row in self.connection.execute(f"PRAGMA table_info({table})")]

    def rows(self, table: str) -> Iterator[Row]:
        """Every row that can be read, by row id; `rowid` is among its values. What cannot is
        counted in `unreadable`, and passed over.
        """
        names = self.columns(table)
        statement = f"SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid"
        last, step = 0, 0
        while last < _LAST_ROW:
            try:
                for values in self.connection.execute(statement, (last,)):
                    last, step = int(values[0]), 0
                    yield dict(zip(("rowid", *names), values, strict=True))
                return
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise explained(error) from None
                self.unreadable[table] = self.unreadable.get(table, 0) + 1
                step = max(1, 2 * step)
                last += step

    def rows_of(self, table: str, seq: int) -> list[Row]:
        """A job's rows, found by its number; none where that way is damaged."""
        try:
            found = self.connection.execute(f"SELECT rowid, * FROM {table} WHERE seq = ?", (seq,)).fetchall()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise explained(error) from None
            self.unreadable[table] = self.unreadable.get(table, 0) + 1
            return []
        return [dict(zip(("rowid", *self.columns(table)), values, strict=True)) for values in found]

    def count(self, table: str) -> int:
        """How many rows there are, as far as that can be told."""
        try:
            found = self.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        except sqlite3.DatabaseError:
            return 0
        return int(found[0])


@contextmanager
def inspected(path: Path) -> Iterator[Inspection]:
    """The file at `path`. Raises InvalidInput for what is no job pool, StoreUnavailable for one
    that cannot be read now.
    """
    if not path.is_file():
        raise InvalidInput(f"There is no job pool at {path}.", field="PATH")
    with tempfile.TemporaryDirectory(prefix="skipjoin-pool-") as folder:  # its owner's alone
        connection = _opened(path, Path(folder))
        try:
            connection.execute("BEGIN")
            yield Inspection(connection, _format(connection))
        except sqlite3.Error as error:
            raise explained(error) from None
        finally:
            connection.close()


def _opened(path: Path, folder: Path) -> sqlite3.Connection:
    """Read-only. A log that nobody has open is read into an index first, which is written beside
    it: on a copy, then.
    """
    beside = path.with_name(f"{path.name}-wal")
    try:
        if beside.exists() and not path.with_name(f"{path.name}-shm").exists():
            for one in (path, beside):
                shutil.copy(one, folder / one.name)
            path = folder / path.name
        return _connected(path)
    except sqlite3.OperationalError as error:
        raise explained(error) from None
    except OSError as error:
        raise StoreUnavailable(f"The job pool cannot be read: {error.strerror or 'input error'}.") from None


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    offer(connection)
    return connection


def _format(connection: sqlite3.Connection) -> int:
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise InvalidInput(
                "The file is no job pool, or its first page is damaged: nothing can be read.", field="PATH"
            ) from None
        raise
    if application != APPLICATION_ID or not 1 <= version <= VERSION:
        what = "another program's database" if application != APPLICATION_ID else f"a job pool of format {version}"
        raise InvalidInput(f"The file is {what}; this skipjoin reads job pools up to format {VERSION}.", field="PATH")
    return version
