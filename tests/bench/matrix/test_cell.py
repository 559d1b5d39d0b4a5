"""One run of a matrix: windows of a trace, spread arrivals, what identifies a run and what its line
holds.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from skipjoin.bench.matrix.cell import (
    QUANTILES,
    Jobs,
    Run,
    SmallRun,
    _drawn,
    drain,
    draw,
    jct_quantiles,
    measure,
    prepare,
    spread,
)
from skipjoin.bench.matrix.runner import Plan, run_matrix
from skipjoin.bench.matrix.scenario import Small
from skipjoin.bench.matrix.store import Store
from skipjoin.core.plan import Int64s
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import render_profile
from skipjoin.sim.world import simulate
from skipjoin.workload.statistics import JobResults, summarize

CHAT = Jobs("shape:azure-conv", seed=2, batch=8, requests=40, warmup=5, profile="opt-13b-a100")
ROWS = [(3 * (row // 4), 100 + row, 5 + row % 3) for row in range(30)]


@pytest.fixture
def trace(tmp_path: Path) -> Jobs:
    """30 rows, four at a time every three seconds; a window is ten of them."""
    text = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{a},{p},{o}\n" for a, p, o in ROWS)
    (tmp_path / "steps.csv").write_text(text)
    return Jobs("steps", 0, 4, requests=8, warmup=2, profile="opt-13b-a100", data_folder=str(tmp_path))


def test_a_seed_is_a_window_of_the_trace(trace: Jobs) -> None:
    for seed in range(3):
        _, jobs, _ = prepare(replace(trace, seed=seed))
        assert jobs.prompt_tokens.tolist() == [100 + row for row in range(10 * seed, 10 * seed + 10)]
        assert jobs.recorded
        gaps = [ROWS[10 * seed + at][0] - ROWS[10 * seed][0] for at in range(10)]
        assert (jobs.arrival_ns / 1e9).tolist() == gaps


def test_beyond_the_trace_arrivals_are_drawn_and_rows_turned(trace: Jobs) -> None:
    _, third, _ = prepare(replace(trace, seed=3))
    _, fourth, _ = prepare(replace(trace, seed=4))
    assert not third.recorded and not fourth.recorded
    assert third.prompt_tokens.tolist() == [100 + row for row in range(10)]
    assert fourth.prompt_tokens.tolist() == [110 + row for row in range(10)]
    assert third.arrival_ns.tolist() != fourth.arrival_ns.tolist()
    _, long, _ = prepare(replace(trace, requests=38))
    assert len(long) == 40 and not long.recorded


def test_spread_arrivals_stay_in_their_step(trace: Jobs) -> None:
    raw: Int64s = np.asarray([row[0] for row in ROWS], dtype=np.int64) * 10**9
    moved = spread(raw, 3.0, seed=1)
    assert moved[0] == 0
    assert (np.diff(moved) >= 0).all() and len(set(moved.tolist())) == len(raw)
    # Known to three seconds before, and the first of them is 0 now: nobody is further off than
    # that.
    assert (np.abs(moved - raw) < 3 * 10**9).all()
    assert (spread(raw, 3.0, seed=1) == moved).all()
    assert (spread(raw, 3.0, seed=2) != moved).any()
    _, jobs, digest = prepare(replace(trace, spread_s=3.0))
    assert len(set(jobs.arrival_ns.tolist())) == 10
    assert digest != prepare(trace)[2]


def test_the_key_names_no_folder_and_follows_what_was_read(trace: Jobs, tmp_path: Path) -> None:
    key = trace.key()
    assert key["trace"] == "steps" and str(tmp_path) not in repr(key)
    by_path = replace(trace, trace=str(tmp_path / "steps.csv"), data_folder=None).key()
    assert by_path["inputs"] == key["inputs"] and by_path["trace"] == "steps.csv"
    file = tmp_path / "steps.csv"
    file.write_text(file.read_text().replace("0,100,5", "0,100,6"))
    _drawn.cache_clear()
    assert trace.key()["inputs"] != key["inputs"]
    small = Small(shape="reasoning", requests=12, load=1.5, batch=2)
    keys = []
    for fixed_ms in (20, 40):
        profile = json.loads(render_profile(load_profile("opt-13b-a100")))
        profile["coefficients"]["fixed_ms"] = fixed_ms
        (tmp_path / "mine.json").write_text(json.dumps(profile))
        _drawn.cache_clear()
        mine = str(tmp_path / "mine.json")
        keys += [replace(trace, profile=mine).key(), SmallRun(small, mine, "fcfs").key()]
    assert all(one["profile"] == "mine.json" for one in keys)
    assert keys[0]["inputs"] != keys[2]["inputs"] and keys[1]["inputs"] != keys[3]["inputs"]
    assert Run(trace, 0.9, "fcfs").key() != Run(trace, 1.2, "fcfs").key() != Run(trace, 1.2, "mlfq").key()


def test_a_line_is_what_simulate_says() -> None:
    drained = drain(CHAT)
    rate = drained["drain_rate_per_s"]
    run = Run(CHAT, 1.2, "skipjoin", rate)
    line = measure(run)
    machine, workload, _ = prepare(CHAT)
    jobs = simulate(machine, "skipjoin", workload.at_rate(1.2 * rate)).jobs
    assert line["result"] == summarize("skipjoin", 0, jobs).as_json()
    assert line == measure(run)
    assert 0 < line["bounds"]["work"] <= line["result"]["mean_jct_s"]
    assert len(line["jct_s"]) == QUANTILES


def test_quantiles_end_at_the_worst() -> None:
    ends = np.arange(1, 1001, dtype=np.int64) * 10**9
    zeros = np.zeros(1000, dtype=np.int64)
    found = jct_quantiles(JobResults(zeros, ends, ends, np.ones(1000, dtype=np.int32)))
    assert found == [5.0 * step for step in range(1, 201)]


def test_what_cannot_be_run_is_a_line_too() -> None:
    alone = replace(CHAT, requests=1, warmup=0)
    assert "too short" in drain(alone)["error"]
    line = measure(Run(CHAT, 1.0, "nobody", 1.0))
    assert (line["kind"], line["key"]["policy"]) == ("failed", "nobody")
    assert "nobody" in line["error"]


class Heard:
    """What a reporter is told."""

    def __init__(self) -> None:
        self.done = 0
        self.notes: list[str] = []

    def begin(self, what: str, jobs: int) -> None:
        pass

    def ended(self, jobs: int) -> None:
        self.done += jobs

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_small_run_that_fails_is_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    small = Small(shape="reasoning", requests=6, load=1.2, batch=2, seed=1)
    runs = tuple(SmallRun(small, "opt-13b-a100", policy) for policy in ("nobody", "fcfs"))
    line = draw(runs[0])
    assert (line["kind"], line["key"]) == ("failed", runs[0].key())
    assert "nobody" in line["error"]
    heard = Heard()
    with Store(tmp_path, "a") as store:
        assert run_matrix(Plan((), (), (), runs, ()), store, heard, 1) == 1
        assert store.find("timeline", runs[0].key()) is None
        assert store.find("timeline", runs[1].key()) is not None
    assert heard.done == 2
    (note,) = heard.notes
    assert note.startswith("reasoning 2 1 1.2 nobody failed: ")


@pytest.mark.parametrize("policy", ["fcfs", "skipjoin"])
def test_stretches_of_a_small_run(policy: str) -> None:
    small = Small(shape="reasoning", requests=12, load=1.5, batch=2, seed=1)
    line = draw(SmallRun(small, "opt-13b-a100", policy))
    assert line["key"]["policy"] == policy and len(line["jobs"]) == 12
    ran, most = [], 0
    for job in line["jobs"]:
        stretches = job["runs_s"]
        assert (
            job["arrival_s"]
            <= stretches[0][0]
            < job["first_token_s"]
            <= job["end_s"]
            == pytest.approx(stretches[-1][1])
        )
        assert all(start < end for start, end in stretches)
        assert all(one[1] <= two[0] for one, two in pairwise(stretches))
        ran += stretches
        most = max(most, len(stretches))
    assert (most > 1) is (policy == "skipjoin")  # fcfs runs to completion
    for start, _ in ran:
        assert sum(one <= start < other for one, other in ran) <= small.batch
