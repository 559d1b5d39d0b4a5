"""The token log of the SQLite pool: one row per commit, folded into each job's own rows later.

Owns the tables `turn` and `piece` and, in memory, the tail of every unfinished job: what its own
rows do not hold yet. A tail is folded every 512 tokens and at the job's end; a turn's row goes when
every job in it has been folded past it. A row that the disk gives back damaged ends what is known
of its jobs' logs: their tokens from there on are computed again. It does not know who may write;
the pool asks it inside its transactions and calls `apply` once they are durable. Readers on other
threads ask for copies of tails.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import struct
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.logprobs import TokenLogprobs
from ..core.plan import Int32s
from ..core.pool import LogEntry
from . import logprob_bytes
from .checksum import checksum
from .database import is_damage
from .job_rows import FOLDED, SAMPLING, STATE, STORED, column, ints, sealed_row, update
from .schema import CLAIMED, TURN_TABLE

log = logging.getLogger("skipjoin.jobpool")

FOLD_TOKENS = 512
MAX_TURN_ROWS = 8192

Logprobs = list[TokenLogprobs | None]
_FOLDED = update("folded_tokens") + " WHERE seq = :at"


@dataclass(slots=True, eq=False)
class Tail:
    """Tokens [folded, folded + len(tokens)) of one job, and the turn rows that hold them, oldest
    first.

    `logprobs` is None for a job that did not ask for any, else one entry a token.
    """

    seq: int
    folded: int
    tokens: array[int] = field(default_factory=lambda: array("i"))
    logprobs: Logprobs | None = None
    rows: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """The log's length in tokens."""
        return self.folded + len(self.tokens)


@dataclass(slots=True)
class Staged:
    """What one transaction writes; memory follows when it is durable."""

    appended: list[tuple[Tail, LogEntry]]
    kept: list[tuple[Tail, LogEntry]]
    """Those of `appended` that are in the turn row `row`, not in their job's own rows."""
    row: int | None
    folded: list[Tail]
    released: Mapping[int, int]


