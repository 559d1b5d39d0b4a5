"""A recorded sequence of requests.

Owns `Trace`, columns of equal length. It does not know the file it came from beyond its name;
`formats` reads one, `workload` draws requests from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.plan import Int32s, Int64s
from .origins import Origins

MAX_ROWS = 20_000_000
MAX_PROMPT_TOKENS = 2**24
MAX_OUTPUT_TOKENS = 2**20
MAX_ARRIVAL_S = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in order of arrival: int64[n] arrivals in ns (the first is 0), int32[n] prompt
    tokens, int32[n] output tokens, all >= 1.

    `name` carries no folder. `dropped_rows` counts rows of a public format without prompt or
    without output: failed requests there.
    """

    name: str
    arrival_ns: Int64s
    prompt_tokens: Int32s
    output_tokens: Int32s
    dropped_rows: int = 0
    origins: Origins | None = None

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def rate_per_s(self) -> float | None:
        """Requests over arrival span; None when all arrive at once."""
        span_ns = int(self.arrival_ns[-1] - self.arrival_ns[0])
        return len(self) * 1e9 / span_ns if span_ns > 0 else None
