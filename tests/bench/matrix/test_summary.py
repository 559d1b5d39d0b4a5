"""Ratios from hand-made results, and what the report makes of them."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from skipjoin.bench.matrix.summary import ALL, FIGURES, OVERLOAD, STEADY, Cell, collect, summary
from skipjoin.bench.report.charts import Spot, front, plane
from skipjoin.bench.report.page import shade

GROUPS = (STEADY, OVERLOAD, ALL)
CELL = Cell("chat", 0.9, 64)


def _line(policy: str, mean: float, p99: float, *, seed: int = 0, load: float = 0.9, **more: Any) -> dict[str, Any]:
    key = {"trace": "chat", "load": load, "batch": 64, "seed": seed, "policy": policy}
    key |= {"requests": 10, "warmup": 2, "profile": "p", "inputs": f"i{seed}"}
    result = {"mean_jct_s": mean, "p99_jct_s": p99, "requests": 10, "preemptions": 5, "bytes_moved": 2e9}
    result |= {"mean_normalized_latency_s": 0.1, "mean_ttft_s": 1.0, "mean_tpot_s": None, "max_slowdown": 3.0}
    result |= {"output_token_throughput": more.pop("throughput", 100.0)}
    bounds = {"alone": 1.0, "work": 0.5}
    return {"kind": "run", "key": key | more, "result": result, "bounds": bounds, "jct_s": [mean, p99]}


def test_the_better_fcfs_counts_per_measure() -> None:
    lines = [_line("fcfs", 10, 30, throughput=80.0), _line("fcfs-swap", 12, 20), _line("ours", 5, 25)]
    results = collect(lines)
    assert results.to_fcfs(CELL, "ours", "mean") == 0.5
    assert results.to_fcfs(CELL, "ours", "p99") == 1.25
    assert results.to_fcfs(CELL, "ours", "throughput") == 1.0
    assert results.to_fcfs(CELL, "ours", "tpot") is None
    assert results.to_oracle(CELL, "ours") is None


def test_seeds_are_averaged_over_those_that_all_have() -> None:
    lines = [_line("fcfs", 10, 30), _line("fcfs", 20, 50, seed=1), _line("fcfs", 90, 90, seed=2)]
    lines += [_line("srpt-oracle", 4, 60), _line("srpt-oracle", 8, 60, seed=1), {"kind": "drain", "key": {}}]
    results = collect(lines)
    assert results.seeds == {CELL: 2}
    assert results.to_oracle(CELL, "fcfs") == 15 / 6
    assert results.quantiles[CELL]["fcfs"] == [10, 20, 30, 50]
    assert collect([_line("a", 1, 1), _line("b", 1, 1, seed=1)]).cells == []


def test_runs_of_another_size_do_not_mix() -> None:
    lines = [_line("fcfs", 99, 99, requests=5), _line("ours", 50, 50, requests=5), _line("fcfs", 10, 30)]
    results = collect(lines)
    assert results.measures[CELL]["fcfs"]["mean"] == 10
    assert "ours" not in results.measures[CELL]


def test_a_row_of_the_summary() -> None:
    lines = [_line("fcfs", 10, 20), _line("ours", 5, 40), _line("srpt-oracle", 4, 30)]
    lines += [_line("fcfs", 10, 20, load=0.5), _line("ours", 10, 20, load=0.5), _line("srpt-oracle", 10, 20, load=0.5)]
    lines += [_line("fcfs", 100, 200, load=1.2), _line("ours", 70, 210, load=1.2)]
    rows = {row.policy: row for row in summary(collect(lines))}
    ours = rows["ours"]
    assert ours.cells == 3
    steady, over, all_loads = (
        {title: average for (of, title), average in ours.averages.items() if of == group} for group in GROUPS
    )
    assert (steady["mean/oracle"].mean, steady["mean/oracle"].high) == (1.125, 1.25)
    late = steady["P99/fcfs"]
    assert (late.mean, late.low, late.high) == (1.5, 1.0, 2.0)
    assert over["mean/fcfs"].mean == pytest.approx(0.7)
    assert over["mean/oracle"] is None and all_loads["TPOT/fcfs"] is None
    assert all_loads["preempt./job"].mean == 0.5 and all_loads["GB moved"].mean == 2.0
    texts = {(one.group, one.title): one.text(ours) for one in FIGURES}
    assert texts["loads <= 0.95", "mean/oracle"] == "1.12 / 1.25" and texts["overload", "mean/oracle"] == "-"
    assert texts["all loads", "GB moved"] == "2"
    assert rows["srpt-oracle"].cells == 2


def test_the_front_is_what_nobody_beats_in_both() -> None:
    spots = [Spot("a", 1.0, 1.0), Spot("b", 0.8, 1.2), Spot("c", 0.9, 1.3), Spot("d", 0.7, 1.2), Spot("e", 0.7, 2.0)]
    assert [spot.policy for spot in front([*spots, Spot("srpt-oracle", 0.1, 0.1)])] == ["a", "d"]


def test_labels_stand_apart() -> None:
    drawn = plane([Spot(name, 1.0, 1.0) for name in ("one", "two", "three", "four")], "")  # all at one place
    places = re.findall(r'text-anchor: (\w+)" x="[^"]*" y="([^"]*)"[^>]*>(?:one|two|three|four)<', drawn)
    assert len(set(places)) == len(places) == 4
    for side in ("start", "end"):
        heights = sorted(float(height) for at, height in places if at == side)
        assert all(above + 6.0 < below for above, below in pairwise(heights))


def test_shades_rise_from_perfect_to_four_times() -> None:
    shades = [shade(ratio) for ratio in (0.9, 1.0, 1.3, 2.0, 3.0, 4.0, 50.0)]
    assert shades == sorted(shades)
    assert (shades[0], shades[1], shades[-2], shades[-1]) == (0, 0, 6, 6)
