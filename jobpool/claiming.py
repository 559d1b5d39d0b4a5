"""Rows of jobs that a server takes up.

Owns which jobs are taken, oldest first, and what becomes of one that the disk gave back damaged: it
fails, and hurts no other. It begins no transaction and knows no epoch but the one it is given; the
SQLite pool claims with it.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace

from ..core.clock import unix_ns
from ..core.errors import DataLoss
from ..core.job import FinishReason, JobState
from ..core.pool import JobRecord, LogEnd
from .database import explained
from .job_rows import (
    FOLDED,
    SELECT,
    STATE_CODES,
    Row,
    check_sealed,
    read_prompt,
    record_of,
    sealed_row,
    update,
    write_end,
)
from .schema import CLAIMED
from .token_log import Tail, TokenLog

log = logging.getLogger("skipjoin.jobpool")

_CLAIM = update("state", "epoch") + " WHERE seq = :at"


class Claiming:
    """Takes jobs inside the transactions of one connection."""

    def __init__(self, tokens: TokenLog) -> None:
        self._log = tokens
        self._unclaimable: set[int] = set()

    def claim(self, connection: sqlite3.Connection, epoch: int, limit: int) -> list[tuple[JobRecord, Tail]]:
        """Up to `limit` jobs with prompt and log, now CLAIMED under `epoch`. Raises sqlite3.Error."""
        ours = (self._claim_one(connection, epoch, seq) for seq in self._claimable(connection, epoch, limit))
        return [one for one in ours if one is not None]

    def _claimable(self, connection: sqlite3.Connection, epoch: int, limit: int) -> list[int]:
        """Numbers of jobs, oldest first."""
        found: list[int] = []
        for where, values in (("state = 1 AND epoch < ?", (epoch,)), ("state = 0", ())):
            wanted = (*values, limit + len(self._unclaimable))
            found += [
                row[0] for row in connection.execute(f"SELECT seq FROM job WHERE {where} ORDER BY seq LIMIT ?", wanted)
            ]
        return sorted(seq for seq in found if seq not in self._unclaimable)[:limit]

    def _claim_one(self, connection: sqlite3.Connection, epoch: int, seq: int) -> tuple[JobRecord, Tail] | None:
        row: Row | None = None
        try:
            row = connection.execute(f"{SELECT} WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                raise DataLoss("The job is in an index only.")
            record = record_of(row, 0, read_prompt(connection, seq))
            generated = self._log.read_good(seq, row[FOLDED])
            connection.execute(_CLAIM, {"at": seq, "state": CLAIMED, "epoch": epoch})
        except DataLoss as error:
            self._give_up(connection, seq, row, error)
            return None
        except sqlite3.DatabaseError as error:
            if not isinstance(loss := explained(error, reading=True), DataLoss):
                raise
            self._give_up(connection, seq, row, loss)
            return None
        wants = record.job.asked.sampling.logprobs is not None
        tail = self._log.open_tail(seq, len(generated), wants_logprobs=wants)
        owned = replace(
            record,
            state=JobState.CLAIMED,
            epoch=epoch,
            output_tokens=len(generated),
            generated=generated,
            prompt_tokens=None,
        )
        return owned, tail

    def _give_up(self, connection: sqlite3.Connection, seq: int, row: Row | None, error: DataLoss) -> None:
        """A damaged job is never run: it fails, and says why to whom can still be told."""
        log.error("a damaged job is given up: %s", error.message)
        self._unclaimable.add(seq)
        try:
            if row is None:
                raise error
            check_sealed(row)
            end = LogEnd(row[1], FinishReason.FAILED, unix_ns(), (error.code, error.message))
            write_end(connection, seq, end, row[FOLDED])
        except DataLoss:
            connection.execute(_GIVE_UP, (STATE_CODES[JobState.FAILED], unix_ns(), seq))


_GIVE_UP = "UPDATE job SET state = ?, finished_unix_ns = ? WHERE seq = ?"
"""The row's seal stays broken, so that nothing of it is ever taken for true; the sweep takes it
away in time.
"""


def give_up_damaged(connection: sqlite3.Connection, now_unix_ns: int) -> None:
    """Let no damaged row pass for a job that waits, runs, or ended at no time that has been. Raises
    sqlite3.Error.
    """
    doubtful = "SELECT seq FROM job NOT INDEXED WHERE state < 2 OR finished_unix_ns IS NULL OR finished_unix_ns > ?"
    for (seq,) in connection.execute(doubtful, (now_unix_ns,)).fetchall():
        if sealed_row(connection, seq) is None:
            connection.execute(_GIVE_UP, (STATE_CODES[JobState.FAILED], now_unix_ns, seq))
