"""What the demo judges by, says, and writes; and its model, which stays."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from measured import Said, result

from skipjoin.bench.cached_model import ensure_model
from skipjoin.bench.command import configure
from skipjoin.bench.demo.render import print_outcome
from skipjoin.bench.demo.runs import Outcome, Pair, check_policies, engine_flags
from skipjoin.bench.demo.scenario import Scenario, load_scenario, scenario_files
from skipjoin.bench.load.process import compute_threads
from skipjoin.core.errors import InvalidInput, InvalidSettings
from skipjoin.model.config import load_config
from skipjoin.serving.door.policies import LIVE_POLICIES
from skipjoin.workload.statistics import RunResult

FIRST, SECOND = map(load_scenario, scenario_files())
FCFS = result("fcfs", mean_normalized_latency_s=2.0, output_token_throughput=100.0, mean_jct_s=4.0)
OURS = result(
    "skipjoin",
    mean_normalized_latency_s=1.0,
    output_token_throughput=95.0,
    mean_jct_s=2.0,
    preemptions=3,
    bytes_moved=2_000_000,
)


def _pair(live: RunResult, **more: object) -> Pair:
    usual = Pair(str(live.policy), live, replace(live, mean_jct_s=1.0), failures=(), lag_p99_ms=0.5, trustworthy=True)
    return replace(usual, **more)  # type: ignore[arg-type]


def _shown(*pairs: Pair, scenario: Scenario = FIRST) -> Outcome:
    return Outcome(scenario, 200, 1.3, 1.0, pairs, result("srpt-oracle", mean_jct_s=1.0))


def test_bars_hold_at_their_bounds() -> None:
    bars = _shown(_pair(FCFS), _pair(OURS)).claims()
    assert [bar.holds for bar in bars] == [True, True, True]
    assert "0.50x fcfs's (bar: at most 0.5)" in bars[0].says
    assert "0.95x fcfs's (bar: at least 0.95)" in bars[1].says
    assert "3 preemptions and 2 MB of KV moved" in bars[2].says
    assert all("skipjoin" in bar.says for bar in bars)


@pytest.mark.parametrize(("scenario", "most"), [(FIRST, 0.8), (SECOND, 1.0)])
def test_the_bar_of_the_adaptive_ladder_holds_at_its_bound(scenario: Scenario, most: float) -> None:
    for jct_s, holds in ((4.0 * most, True), (4.0 * most + 0.1, False), (None, False)):
        (bar,) = _shown(_pair(FCFS), _pair(result("adaptive", mean_jct_s=jct_s)), scenario=scenario).claims()
        assert bar.holds is holds
        assert bar.says.startswith("mean JCT of adaptive ")
        assert f"x fcfs's (bar: at most {most:g})" in bar.says


def test_the_bars_of_three_policies_stand_together() -> None:
    shown = _shown(_pair(FCFS), _pair(OURS), _pair(result("adaptive", mean_jct_s=4.0)))
    assert [bar.holds for bar in shown.claims()] == [True, True, True, False]


def test_the_demo_runs_these_three() -> None:
    parser = argparse.ArgumentParser()
    configure(parser)
    assert parser.parse_args(["demo"]).policies == "fcfs,skipjoin,adaptive"


@pytest.mark.parametrize(
    ("field", "value", "fails"),
    [
        ("mean_normalized_latency_s", 1.01, 0),
        ("mean_normalized_latency_s", None, 0),
        ("output_token_throughput", 94.0, 1),
        ("output_token_throughput", None, 1),
        ("preemptions", 0, 2),
        ("preemptions", None, 2),
        ("bytes_moved", 0, 2),
        ("bytes_moved", None, 2),
    ],
)
def test_a_bar_fails_alone_and_what_is_unknown_does_not_hold(field: str, value: float | None, fails: int) -> None:
    worse = replace(OURS, **{field: value})  # type: ignore[arg-type]
    bars = _shown(_pair(FCFS), _pair(worse)).claims()
    assert [bar.holds for bar in bars] == [at != fails for at in range(3)]


def test_a_failed_request_is_a_bar_that_does_not_hold() -> None:
    bars = _shown(_pair(FCFS, failures=("NEVER_FITS: too long", "other")), _pair(OURS)).claims()
    assert [bar.holds for bar in bars] == [False, True, True, True]
    assert bars[0].says == "fcfs: 2 requests failed, first: NEVER_FITS: too long"


def test_on_a_busy_machine_only_what_no_neighbour_can_do_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    slow = _shown(_pair(FCFS), _pair(replace(OURS, output_token_throughput=50.0)))
    assert not slow.holds(strict=False)
    busy = replace(slow, noise=("other processes took up to 50% of 2 processors",))
    assert busy.holds(strict=False) and not busy.holds(strict=True)
    print_outcome(busy)
    said = capsys.readouterr().out
    assert said.count("busy: not judged, ") == 3 and "FAIL" not in said
    assert "other processes took up to 50% of 2 processors." in said
    lost = replace(busy, pairs=(_pair(FCFS, failures=("UNAVAILABLE: gone",)), *busy.pairs[1:]))
    assert not lost.holds(strict=False)


def test_without_both_policies_or_without_bounds_nothing_is_judged() -> None:
    assert _shown(_pair(OURS), _pair(result("adaptive", mean_jct_s=9.0))).claims() == []
    assert _shown(_pair(FCFS), _pair(OURS), scenario=SECOND).claims() == []


def test_the_json_of_a_scenario() -> None:
    told = json.loads(json.dumps(_shown(_pair(FCFS), _pair(OURS, lag_p99_ms=7.5)).as_json(), allow_nan=False))
    assert list(told) == [
        *("scenario", "seed", "load", "requests", "rate_per_s", "drain_rate_per_s"),
        *("results", "simulated", "failed", "lag_p99_ms", "disturbed", "bars"),
    ]
    assert (told["scenario"], told["seed"], told["requests"]) == ("many short, few long", FIRST.seed, 200)
    assert [one["policy"] for one in told["results"]] == ["fcfs", "skipjoin"]
    assert [one["policy"] for one in told["simulated"]] == ["fcfs", "skipjoin", "srpt-oracle"]
    keys = [field.name for field in fields(RunResult)]
    assert all(list(one) == keys for one in told["results"] + told["simulated"])
    assert told["failed"] == {"fcfs": 0, "skipjoin": 0}
    assert told["lag_p99_ms"] == {"fcfs": 0.5, "skipjoin": 7.5}
    assert [bar["holds"] for bar in told["bars"]] == [True, True, True]


def test_policies_of_a_server_only() -> None:
    check_policies(LIVE_POLICIES)
    for wrong in ([], ["fcfs", "srpt-oracle"], ["lifo"]):
        with pytest.raises(InvalidSettings, match="skipjoin"):
            check_policies(wrong)


def test_the_engine_gets_what_the_scenario_says() -> None:
    flags = dict(zip(*[iter(engine_flags(FIRST))] * 2, strict=True))
    assert flags["--max-batch"] == "8"
    assert int(flags["--kv-tokens"]) == 16 * FIRST.kv_pages()
    assert int(flags["--host-kv-tokens"]) == 16 * FIRST.host_pages()
    assert 1 <= int(flags["--threads"]) == compute_threads() <= 8


def test_the_model_is_made_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InvalidInput, match="no preset 'huge'"):
        ensure_model("huge", said)
    assert not (tmp_path / "skipjoin").exists()
    folder = ensure_model("tiny", said)
    assert load_config(folder).layers > 0
    assert [len(said.notes), "tiny" in said.notes[0]] == [1, True]
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert ensure_model("tiny", said) == folder
    assert len(said.notes) == 1
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert {path.name for path in folder.parent.iterdir()} - {"native"} == {folder.name}  # compiled kernels live beside


def test_a_ratio_of_nothing_is_no_number() -> None:
    bars = _shown(_pair(replace(FCFS, mean_normalized_latency_s=0.0)), _pair(OURS)).claims()
    assert not bars[0].holds
    assert str(math.nan) in bars[0].says
