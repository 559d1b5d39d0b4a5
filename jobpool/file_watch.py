"""Whether the pool's open files are still the ones that a restart would open.

Owns what was seen of the file and of the `-wal` and `-shm` beside it: which files they are, their
sizes and times, and the header of SQLite's index of the write-ahead log. It compares that with what
lies under the pool's path now, in a few microseconds. It runs no statement and repairs nothing but
the length of a shared index that was cut off under us. `database.py` asks it before every
transaction and before every acknowledgement.
"""

from __future__ import annotations

import logging
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..core.errors import StoreUnavailable

log = logging.getLogger("skipjoin.jobpool")

_HEADER = struct.Struct("=12x2BH2I72xI")
"""Of SQLite's index of the log: initialised, byte order, page size, frames, pages of the database,
frames already copied into it.
"""
_HEADER_BYTES = _HEADER.size
_SALTS = slice(32, 40)
"""Of the same header: two numbers that are new whenever the log begins anew."""
_TRUST = 5
_HOUR_NS = 3_600_000_000_000
_FRAME_HEAD_BYTES = 24
_LOG_HEAD_BYTES = 32
_GONE = (
    "The job pool's file was deleted, moved or replaced while the server runs; nothing more is stored."
    " Put the same file back, or restart the server."
)
_LOG_GONE = (
    "The job pool's write-ahead log was deleted or replaced while the server runs; nothing more is stored."
    " Restart the server."
)
_CUT = (
    "The job pool's file or its write-ahead log was cut off while the server runs; nothing more is stored."
    " Restart the server, or restore the file from a backup."
)
_UNSEEN = "The job pool's files cannot be looked at ({}); nothing is stored meanwhile. Look at the machine's log."


class Sight(NamedTuple):
    """What lay under the path: (size, time of change) of file and log, and the header of the log's
    index.
    """

    file: tuple[int, int]
    log: tuple[int, int]
    header: bytes

    def cut_since(self, last: Sight) -> bool:
        """Whether file or log are shorter than the index says, or than a log was whose index has to
        be made anew.
        """
        initialised, _, page_code, frames, pages, copied = _HEADER.unpack(self.header)
        if not initialised:
            return self.log != last.log
        page = 65536 if page_code == 1 else page_code
        if frames and self.log[0] < _LOG_HEAD_BYTES + frames * (page + _FRAME_HEAD_BYTES):
            return True
        return self.file[0] < pages * page and (copied >= frames or self.file[0] < last.file[0])

    @property
    def frames(self) -> int:
        """Pages in the log."""
        return int(_HEADER.unpack(self.header)[3])

    def same_log(self, last: Sight) -> bool:
        """Whether the log has not begun anew since: its salts are the same."""
        return self.header[_SALTS] == last.header[_SALTS]

    def file_written_by_hand(self, last: Sight) -> bool:
        """Whether the file changed although SQLite copied nothing from the log into it, which alone
        makes SQLite write the file.
        """
        if self.file == last.file:
            return False
        copied, before = (_HEADER.unpack(sight.header)[-1] for sight in (self, last))
        return bool(copied <= (before if self.same_log(last) else 0))

    def changed_by_hand(self, last: Sight) -> bool:
        """Whether bytes were written that SQLite, in whatever program, did not write: the index
        would say so.
        """
        return self.header == last.header and (self.file, self.log) != (last.file, last.log)