class TokenLog:
    """The tails of all unfinished jobs, by the job's number."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the turn rows. Raises sqlite3.Error when none can be read."""
        self._connection = connection
        self._tails: dict[int, Tail] = {}
        self._holders: Counter[int] = Counter()  # turn row -> jobs that are not folded past it
        self._lock = threading.Lock()  # a tail changes while a reader copies it
        self.damaged: list[int] = []
        """Turn rows that are not as they were written; the pool deletes them."""
        self.broken = False
        """Whether the table itself cannot be read to its end; the pool makes it anew."""
        try:
            for row, *columns, seal in connection.execute("SELECT * FROM turn ORDER BY id"):
                if checksum(*columns) == seal:
                    self._read_turn(row, columns)
                else:
                    self.damaged.append(row)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.broken = True
        if self.damaged or self.broken:
            log.error("the token log is damaged: what is missing of running jobs is computed again")

    def _read_turn(self, row: int, columns: list[Any]) -> None:
        jobs, tokens = np.frombuffer(columns[0], dtype="<i8").tolist(), ints(columns[3])
        logprobs = None if columns[4] is None else logprob_bytes.decode(columns[4])
        at = 0
        for seq, position, count in zip(jobs, ints(columns[1]).tolist(), ints(columns[2]).tolist(), strict=True):
            tail = self._tails.get(seq) or self._read_tail(seq)
            # What lies before the tail's own place was folded already; a turn's row outlives that.
            if tail is not None and position + count > tail.folded:
                known = tail.length - position
                # Behind a gap nothing fits; it is computed again, and what was then written twice
                # counts once.
                if 0 <= known < count:
                    fresh = slice(at + known, at + count)
                    _append(tail, tokens[fresh], None if logprobs is None else logprobs[fresh])
                tail.rows.append(row)
                self._holders[row] += 1
            at += count

    def _read_tail(self, seq: int) -> Tail | None:
        found = sealed_row(self._connection, seq)
        if found is None or found[STATE] > CLAIMED:
            return None
        return self.open_tail(seq, found[FOLDED], wants_logprobs=json.loads(found[SAMPLING])["logprobs"] is not None)

    def renew(self) -> None:
        """Make the table of turns anew, inside an open transaction; tails stay in memory until they
        are folded. Raises sqlite3.Error.
        """
        self._connection.execute("DROP TABLE turn")
        self._connection.execute(TURN_TABLE)
        self.broken = False
        self.damaged = []
        self._holders.clear()
        for tail in self._tails.values():
            tail.rows = []

    def forget_damaged(self) -> None:
        """Delete the damaged turn rows, inside an open transaction. Raises sqlite3.Error."""
        self._connection.executemany("DELETE FROM turn WHERE id = ?", [(row,) for row in self.damaged])
        self.damaged = []

    # tails
    # ------------------------------------------------------------------------------------------------------
    def open_tail(self, seq: int, folded: int, *, wants_logprobs: bool) -> Tail:
        """The tail of an unfinished job, made empty if there is none yet."""
        return self._tails.setdefault(seq, Tail(seq, folded, logprobs=[] if wants_logprobs else None))

    def length(self, seq: int) -> int:
        """The log's length of a job that has a tail, else 0. From any thread."""
        with self._lock:
            tail = self._tails.get(seq)
            return 0 if tail is None else tail.length

    def copy(self, seq: int) -> Tail | None:
        """A job's tail as it is now, without its rows. From any thread."""
        with self._lock:
            tail = self._tails.get(seq)
            if tail is None:
                return None
            return Tail(seq, tail.folded, tail.tokens[:], None if tail.logprobs is None else tail.logprobs[:])

    def read_good(self, seq: int, folded: int) -> Int32s:
        """int32[n]: a job's log up to the first damage. What lies behind it is cut off, inside the
        open transaction; the job is computed again there.

        Raises sqlite3.Error.
        """
        tail = self._tails.get(seq)
        known, whole = read_pieces(self._connection, seq, 0, folded)
        if whole:
            parts = [known.tokens] if tail is None else [known.tokens, np.array(tail.tokens, dtype=np.int32)]
            return np.concatenate(parts)
        good = len(known.tokens)
        self._connection.execute("DELETE FROM piece WHERE seq = ? AND position >= ?", (seq, good))
        self._connection.execute(_FOLDED, {"at": seq, "folded_tokens": good})
        if tail is not None:
            with self._lock:
                tail.folded, tail.tokens = good, array("i")
                tail.logprobs = None if tail.logprobs is None else []
        log.error("tokens from %d on of a job are damaged and are computed again", good)
        return known.tokens

    # one commit
    # -------------------------------------------------------------------------------------------------
    def stage(self, appended: list[tuple[Tail, LogEntry]], ending: Set[int]) -> Staged:
        """Write one commit's tokens inside the open transaction: a turn row, and pieces for jobs
        that end or are long enough.
        """
        folded = {tail.seq: tail for tail, entry in appended if len(tail.tokens) + len(entry.tokens) >= FOLD_TOKENS}
        folded |= {seq: tail for seq in ending if (tail := self._tails.get(seq)) is not None}
        if len(self._holders) > MAX_TURN_ROWS:
            folded |= {tail.seq: tail for tail in self._oldest_half()}
        if not folded:  # as nearly always
            return Staged(appended, appended, self._write_turn(appended), [], {})
        kept = [entry_of for entry_of in appended if entry_of[0].seq not in folded]
        row = self._write_turn(kept)
        entries = {tail.seq: entry for tail, entry in appended if tail.seq in folded}
        released: Counter[int] = Counter()
        for tail in folded.values():
            self._write_piece(tail, entries.get(tail.seq))
            released.update(tail.rows)
        gone = [(at,) for at, count in released.items() if self._holders[at] == count]
        self._connection.executemany("DELETE FROM turn WHERE id = ?", gone)
        return Staged(appended, kept, row, list(folded.values()), released)

    def _oldest_half(self) -> Iterable[Tail]:
        """Jobs that wait for long keep old rows alive: fold them early."""
        middle = sorted(self._holders)[len(self._holders) // 2]
        return [tail for tail in self._tails.values() if tail.rows and tail.rows[0] <= middle]

    def _write_turn(self, appended: list[tuple[Tail, LogEntry]]) -> int | None:
        if not appended:
            return None
        entries = [entry for _, entry in appended]
        tokens = [entry.tokens for entry in entries]
        jobs, logprobs = len(entries), None
        if any(tail.logprobs is not None for tail, _ in appended):
            logprobs = logprob_bytes.encode(beside for tail, entry in appended for beside in _beside(tail, entry))
        columns = (
            struct.pack(f"<{jobs}q", *[tail.seq for tail, _ in appended]),
            struct.pack(f"<{jobs}i", *[entry.position for entry in entries]),
            struct.pack(f"<{jobs}i", *[len(values) for values in tokens]),
            b"".join([values.tobytes() if values.dtype is STORED else column(values) for values in tokens]),
            logprobs,
        )
        cursor = self._connection.execute(
            "INSERT INTO turn (jobs, positions, counts, tokens, logprobs, checksum) VALUES (?, ?, ?, ?, ?, ?)",
            (*columns, checksum(*columns)),
        )
        return cursor.lastrowid

    def _write_piece(self, tail: Tail, entry: LogEntry | None) -> None:
        more = np.zeros(0, dtype=np.int32) if entry is None else entry.tokens
        tokens = column(np.array(tail.tokens, dtype=np.int32)) + column(more)
        if not tokens:
            return
        logprobs = None
        if tail.logprobs is not None:
            logprobs = logprob_bytes.encode(tail.logprobs + ([] if entry is None else _beside(tail, entry)))
        columns = (tail.seq, tail.folded, tokens, logprobs)
        self._connection.execute("INSERT OR REPLACE INTO piece VALUES (?, ?, ?, ?, ?)", (*columns, checksum(*columns)))
        self._connection.execute(_FOLDED, {"at": tail.seq, "folded_tokens": tail.folded + len(tokens) // 4})

    def apply(self, staged: Staged, ended: Iterable[int]) -> None:
        """The transaction is durable: let memory say so."""
        with self._lock:
            self._apply(staged, ended)

    def _apply(self, staged: Staged, ended: Iterable[int]) -> None:
        for tail, entry in staged.appended:
            tail.tokens.extend(entry.tokens.tolist())
            if tail.logprobs is not None:
                tail.logprobs += _beside(tail, entry)
        if staged.row is not None:
            for tail, _ in staged.kept:
                tail.rows.append(staged.row)
            self._holders[staged.row] = len(staged.kept)
        for tail in staged.folded:
            tail.folded = tail.length
            tail.tokens = array("i")
            tail.rows = []
            tail.logprobs = None if tail.logprobs is None else []
        for row, count in staged.released.items():
            self._holders[row] -= count
            if not self._holders[row]:
                del self._holders[row]
        for seq in ended:
            self._tails.pop(seq, None)


@dataclass(slots=True)
class Pieces:
    """int32[n] tokens, and the log-probabilities stored with them: n entries, or none at all."""

    tokens: Int32s
    logprobs: Logprobs


def read_pieces(connection: sqlite3.Connection, seq: int, offset: int, until: int) -> tuple[Pieces, bool]:
    """A job's folded tokens [offset, until), up to the first damage, and whether there was none."""
    parts: list[Int32s] = []
    logprobs: Logprobs = []
    at = offset
    try:
        for position, data, beside, seal in connection.execute(_PIECES, (seq, offset)):
            skip = at - position
            if checksum(seq, position, data, beside) != seal or not 0 <= skip < len(data) // 4:
                break
            parts.append(ints(data)[skip:])
            logprobs += [] if beside is None else logprob_bytes.decode(beside)[skip:]
            at += len(parts[-1])
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    tokens = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
    return Pieces(tokens, logprobs), at == max(offset, until)


_PIECES = (
    "SELECT position, tokens, logprobs, checksum FROM piece"
    " WHERE seq = ? AND position + length(tokens) / 4 > ? ORDER BY position"
)


def _beside(tail: Tail, entry: LogEntry) -> Logprobs:
    """One entry a token, whether the job's log keeps log-probabilities or not."""
    if tail.logprobs is None or entry.logprobs is None:
        return [None] * len(entry.tokens)
    return list(entry.logprobs)


def _append(tail: Tail, tokens: Int32s, logprobs: Logprobs | None) -> None:
    tail.tokens.frombytes(tokens.astype(np.int32, copy=False).tobytes())
    if tail.logprobs is not None:
        tail.logprobs += logprobs if logprobs is not None else [None] * len(tokens)
