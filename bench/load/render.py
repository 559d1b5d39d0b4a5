"""Runs of servers and of the simulator as a table for a person.

Owns labels, units and rounding of a `RunResult`. Commands that measure a server print with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...workload.statistics import RunResult
from ..table import grid, known, seconds
from .run import LoadStudy

ROWS: tuple[tuple[str, str, str | Callable[[float], str]], ...] = (
    ("jobs", "requests", ",.0f"),
    ("mean JCT (s)", "mean_jct_s", seconds),
    ("P50 JCT (s)", "p50_jct_s", seconds),
    ("P95 JCT (s)", "p95_jct_s", seconds),
    ("P99 JCT (s)", "p99_jct_s", seconds),
    ("normalised latency (s/token)", "mean_normalized_latency_s", ".4f"),
    ("mean TTFT (s)", "mean_ttft_s", seconds),
    ("P99 TTFT (s)", "p99_ttft_s", seconds),
    ("mean TPOT (ms)", "mean_tpot_s", lambda value: f"{value * 1e3:.1f}"),
    ("output tokens a second", "output_token_throughput", ",.1f"),
    ("makespan (s)", "makespan_s", seconds),
    ("worst slowdown", "max_slowdown", ",.1f"),
    ("preemptions", "preemptions", ",.0f"),
    ("MB of KV moved", "bytes_moved", lambda value: f"{value / 1e6:,.0f}"),
    ("tokens recomputed", "tokens_recomputed", ",.0f"),
)
"""Label, field, format."""


def table(columns: Sequence[tuple[str, RunResult]]) -> str:
    """One column per run, one line per figure; what is not known is a dash."""
    lines = [[label, *(known(getattr(result, field), form) for _, result in columns)] for label, field, form in ROWS]
    return grid([["", *(title for title, _ in columns)], *lines])


def print_load(study: LoadStudy) -> None:
    """One run of `bench run`."""
    rate = "as recorded" if study.rate_per_s is None else f"{study.rate_per_s:.3f} requests a second"
    load = "" if study.load is None else f", load {study.load:g}"
    print(f"{study.trace} against {study.target}: {rate}{load}, seed {study.seed}\n")
    print(table([(study.result.policy or "live", study.result)]))
    for failure, count in study.failures.items():
        print(f"{count} failed: {failure}")
    word = "kept its schedule" if study.trustworthy else "was TOO LATE for these figures to be trusted"
    print(f"The generator {word}: lag P99 {study.lag_p99_ms:.1f} ms, worst {study.lag_max_ms:.1f} ms")