class Trust:
    """How often times that change by themselves are taken for a sign: five times, and once more for
    every hour that goes by.
    """

    def __init__(self, now_ns: int) -> None:
        self._left = _TRUST
        self._since_ns = now_ns

    def spend(self, now_ns: int) -> bool:
        """Whether a change of times counts."""
        hours = max(0, (now_ns - self._since_ns) // _HOUR_NS)
        self._since_ns += hours * _HOUR_NS
        if hours and not self._left:
            log.info("the times of the job pool's file are watched again")
        self._left = min(_TRUST, self._left + hours)
        if not self._left:
            return False
        self._left -= 1
        if not self._left:
            log.warning("the times of the job pool's file change by themselves here; they are not watched for an hour")
        return True


class FileWatch:
    """Identities of three open files, and their last sight."""

    def __init__(self, path: Path, real: Path) -> None:
        """`path` as it was asked for, `real` as SQLite opened it, after a first transaction made
        the log and its index.
        """
        self._path = os.path.abspath(path)
        self._real = str(real)
        self._is_symlink = self._path != self._real
        self._log_path = f"{real}-wal"
        # Never closed before SQLite's own descriptors: closing any descriptor of a file drops all
        # locks that the process has on it.
        self._index = os.open(f"{real}-shm", os.O_RDWR | os.O_CLOEXEC)
        self._index_size = os.fstat(self._index).st_size
        self._file_identity, self._log_identity = _identity(os.stat(self._path)), _identity(os.stat(self._log_path))
        self.endangered = False
        """Whether the file is ours, but its log is not, or it was cut off: what the log holds must
        go into the file at once.
        """
        self.damage_met = False
        """Whether a reader, on whatever thread, met damage that the writer has not heard of."""
        self.last = self._sight(os.stat(self._path), os.stat(self._log_path))

    def unchanged(self) -> bool:
        """Whether file, log and index lie there as at the last look: the short way, taken before
        nearly every transaction.

        SQLite in another program that commits, checkpoints or begins the log anew changes file or
        log, so the header need not be read.
        """
        try:
            file, log, index = os.stat(self._path), os.stat(self._log_path), os.fstat(self._index)
        except OSError:
            return False
        last = self.last
        return (
            (file.st_size, file.st_mtime_ns) == last.file
            and (log.st_size, log.st_mtime_ns) == last.log
            and index.st_size == self._index_size
            and index.st_nlink > 0
            and not self._is_symlink
            and (file.st_dev, file.st_ino) == self._file_identity
            and (log.st_dev, log.st_ino) == self._log_identity
        )

    def look(self) -> Sight:
        """What lies under the path. Raises StoreUnavailable when that is not what this server has
        open, or was cut off.
        """
        self.endangered = False
        try:
            index = os.fstat(self._index)
            if index.st_size != self._index_size:
                self._keep_mapped(index.st_size)
            sight = self._sight(*self._ours(index))
            if sight == self.last or not sight.cut_since(self.last):
                return sight
            sight = self._sight(*self._ours(index))  # the index may have been seen half written
        except OSError as error:
            raise StoreUnavailable(_UNSEEN.format(error.strerror)) from None
        if sight.cut_since(self.last):
            raise self._endangered(_CUT) if sight.log == self.last.log else StoreUnavailable(_CUT)
        return sight

    def _endangered(self, message: str) -> StoreUnavailable:
        self.endangered = True
        return StoreUnavailable(message)

    def _ours(self, index: os.stat_result) -> tuple[os.stat_result, os.stat_result]:
        try:
            file = os.stat(self._path)
            real = os.stat(self._real) if self._is_symlink else file
        except OSError:
            raise StoreUnavailable(_GONE) from None
        if _identity(file) != self._file_identity or (real is not file and _identity(real) != self._file_identity):
            raise StoreUnavailable(_GONE)
        try:
            log = os.stat(self._log_path)
        except OSError:
            raise self._endangered(_LOG_GONE) from None
        if _identity(log) != self._log_identity or not index.st_nlink:
            raise self._endangered(_LOG_GONE)
        return file, log

    def _sight(self, file: os.stat_result, log: os.stat_result) -> Sight:
        header = os.pread(self._index, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES:
            header = header.ljust(_HEADER_BYTES, b"\0")
        return Sight((file.st_size, file.st_mtime_ns), (log.st_size, log.st_mtime_ns), header)

    def _keep_mapped(self, size: int) -> None:
        """Give a shared index that was cut off its length back, between two transactions: SQLite
        then reads the log anew.

        Within a transaction it must not be done: SQLite would look for its newest pages in an empty
        index, and not find them.
        """
        if size < self._index_size:
            os.ftruncate(self._index, self._index_size)
        else:
            self._index_size = size

    def check_mapped(self) -> None:
        """Raise StoreUnavailable while the shared index is cut off: to touch what is missing would
        end the process.
        """
        try:
            size = os.fstat(self._index).st_size
        except OSError as error:
            raise StoreUnavailable(_UNSEEN.format(error.strerror)) from None
        if size < self._index_size:
            raise StoreUnavailable(_CUT)

    def part(self) -> None:
        """Before SQLite closes its own; idempotent."""
        if self._index >= 0:
            with suppress(OSError):
                self._keep_mapped(os.fstat(self._index).st_size)

    def close(self) -> None:
        """After SQLite has closed its own; idempotent."""
        if self._index >= 0:
            os.close(self._index)
            self._index = -1


def _identity(seen: os.stat_result) -> tuple[int, int]:
    return seen.st_dev, seen.st_ino
