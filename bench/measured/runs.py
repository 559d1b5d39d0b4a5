"""What was measured of a run: when each request came, showed its first token and ended.

Owns `MeasuredRun` and the reader of `*_vllm_measured_requests.jsonl`, one JSON object a request. It does not know who served it; `replay` serves the
same requests again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InvalidTrace
from ...core.plan import Int32s, Int64s

Floats = NDArray[np.float64]
MAX_BYTES = 64 << 20
_COUNTS = ("input_toks", "output_toks")
_TIMES = ("arrival_time", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
_NS = 1e9
_LARGEST_S = 1e10


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRun:
    """Requests in order of arrival: int64[n] ns on one clock that is 0 at the first arrival, int32[n] prompt and output tokens.

    `running` is the most requests that were between their first scheduling and their last token at once.
    """

    name: str
    arrival_ns: Int64s
    prompt_tokens: Int32s
    output_tokens: Int32s
    first_ns: Int64s
    end_ns: Int64s
    running: int

    def __len__(self) -> int:
        return len(self.arrival_ns)

    def mean_ttft_s(self, part: slice = slice(None)) -> float:
        """Mean seconds from arrival to first token, of the requests in `part`."""
        return float((self.first_ns - self.arrival_ns)[part].mean()) / _NS

    def mean_latency_s(self, part: slice = slice(None)) -> float:
        """Mean seconds from arrival to last token, of the requests in `part`."""
        return float((self.end_ns - self.arrival_ns)[part].mean()) / _NS


def read_run(path: Path) -> MeasuredRun:
    """The run in `path`. Raises InvalidTrace naming file, line and field.

    Arrivals are stamped by another clock than the rest. The two are laid on each other where a request was queued soonest after it arrived.
    """
    rows = [_row(path.name, number, line) for number, line in enumerate(_lines(path), 1) if line.strip()]
    if len(rows) < 2:
        raise InvalidTrace(f"{path.name} holds {len(rows)} requests.", field="requests", limit="2 or more")
    rows.sort(key=lambda row: row["arrival_time"])
    column = {key: np.array([row[key] for row in rows]) for key in (*_COUNTS, *_TIMES)}
    shift_s = float((column["queued_ts"] - column["arrival_time"]).min())
    start_s = column["arrival_time"][0] + shift_s

    def on_clock(key: str, shift: float = 0.0) -> Int64s:
        out: Int64s = np.rint((column[key] + shift - start_s) * _NS).astype(np.int64)
        return out

    return MeasuredRun(
        path.name.removesuffix("_vllm_measured_requests.jsonl"),
        on_clock("arrival_time", shift_s),
        column["input_toks"].astype(np.int32),
        column["output_toks"].astype(np.int32),
        on_clock("first_token_ts"),
        on_clock("last_token_ts"),
        _most_at_once(column["scheduled_ts"], column["last_token_ts"]),
    )


def _most_at_once(begin: Floats, end: Floats) -> int:
    """At an instant at which one ends and one begins both count once."""
    begun, ended = np.sort(begin), np.sort(end)
    return int((np.arange(1, len(begun) + 1) - np.searchsorted(ended, begun, "right")).max())


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidTrace(f"{path.name} is too large.", field="file", limit=f"at most {MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as problem:
        raise InvalidTrace(f"{path.name} cannot be read: {problem.strerror}.", field="file") from None
    except UnicodeDecodeError:
        raise InvalidTrace(f"{path.name} is no text file.", field="file") from None


def _row(file: str, number: int, line: str) -> dict[str, float]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidTrace(f"{file}, line {number}: no JSON.", field="line") from None
    if not isinstance(raw, dict):
        raise InvalidTrace(f"{file}, line {number}: no object.", field="line")
    row = {key: _number(file, number, raw, key) for key in (*_COUNTS, *_TIMES)}
    for key in _COUNTS:
        if not 1 <= row[key] <= 1 << 20 or row[key] != int(row[key]):
            raise InvalidTrace(f"{file}, line {number}: {key} is {row[key]:g}.", field=key, limit="whole, 1 to 2^20")
    if not row["queued_ts"] <= row["scheduled_ts"] <= row["first_token_ts"] <= row["last_token_ts"]:
        raise InvalidTrace(
            f"{file}, line {number}: a token is earlier than what comes before it.", field="first_token_ts"
        )
    return row


def _number(file: str, number: int, raw: dict[str, Any], key: str) -> float:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidTrace(f"{file}, line {number}: {key} is missing or no number.", field=key)
    if not 0 <= value <= _LARGEST_S:
        raise InvalidTrace(f"{file}, line {number}: {key} is {value:g}.", field=key, limit=f"0 to {_LARGEST_S:g}")
    return float(value)
