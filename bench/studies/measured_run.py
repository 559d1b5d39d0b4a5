"""What was measured of a run: when each request came, showed its first token and ended.

Owns `MeasuredRun` and the reader of `*_vllm_measured_requests.jsonl`, one JSON object per request.
`replay` serves the same requests again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InvalidTrace
from ...core.plan import Int32s, Int64s
from .reading import count, number, object_of, text_of

Floats = NDArray[np.float64]
REQUESTS = "_vllm_measured_requests.jsonl"
_COUNTS = ("input_toks", "output_toks")
_STAMPS = ("queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
_TIMES = ("arrival_time", *_STAMPS)
_NS = 1e9
_LARGEST_S = 1e10


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredRun:
    """Requests in order of arrival: int64[n] ns since the first, int32[n] tokens."""

    name: str
    arrival_ns: Int64s
    prompt_tokens: Int32s
    output_tokens: Int32s
    first_ns: Int64s
    end_ns: Int64s
    #: The most requests that were between their first scheduling and their last token at once.
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

    Arrivals are stamped by another clock than the rest. The two are laid on each other where a
    request was queued soonest after it arrived.
    """
    lines = enumerate(text_of(path).splitlines(), 1)
    rows = [_row(f"{path.name}, line {number}", line) for number, line in lines if line.strip()]
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
        path.name.removesuffix(REQUESTS),
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


def _row(where: str, line: str) -> dict[str, float]:
    raw = object_of(line, where, "line")
    row: dict[str, float] = {key: count(where, key, raw.get(key)) for key in _COUNTS}
    row |= {key: number(where, key, raw.get(key), 0, _LARGEST_S) for key in _TIMES}
    stamps = [row[key] for key in _STAMPS]
    if stamps != sorted(stamps):
        raise InvalidTrace(f"{where}: a token is earlier than what comes before it.", field="first_token_ts")
    return row
