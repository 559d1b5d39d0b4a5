"""`skipjoin simulate` as a person calls it: table, JSON, notes, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from skipjoin.cli import main
from skipjoin.cost.profiles import load_profile
from skipjoin.cost.schema import Tables, render_profile
from skipjoin.cost.table import Curve, Grid, TableCostModel
from skipjoin.scheduler.adaptive.head_start import DEFAULT_TAIL

FAST = ("--requests", "60", "--warmup", "10", "--max-batch", "16", "--kv-tokens", "12000")
KEYS = [
    *("policy", "requests", "refused", "mean_jct_s", "p50_jct_s", "p95_jct_s", "p99_jct_s"),
    *("mean_normalized_latency_s", "mean_ttft_s", "p99_ttft_s", "mean_tpot_s", "output_token_throughput"),
    *("makespan_s", "max_slowdown", "preemptions", "bytes_moved", "tokens_recomputed", "tail"),
]


def _simulate(*words: str) -> int:
    return main(["simulate", *words])


def test_json_of_two_runs_is_the_same_to_the_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--trace", "shape:azure-conv", "--policy", "fcfs,skipjoin,mlfq,srpt-oracle", "--load", "1.2", *FAST)
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for file in files:
        assert _simulate(*words, "--json", str(file)) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    told = json.loads(files[0].read_text())
    assert [result["policy"] for result in told["results"]] == ["fcfs", "skipjoin", "mlfq", "srpt-oracle"]
    for result in told["results"]:
        assert list(result) == KEYS
        assert result["requests"] == 60
        assert result["p50_jct_s"] <= result["p95_jct_s"] <= result["p99_jct_s"]
        assert result["max_slowdown"] >= 1
    assert told["load"] == 1.2
    assert told["rate_per_s"] == pytest.approx(1.2 * told["drain_rate_per_s"])
    assert str(tmp_path) not in files[0].read_text()
    printed = capsys.readouterr().out
    assert "mean JCT (s)" in printed
    assert "srpt-oracle" in printed


def test_json_to_standard_output_is_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert _simulate("--trace", "shape:sharegpt", "--rate", "0.5", "--policy", "fcfs", *FAST, "--json", "-") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rate_per_s"] == pytest.approx(0.5)
    assert told["load"] is None
    assert told["drain_rate_per_s"] is None


def test_bounds_stand_beside_the_policies_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--trace", "shape:azure-conv", "--load", "1.2", *FAST)
    told = {}
    for name, more in {
        "plain": ("--policy", "fcfs"),
        "asked": ("--policy", "fcfs", "--bounds"),
        "both": ("--policy", "srpt-oracle,fcfs", "--bounds"),
    }.items():
        file = tmp_path / f"{name}.json"
        assert _simulate(*words, *more, "--json", str(file)) == 0
        told[name] = json.loads(file.read_text())
        printed = capsys.readouterr().out
        assert ("mean JCT / oracle" in printed) is ("--bounds" in more)
    assert "bounds" not in told["plain"]
    limits = told["asked"]["bounds"]
    assert list(limits) == ["alone", "work", "oracle"]
    assert told["asked"]["results"] == told["plain"]["results"]
    assert told["both"]["bounds"] == limits
    assert limits["oracle"] == told["both"]["results"][0]["mean_jct_s"]
    assert 0 < limits["work"] < limits["oracle"]
    assert 0 < limits["alone"] < limits["oracle"] < told["plain"]["results"][0]["mean_jct_s"]


def test_seeds_differ_and_a_trace_is_repeated_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "few.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n1,200,20\n2,50,900\n3,30000,1\n")
    results = []
    for seed in ("1", "2"):
        words = ("--trace", str(trace), "--policy", "fcfs", "--kv-tokens", "2000", "--requests", "20", "--warmup", "4")
        assert _simulate(*words, "--seed", seed, "--json", "-") == 0
        said = capsys.readouterr()
        assert "repeated" in said.err
        assert "6 requests are larger" in said.err
        results.append(json.loads(said.out)["results"][0])
    assert results[0]["refused"] == 6
    assert results[0]["requests"] == 14
    assert results[0]["mean_jct_s"] != results[1]["mean_jct_s"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--trace"),
        (("--trace", "shape:none"), "azure-conv"),
        (("--trace", "no-such-file.csv"), "no-such-file.csv"),
        (("--trace", "shape:azure-conv", "--policy", "lifo"), "skipjoin"),
        (("--trace", "shape:azure-conv", "--policy", ","), "policy"),
        (("--trace", "shape:azure-conv", "--load", "0"), "load"),
        (("--trace", "shape:azure-conv", "--load", "nan"), "load"),
        (("--trace", "shape:azure-conv", "--rate", "-1"), "rate"),
        (("--trace", "shape:azure-conv", "--requests", "0"), "requests"),
        (("--trace", "shape:azure-conv", "--warmup", "-1"), "warmup"),
        (("--trace", "shape:azure-conv", "--max-batch", "0"), "max-batch"),
        (("--trace", "shape:azure-conv", "--kv-tokens", "1"), "kv-tokens"),
        (("--trace", "shape:azure-conv", "--kv-tokens", "16"), "none is left"),
        (("--trace", "shape:azure-conv", "--host-kv-tokens", "-1"), "host-kv-tokens"),
        (("--trace", "shape:azure-conv", "--starvation", "often"), "starvation"),
        (("--trace", "shape:azure-conv", "--policy", "adaptive", "--tail", "1.5"), "tail is 1.5"),
        (("--trace", "shape:azure-conv", "--policy", "fcfs,adaptive:1", "--tail", "0.5"), "no policy has a dial left"),
        (("--trace", "shape:azure-conv", "--policy", "fcfs:0.5"), "fcfs has no dial"),
        (("--trace", "shape:azure-conv", "--policy", "adaptive:2"), "the dial of adaptive:2"),
        (("--trace", "shape:azure-conv", "--policy", "lifo:1"), "lifo has no dial"),
        (("--trace", "shape:azure-conv", "--json", "nowhere/out.json"), "--json nowhere/out.json is no place"),
        (("--trace", "shape:azure-conv", "--seed", "-1"), "seed"),
        (("--trace", "shape:azure-conv", "--profile", "h100"), "opt-13b-a100"),
    ],
)
def test_bad_input_is_told_in_a_sentence(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _simulate(*words) == 2
    heard = capsys.readouterr()
    assert said in heard.err
    assert heard.out == ""
    assert "Traceback" not in heard.err


def test_a_json_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--trace", "shape:azure-code", "--rate", "1", "--policy", "fcfs", *FAST)
    assert _simulate(*words, "--json", str(tmp_path / "none" / "out.json")) == 2
    heard = capsys.readouterr()
    assert "out.json is no place to write a file" in heard.err and heard.out == ""
    assert _simulate(*words, "--json", "/dev/full") == 2
    heard = capsys.readouterr()
    assert "full cannot be written: No space left" in heard.err and "mean JCT" in heard.out


def test_a_profile_with_tables_is_simulated_by_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = load_profile("opt-13b-a100")
    flat, grid = Curve((1, 2), (0.0, 0.0)), Grid((1, 2), (1, 2), ((0.0, 0.0), (0.0, 0.0)))
    model = TableCostModel(flat, flat, grid, grid, grid, step_ns=1e6, move_token_ns=plain.model.move_token_ns)
    file = tmp_path / "tables.json"
    file.write_text(render_profile(replace(plain, tables=Tables(model, None))))
    (tmp_path / "one.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,100,50\n")
    words = ["simulate", "--trace", str(tmp_path / "one.csv"), "--policy", "fcfs", "--warmup", "0", "--json", "-"]
    assert main([*words, "--profile", str(file)]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["mean_jct_s"] == pytest.approx(50 * 1e-3)  # every iteration takes a step and nothing else


def test_the_dial_trades_the_mean_for_the_tail(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--trace", "shape:azure-conv", "--load", "1.5", "--policy", "adaptive", "--requests", "300", "--json", "-")
    told = {}
    for tail in ("0", "1"):
        assert _simulate(*words, "--tail", tail) == 0
        told[tail] = json.loads(capsys.readouterr().out)["results"][0]
    assert told["0"]["mean_jct_s"] < told["1"]["mean_jct_s"]
    assert told["0"]["p99_jct_s"] > told["1"]["p99_jct_s"]


def test_a_name_sets_the_dial_and_each_policy_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--trace", "shape:azure-conv", "--load", "1.5", *FAST, "--json", "-")
    names = "fcfs,adaptive:0,adaptive,fcfs,adaptive:0.0"
    assert _simulate(*words, "--policy", names, "--tail", "1") == 0
    results = {one["policy"]: one for one in json.loads(capsys.readouterr().out)["results"]}
    assert {name: one["tail"] for name, one in results.items()} == {"fcfs": None, "adaptive:0": 0.0, "adaptive": 1.0}
    assert _simulate(*words, "--policy", "fcfs,fcfs,adaptive:0,adaptive:1") == 0
    told = json.loads(capsys.readouterr().out)["results"]
    assert [one["policy"] for one in told] == ["fcfs", "adaptive:0", "adaptive:1"]
    assert told[:2] == [results["fcfs"], results["adaptive:0"]]
    assert told[2] == results["adaptive"] | {"policy": "adaptive:1"}
    assert told[1]["mean_jct_s"] != told[2]["mean_jct_s"]


def test_json_holds_what_was_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.json"
    file.write_text(render_profile(load_profile("opt-13b-a100")))
    words = ("--trace", "shape:azure-code", "--rate", "1", *FAST, "--json", "-")
    assert _simulate(*words) == 0
    told = json.loads(capsys.readouterr().out)
    dials = {one["policy"]: one["tail"] for one in told["results"]}
    assert dials == {"fcfs": None, "skipjoin": None, "adaptive": DEFAULT_TAIL}
    assert (told["profile"], told["starvation"], told["kv_mode"]) == ("opt-13b-a100", "granted", "proactive")
    more = ("--profile", str(file), "--starvation", "off", "--kv-mode", "recompute")
    assert _simulate(*words, *more) == 0
    said = capsys.readouterr().out
    told = json.loads(said)
    assert (told["profile"], told["starvation"], told["kv_mode"]) == ("mine.json", "off", "recompute")
    assert str(tmp_path) not in said


def test_kv_mode_says_how_victims_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--trace", "shape:sharegpt", "--policy", "skipjoin", "--load", "1.5", *FAST)
    told = {}
    for mode in ("proactive", "reactive", "recompute"):
        file = tmp_path / f"{mode}.json"
        assert _simulate(*words, "--kv-mode", mode, "--json", str(file)) == 0
        told[mode] = json.loads(file.read_text())["results"][0]
    capsys.readouterr()
    assert told["proactive"]["bytes_moved"] > 0
    assert told["reactive"]["bytes_moved"] > 0
    assert told["recompute"]["bytes_moved"] == 0
    assert told["recompute"]["tokens_recomputed"] > told["reactive"]["tokens_recomputed"]
