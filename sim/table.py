"""A study as a table for a person: a line a number, a column a policy.

Owns widths, rounding and labels. It computes nothing but ratios to the bounds; the command prints
what `render` gives.
"""

from __future__ import annotations

from collections.abc import Callable

from ..workload.statistics import RunResult
from .bounds import LABELS, Bounds
from .study import Study

GB = 1e9


def _seconds(value: object) -> str:
    assert isinstance(value, float)
    return f"{value:.3f}" if value < 100 else f"{value:.1f}"


def _whole(value: object) -> str:
    assert isinstance(value, int)
    return f"{value:,}"


def _gigabytes(value: object) -> str:
    assert isinstance(value, int)
    return f"{value / GB:,.1f}"


def _ratio(value: object) -> str:
    assert isinstance(value, float)
    return f"{value:,.1f}"


ROWS: tuple[tuple[str, str, Callable[[object], str]], ...] = (
    ("requests", "requests", _whole),
    ("refused", "refused", _whole),
    ("mean JCT (s)", "mean_jct_s", _seconds),
    ("P50 JCT (s)", "p50_jct_s", _seconds),
    ("P95 JCT (s)", "p95_jct_s", _seconds),
    ("P99 JCT (s)", "p99_jct_s", _seconds),
    ("mean normalised latency (s/token)", "mean_normalized_latency_s", _seconds),
    ("mean TTFT (s)", "mean_ttft_s", _seconds),
    ("P99 TTFT (s)", "p99_ttft_s", _seconds),
    ("mean TPOT (s)", "mean_tpot_s", _seconds),
    ("output tokens a second", "output_token_throughput", _ratio),
    ("makespan (s)", "makespan_s", _seconds),
    ("worst slowdown", "max_slowdown", _ratio),
    ("preemptions", "preemptions", _whole),
    ("GB moved", "bytes_moved", _gigabytes),
    ("tokens recomputed", "tokens_recomputed", _whole),
)


def render(study: Study) -> str:
    """The study's head line and its table, with a newline at the end."""
    rate = "as recorded" if study.rate_per_s is None else f"{study.rate_per_s:.3f} requests a second"
    load = "" if study.load is None else f", load {study.load:g}"
    head = (
        f"{study.trace} on {study.model}, {study.device}: {rate}{load}, batch {study.max_batch},"
        f" KV {study.kv_tokens:,} tokens, host {study.host_kv_tokens:,}, seed {study.seed}"
    )
    lines = [["", *(result.policy or "" for result in study.results)]]
    lines += [[label, *(_cell(result, field, show) for result in study.results)] for label, field, show in ROWS]
    limits = {} if study.bounds is None else study.bounds.as_json()
    lines += [
        [f"mean JCT / {name}", *(_over(result.mean_jct_s, limit) for result in study.results)]
        for name, limit in limits.items()
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    body = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    told = [] if study.bounds is None else ["", *_told(study.bounds)]
    return "\n".join([head, "", *(line.rstrip() for line in body), *told]) + "\n"


def _told(limits: Bounds) -> list[str]:
    """A line a bound: its name, the mean JCT, what it proves."""
    shown = {name: "-" if value is None else _seconds(value) for name, value in limits.as_json().items()}
    wide = max(len(value) for value in shown.values())
    return [f"{name:<6}  {value.rjust(wide)} s  {LABELS[name]}" for name, value in shown.items()]


def _over(value: float | None, limit: float | None) -> str:
    return "-" if value is None or not limit else f"{value / limit:.2f}"


def _cell(result: RunResult, field: str, show: Callable[[object], str]) -> str:
    value = getattr(result, field)
    return "-" if value is None else show(value)
