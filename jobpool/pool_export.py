"""Jobs of a pool's file as JSON values, as far as they can be read.

Owns what a job is in JSON: its fields in words, prompt and tokens as lists, and `damaged`, the
parts of it that are not as they were written. It writes no file and renders nothing; `skipjoin pool
export` writes a line a job.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ..core.errors import InvariantViolation
from . import logprob_bytes
from .checksum import checksum
from .inspection import Inspection, Row
from .job_rows import OPTION_COLUMNS, STATE_CODES, ints
from .pool_check import TABLES, turn_parts

_STATES = {code: state.value for state, code in STATE_CODES.items()}
_PLAIN = (
    "job_id", "tenant", "request_id", "submitted_unix_ns", "deadline_unix_ns", "finished_unix_ns", *OPTION_COLUMNS,
    "earlier_output_tokens", "epoch", "crashes", "cancel_reason", "finish", "failure_code", "failure_message",
)  # fmt: skip


def exported(pool: Inspection) -> Iterator[dict[str, Any]]:
    """Every job that can be read, oldest first. Raises StoreUnavailable."""
    turns: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for row in pool.rows("turn"):
        if _sound("turn", row):
            for seq, position, tokens in turn_parts(row):
                turns[seq].append((position, tokens))
    scanned: dict[int, list[Row]] | None = None
    for row in pool.rows("job"):
        pieces = pool.rows_of("piece", row["seq"])
        if sum(len(piece["tokens"]) for piece in pieces) < 4 * row["folded_tokens"]:
            # The index may be damaged where the rows are not.
            scanned = _scanned(pool) if scanned is None else scanned
            pieces = scanned.get(row["seq"], [])
        prompts = pool.rows_of("prompt", row["seq"])
        yield _job(row, prompts[0] if prompts else None, pieces, turns.get(row["seq"], []))


def _scanned(pool: Inspection) -> dict[int, list[Row]]:
    pieces: dict[int, list[Row]] = defaultdict(list)
    for row in pool.rows("piece"):
        pieces[row["seq"]].append(row)
    return pieces


def _job(row: Row, prompt: Row | None, pieces: list[Row], turns: list[tuple[int, bytes]]) -> dict[str, Any]:
    damaged: list[str] = []
    if not _sound("job", row):
        damaged.append("job")
    line: dict[str, Any] = {name: row.get(name) for name in _PLAIN}
    line["state"] = _STATES.get(row["state"])
    line["cancel_on_disconnect"] = bool(row["cancel_on_disconnect"])
    for name in ("sampling", "account"):
        line[name] = _json(row[name], name, damaged)
    line["prompt"] = None
    if prompt is not None and _sound("prompt", prompt):
        line["prompt"] = ints(prompt["tokens"]).tolist()
    else:
        damaged.append("prompt")
    line["tokens"], line["logprobs"] = _log(row, pieces, turns, damaged)
    line["damaged"] = damaged
    return line


def _log(
    row: Row, pieces: list[Row], turns: list[tuple[int, bytes]], damaged: list[str]
) -> tuple[list[int], list[Any] | None]:
    """Tokens up to the first damage, and the log-probabilities of those that are folded."""
    tokens: list[int] = []
    logprobs: list[Any] = []
    for piece in sorted(pieces, key=lambda one: int(one["position"])):
        if not _sound("piece", piece) or piece["position"] != len(tokens):
            break
        tokens += ints(piece["tokens"]).tolist()
        logprobs += _logprobs(piece["logprobs"])
    if len(tokens) < row["folded_tokens"]:
        damaged.append("tokens")
        return tokens, logprobs or None
    for position, data in turns:
        known = len(tokens) - position
        if 0 <= known < len(data) // 4:
            tokens += ints(data).tolist()[known:]
    return tokens, logprobs or None


def _logprobs(data: bytes | None) -> list[Any]:
    if data is None:
        return []
    try:
        return [
            None if one is None else {"logprob": one.chosen, "top": list(one.top)} for one in logprob_bytes.decode(data)
        ]
    except InvariantViolation:
        return []


def _sound(table: str, row: Row) -> bool:
    return "checksum" not in row or checksum(*(row[name] for name in TABLES[table])) == row["checksum"]


def _json(text: str | None, name: str, damaged: list[str]) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        damaged.append(name)
        return None
