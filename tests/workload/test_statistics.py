"""The result numbers, against examples computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skipjoin.workload.statistics import JobResults, percentile, summarize

S = 1_000_000_000


def test_nearest_rank_percentiles() -> None:
    values = np.asarray([15.0, 20.0, 35.0, 40.0, 50.0])
    assert [percentile(values, p) for p in (5, 30, 40, 50, 100)] == [15.0, 20.0, 20.0, 35.0, 50.0]
    hundred = np.arange(1.0, 101.0)[::-1].copy()
    assert [percentile(hundred, p) for p in (50, 95, 99, 100)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile(np.arange(1.0, 1001.0), 99) == 990.0
    assert percentile(np.asarray([3.0]), 1) == 3.0
    assert percentile(np.asarray([]), 50) is None


def test_three_jobs_by_hand() -> None:
    jobs = JobResults(
        arrival_ns=np.asarray([0, 1 * S, 4 * S]),
        first_token_ns=np.asarray([1 * S, 3 * S, 5 * S]),
        end_ns=np.asarray([3 * S, 9 * S, 5 * S]),
        output_tokens=np.asarray([5, 4, 1], dtype=np.int32),
        alone_ns=np.asarray([1 * S, 2 * S, 1 * S]),
        preemptions=2,
        bytes_moved=4096,
        tokens_recomputed=0,
    )
    result = summarize("fcfs", 3, jobs)
    # JCT 3, 8, 1; TTFT 1, 2, 1
    assert result.requests == 3
    assert result.refused == 3
    assert result.mean_jct_s == 4.0
    assert (result.p50_jct_s, result.p95_jct_s, result.p99_jct_s) == (3.0, 8.0, 8.0)
    assert result.mean_normalized_latency_s == pytest.approx((3 / 5 + 8 / 4 + 1) / 3)
    assert result.mean_ttft_s == pytest.approx(4 / 3)
    assert result.p99_ttft_s == 2.0
    assert result.mean_tpot_s == pytest.approx((2 / 4 + 6 / 3) / 2)
    assert result.makespan_s == 9.0
    assert result.output_token_throughput == pytest.approx(10 / 9)
    assert result.max_slowdown == 4.0
    assert (result.preemptions, result.bytes_moved, result.tokens_recomputed) == (2, 4096, 0)
    assert list(result.as_json()) == [
        *("policy", "requests", "refused", "mean_jct_s", "p50_jct_s", "p95_jct_s", "p99_jct_s"),
        *("mean_normalized_latency_s", "mean_ttft_s", "p99_ttft_s", "mean_tpot_s", "output_token_throughput"),
        *("makespan_s", "max_slowdown", "preemptions", "bytes_moved", "tokens_recomputed"),
    ]


def test_unknown_is_none() -> None:
    one = np.asarray([0], dtype=np.int64)
    result = summarize(None, 0, JobResults(one, one + S, one + S, np.asarray([1], dtype=np.int32)))
    assert result.mean_tpot_s is None  # no job of more than one token
    assert result.max_slowdown is None
    assert (result.preemptions, result.bytes_moved, result.tokens_recomputed) == (None, None, None)
    none = np.zeros(0, dtype=np.int64)
    empty = summarize("fcfs", 4, JobResults(none, none, none, none.astype(np.int32), alone_ns=none))
    assert (empty.requests, empty.refused) == (0, 4)
    assert all(value is None for key, value in empty.as_json().items() if key not in ("policy", "requests", "refused"))


def test_the_mean_does_not_depend_on_the_order_of_addition() -> None:
    values = np.random.default_rng(1).random(999) * 10.0 ** np.arange(-8, 8).repeat(63)[:999]
    jobs = [
        summarize("x", 0, JobResults(zero, ends, ends, np.ones(len(ends), dtype=np.int32)))
        for ends in ((values * S).astype(np.int64), (values[::-1] * S).astype(np.int64))
        for zero in (np.zeros(len(ends), dtype=np.int64),)
    ]
    assert jobs[0].mean_jct_s == jobs[1].mean_jct_s
    assert jobs[0].mean_jct_s is not None
    assert math.isfinite(jobs[0].mean_jct_s)
