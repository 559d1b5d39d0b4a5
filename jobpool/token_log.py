"""The token log of the SQLite pool: one row per commit, folded into each job's own rows later.

Owns the tables `turn` and `piece` and, in memory, the tail of every unfinished job: what its own rows do not hold yet. A tail is folded every 512
tokens and at the job's end; a turn's row goes when every job in it has been folded past it. It does not know who may write; the pool asks it
inside its transactions and calls `apply` once they are durable.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..core.errors import InvariantViolation
from ..core.logprobs import TokenLogprobs
from ..core.plan import Int32s
from ..core.pool import LogEntry
from . import logprob_bytes
from .job_rows import column, ints

FOLD_TOKENS = 512
MAX_TURN_ROWS = 8192

Logprobs = list[TokenLogprobs | None]


@dataclass(slots=True, eq=False)
class Tail:
    """Tokens [folded, folded + len(tokens)) of one job, and the turn rows that hold them, oldest first.

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
    row: int | None
    folded: list[Tail]
    released: Counter[int]


class TokenLog:
    """The tails of all unfinished jobs, by the job's number."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the turn rows. Raises sqlite3.Error, and InvariantViolation when they do not fit together."""
        self._connection = connection
        self._tails: dict[int, Tail] = {}
        self._holders: Counter[int] = Counter()  # turn row -> jobs that are not folded past it
        for row, jobs, positions, counts, tokens, logprobs in connection.execute("SELECT * FROM turn ORDER BY id"):
            self._read_turn(row, (jobs, positions, counts, tokens, logprobs))

    def _read_turn(self, row: int, columns: tuple[bytes, bytes, bytes, bytes, bytes | None]) -> None:
        jobs, tokens = np.frombuffer(columns[0], dtype="<i8").tolist(), ints(columns[3])
        logprobs = None if columns[4] is None else logprob_bytes.decode(columns[4])
        at = 0
        for seq, position, count in zip(jobs, ints(columns[1]).tolist(), ints(columns[2]).tolist(), strict=True):
            tail = self._tails.get(seq) or self._read_tail(seq)
            # What lies before the tail's own place was folded already; a turn's row outlives that.
            if tail is not None and position >= tail.folded:
                if position != tail.length or at + count > len(tokens):
                    raise InvariantViolation("The job pool's token log has a gap.")
                _append(tail, tokens[at : at + count], None if logprobs is None else logprobs[at : at + count])
                tail.rows.append(row)
                self._holders[row] += 1
            at += count

    def _read_tail(self, seq: int) -> Tail | None:
        found = self._connection.execute(
            "SELECT folded_tokens, json_extract(sampling, '$.logprobs') FROM job WHERE seq = ? AND state < 2", (seq,)
        ).fetchone()
        if found is None:
            return None
        return self.open_tail(seq, found[0], wants_logprobs=found[1] is not None)

    # tails ------------------------------------------------------------------------------------------------------
    def open_tail(self, seq: int, folded: int, *, wants_logprobs: bool) -> Tail:
        """The tail of an unfinished job, made empty if there is none yet."""
        return self._tails.setdefault(seq, Tail(seq, folded, logprobs=[] if wants_logprobs else None))

    def tail_tokens(self, seq: int) -> int:
        """How many of a job's tokens are in its tail."""
        tail = self._tails.get(seq)
        return 0 if tail is None else len(tail.tokens)

    def read(self, seq: int, offset: int) -> tuple[Int32s, Logprobs]:
        """int32[n] tokens from `offset` on, and the log-probabilities stored with them: n entries, or none at all."""
        tail = self._tails.get(seq)
        tokens: list[Int32s] = []
        logprobs: Logprobs = []
        rows = self._connection.execute(
            "SELECT position, tokens, logprobs FROM piece WHERE seq = ? AND position + length(tokens) / 4 > ? ORDER BY position",
            (seq, offset),
        )
        for position, data, beside in rows:
            skip = max(0, offset - position)
            tokens.append(ints(data)[skip:])
            logprobs += [] if beside is None else logprob_bytes.decode(beside)[skip:]
        if tail is not None:
            skip = max(0, offset - tail.folded)
            tokens.append(np.array(tail.tokens[skip:], dtype=np.int32))
            logprobs += [] if tail.logprobs is None else tail.logprobs[skip:]
        return np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int32), logprobs

    # one commit -------------------------------------------------------------------------------------------------
    def stage(self, appended: list[tuple[Tail, LogEntry]], ending: set[int]) -> Staged:
        """Write one commit's tokens inside the open transaction: a turn row, and pieces for jobs that end or are long enough."""
        entries = {tail.seq: entry for tail, entry in appended}
        folded = {
            tail.seq: tail
            for tail, entry in appended
            if tail.seq in ending or len(tail.tokens) + len(entry.tokens) >= FOLD_TOKENS
        }
        folded |= {seq: tail for seq in ending if (tail := self._tails.get(seq)) is not None}
        if len(self._holders) > MAX_TURN_ROWS:
            folded |= {tail.seq: tail for tail in self._oldest_half()}
        row = self._write_turn([entry_of for entry_of in appended if entry_of[0].seq not in folded])
        released: Counter[int] = Counter()
        for tail in folded.values():
            self._write_piece(tail, entries.get(tail.seq))
            released.update(tail.rows)
        gone = [(at,) for at, count in released.items() if self._holders[at] == count]
        self._connection.executemany("DELETE FROM turn WHERE id = ?", gone)
        return Staged(appended, row, list(folded.values()), released)

    def _oldest_half(self) -> Iterable[Tail]:
        """Jobs that wait for long keep old rows alive: fold them early."""
        middle = sorted(self._holders)[len(self._holders) // 2]
        return [tail for tail in self._tails.values() if tail.rows and tail.rows[0] <= middle]

    def _write_turn(self, appended: list[tuple[Tail, LogEntry]]) -> int | None:
        if not appended:
            return None
        entries = [entry for _, entry in appended]
        logprobs = None
        if any(tail.logprobs is not None for tail, _ in appended):
            logprobs = logprob_bytes.encode(beside for tail, entry in appended for beside in _beside(tail, entry))
        cursor = self._connection.execute(
            "INSERT INTO turn (jobs, positions, counts, tokens, logprobs) VALUES (?, ?, ?, ?, ?)",
            (
                np.array([tail.seq for tail, _ in appended], dtype="<i8").tobytes(),
                np.array([entry.position for entry in entries], dtype="<i4").tobytes(),
                np.array([len(entry.tokens) for entry in entries], dtype="<i4").tobytes(),
                b"".join(column(entry.tokens) for entry in entries),
                logprobs,
            ),
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
        self._connection.execute("INSERT INTO piece VALUES (?, ?, ?, ?)", (tail.seq, tail.folded, tokens, logprobs))
        self._connection.execute(
            "UPDATE job SET folded_tokens = ? WHERE seq = ?", (tail.folded + len(tokens) // 4, tail.seq)
        )

    def apply(self, staged: Staged, ended: Iterable[int]) -> None:
        """The transaction is durable: let memory say so."""
        for tail, entry in staged.appended:
            _append(tail, entry.tokens, _beside(tail, entry))
        folded = {tail.seq for tail in staged.folded}
        if staged.row is not None:
            for tail, _ in staged.appended:
                if tail.seq not in folded:
                    tail.rows.append(staged.row)
                    self._holders[staged.row] += 1
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


def _beside(tail: Tail, entry: LogEntry) -> Logprobs:
    """One entry a token, whether the job's log keeps log-probabilities or not."""
    if tail.logprobs is None or entry.logprobs is None:
        return [None] * len(entry.tokens)
    return list(entry.logprobs)


def _append(tail: Tail, tokens: Int32s, logprobs: Logprobs | None) -> None:
    tail.tokens.frombytes(tokens.astype(np.int32, copy=False).tobytes())
    if tail.logprobs is not None:
        tail.logprobs += logprobs if logprobs is not None else [None] * len(tokens)
