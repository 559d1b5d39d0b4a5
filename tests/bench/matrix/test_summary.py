"""Ratios from hand-made results, and the marks of the charts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipjoin.bench.charts.lines import thinned
from skipjoin.bench.charts.marks import Scale, fitted, short, tag, text
from skipjoin.bench.charts.plane import Spot, front, label_box
from skipjoin.bench.matrix.summary import ALL, FIGURES, OVERLOAD, STEADY, Cell, collect, summary
from skipjoin.bench.report.tables import shade

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


def test_labels_do_not_cover_each_other_where_there_is_room() -> None:
    taken: list[tuple[float, float, float, float]] = []
    for _ in range(12):  # all of them at one place
        box = label_box(100.0, 100.0, 50.0, taken)
        assert not any(
            box[0] < right and left < box[2] and box[1] < low and top < box[3] for left, top, right, low in taken
        )
        taken.append(box)
    assert taken[0][0] > 100.0 and abs(taken[0][1] + 13.0 - 100.0) < 1.0
    assert taken[1][2] < 100.0


def test_no_label_is_cut_at_the_left() -> None:
    taken: list[tuple[float, float, float, float]] = []
    for _ in range(6):
        taken.append(label_box(40.0, 100.0, 60.0, taken))
    assert all(left > 40.0 for left, *_ in taken)


def test_a_line_keeps_what_can_be_seen_of_it() -> None:
    points = [(at * 0.1, 0.0) for at in range(100)]
    kept = thinned(points)
    assert kept[0] == points[0] and kept[-1] == points[-1] and 5 <= len(kept) <= 9
    assert thinned([(0.0, 0.0), (5.0, 0.0)]) == [(0.0, 0.0), (5.0, 0.0)]
    assert thinned([]) == []


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20), st.booleans())
def test_ticks_are_few_rising_and_inside(values: list[float], log: bool) -> None:
    scale = fitted(values, 10.0, 210.0, log=log)
    for value in values:
        assert 10.0 <= scale(value) <= 210.0
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 14
    assert ticks == sorted(set(ticks))
    assert all(scale.low * 0.999999 <= tick <= scale.high * 1.000001 for tick in ticks)


def test_scales_and_words() -> None:
    assert Scale(1.0, 100.0, 0.0, 100.0, log=True)(10.0) == pytest.approx(50.0)
    assert Scale(0.0, 4.0, 100.0, 0.0)(1.0) == 75.0
    assert [short(value) for value in (0.25, 3.0, 40.0, 1200.0, 20_000.0)] == ["0.25", "3", "40", "1.2k", "20k"]
    assert text(1, 2.25, "a<b") == '<text x="1" y="2.2">a&lt;b</text>'
    assert tag("g", class_='"', stroke_width=1.0) == '<g class="&quot;" stroke-width="1"/>'


def test_shades_rise_from_perfect_to_four_times() -> None:
    shades = [shade(ratio) for ratio in (0.9, 1.0, 1.3, 2.0, 3.0, 4.0, 50.0)]
    assert shades == sorted(shades)
    assert (shades[0], shades[1], shades[-2], shades[-1]) == (0, 0, 6, 6)
