"""What a run amounts to: the numbers of the result JSON.

Owns `JobResults` (columns, one entry a counted job) and `summarize`, which turns them into
`RunResult`. Percentiles are nearest-rank; what is not known is None. It does not know whether a
simulator or a live server was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.plan import Int32s, Int64s

Float64s = NDArray[np.float64]
NS = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class JobResults:
    """Counted jobs in order of arrival. int64[n]: arrival, first token and end in ns on one clock;
    int32[n] output tokens emitted.

    `alone_ns` (int64[n]) is the latency each job would have by itself, None when no profile is
    known. The three counters are sums over these jobs, None when the target does not tell.
    """

    arrival_ns: Int64s
    first_token_ns: Int64s
    end_ns: Int64s
    output_tokens: Int32s
    alone_ns: Int64s | None = None
    preemptions: int | None = None
    bytes_moved: int | None = None
    tokens_recomputed: int | None = None

    def __len__(self) -> int:
        return len(self.arrival_ns)


@dataclass(frozen=True, slots=True)
class RunResult:
    """One object of `results`. JCT: arrival to last token. Normalised latency: JCT / output tokens.
    TTFT: arrival to first token.

    TPOT: (JCT - TTFT) / (output tokens - 1), jobs of one token left out. Makespan: first counted
    arrival to last counted end; throughput: counted output tokens over it. Slowdown: JCT over the
    profile's latency of the job alone.
    """

    policy: str | None
    requests: int
    refused: int
    mean_jct_s: float | None
    p50_jct_s: float | None
    p95_jct_s: float | None
    p99_jct_s: float | None
    mean_normalized_latency_s: float | None
    mean_ttft_s: float | None
    p99_ttft_s: float | None
    mean_tpot_s: float | None
    output_token_throughput: float | None
    makespan_s: float | None
    max_slowdown: float | None
    preemptions: int | None
    bytes_moved: int | None
    tokens_recomputed: int | None

    def as_json(self) -> Mapping[str, object]:
        """The object as it stands in the JSON, in the order of the fields."""
        return asdict(self)


def percentile(values: Float64s, percent: float) -> float | None:
    """Nearest rank: the smallest value with at least `percent` of all values at or below it; None
    of no values.
    """
    if len(values) == 0:
        return None
    rank = max(1, math.ceil(len(values) * percent / 100.0 - 1e-9))
    return float(np.sort(values)[rank - 1])


def summarize(policy: str | None, refused: int, jobs: JobResults) -> RunResult:
    """The numbers of one run. With no job at all everything but the counts is None."""
    jct_s = (jobs.end_ns - jobs.arrival_ns) / NS
    ttft_s = (jobs.first_token_ns - jobs.arrival_ns) / NS
    long = jobs.output_tokens > 1
    makespan_s = float(jobs.end_ns.max() - jobs.arrival_ns.min()) / NS if len(jobs) else None
    return RunResult(
        policy=policy,
        requests=len(jobs),
        refused=refused,
        mean_jct_s=_mean(jct_s),
        p50_jct_s=percentile(jct_s, 50),
        p95_jct_s=percentile(jct_s, 95),
        p99_jct_s=percentile(jct_s, 99),
        mean_normalized_latency_s=_mean(jct_s / jobs.output_tokens),
        mean_ttft_s=_mean(ttft_s),
        p99_ttft_s=percentile(ttft_s, 99),
        mean_tpot_s=_mean((jct_s - ttft_s)[long] / (jobs.output_tokens[long] - 1)),
        output_token_throughput=int(jobs.output_tokens.sum()) / makespan_s if makespan_s else None,
        makespan_s=makespan_s,
        max_slowdown=None if jobs.alone_ns is None or not len(jobs) else float((jct_s * NS / jobs.alone_ns).max()),
        preemptions=jobs.preemptions,
        bytes_moved=jobs.bytes_moved,
        tokens_recomputed=jobs.tokens_recomputed,
    )


def _mean(values: Float64s) -> float | None:
    """Mean by exact summation, so that it does not depend on how a library groups its additions."""
    return math.fsum(values) / len(values) if len(values) else None
