"""Whether a pool's file is sound, and what is in it.

Owns the questions: what SQLite finds, checksums, states, what belongs to nothing, logs with gaps.
It changes nothing and renders nothing; `skipjoin pool check` shows the report.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .checksum import checksum
from .inspection import Inspection, Row
from .job_rows import STATE_CODES
from .schema import JOB_COLUMNS

TABLES = {
    "job": JOB_COLUMNS,
    "prompt": ("seq", "tokens"),
    "piece": ("seq", "position", "tokens", "logprobs"),
    "turn": ("jobs", "positions", "counts", "tokens", "logprobs"),
}
"""Table -> the columns that its rows' checksums are made of."""
_STATES = {code: state.value for state, code in STATE_CODES.items()}
_EXAMPLES = 3
_MESSAGES = 100


@dataclass(slots=True)
class Report:
    """Rows by table, jobs by state, and faults: words -> (how many, examples)."""

    format: int
    rows: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    faults: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.faults

    def fault(self, words: str, example: str, count: int = 1) -> None:
        """One more."""
        known, examples = self.faults.get(words, (0, []))
        self.faults[words] = (known + count, [*examples, example] if len(examples) < _EXAMPLES else examples)


def check(pool: Inspection, begin: Callable[[str], object] = lambda what: None) -> Report:
    """Look through everything; `begin` hears what is looked at next. Raises StoreUnavailable."""
    report = Report(pool.format)
    begin("pages and indices")
    _ask_sqlite(pool, report)
    jobs: dict[int, Row] = {}
    seen: dict[str, set[int]] = {"prompt": set(), "piece": set()}
    lengths: Counter[int] = Counter()
    for table, columns in TABLES.items():
        begin(f"rows of {table}")
        report.rows[table] = 0
        for row in pool.rows(table):
            report.rows[table] += 1
            if "checksum" in row and checksum(*(row[name] for name in columns)) != row["checksum"]:
                report.fault(f"rows of {table} are not as they were written", f"row {row['rowid']}")
            if table == "job":
                jobs[row["seq"]] = row
            elif table in seen:
                seen[table].add(row["seq"])
            if table == "piece":
                lengths[row["seq"]] += len(row["tokens"]) // 4
    for table, places in pool.unreadable.items():
        report.fault(f"places of {table} cannot be read", table, places)
    begin("what belongs together")
    _compare(jobs, seen, lengths, report)
    return report


def _ask_sqlite(pool: Inspection, report: Report) -> None:
    try:
        for (said,) in pool.connection.execute(f"PRAGMA integrity_check({_MESSAGES})"):
            if said != "ok":
                report.fault("faults that SQLite finds in pages or indices", " ".join(said.split()))
        for table, row, *_ in pool.connection.execute("PRAGMA foreign_key_check"):
            report.fault(f"rows of {table} belong to no job", f"row {row}")
    except sqlite3.DatabaseError:
        report.fault("faults that SQLite finds in pages or indices", "the look was broken off")


def _compare(jobs: dict[int, Row], seen: dict[str, set[int]], lengths: Counter[int], report: Report) -> None:
    states = Counter(_STATES.get(row["state"], "unknown") for row in jobs.values())
    report.states = {name: states.get(name, 0) for name in _STATES.values()}
    if states["unknown"]:
        report.fault("jobs have a state that there is not", "state", states["unknown"])
    for seq, row in jobs.items():
        if seq not in seen["prompt"]:
            report.fault("jobs have no prompt", row["job_id"])
        if lengths[seq] != row["folded_tokens"]:
            report.fault("jobs have another number of tokens than was stored", row["job_id"])


def turn_parts(row: Row) -> list[tuple[int, int, bytes]]:
    """(job's number, position, tokens) of each job in a row of `turn`; none for a row that does not
    fit together.
    """
    parts: list[tuple[int, int, bytes]] = []
    try:
        jobs, positions, counts = (
            np.frombuffer(row[name], dtype=kind).tolist()
            for name, kind in (("jobs", "<i8"), ("positions", "<i4"), ("counts", "<i4"))
        )
        at = 0
        for seq, position, count in zip(jobs, positions, counts, strict=True):
            parts.append((seq, position, row["tokens"][at * 4 : (at + count) * 4]))
            at += count
    except (ValueError, TypeError):
        return []
    return parts
