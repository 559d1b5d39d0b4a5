"""`skipjoin bench` as a person calls it: real runs, small reports, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from skipjoin.bench.load.process import OwnServer
from skipjoin.cli import main

TURN = ("turn", "--only", "turn", "--batch", "8", "--live", "40", "--queued", "3000", "--turns", "20")
LOAD = ("--trace", "shape:sharegpt", "--scale-lengths", "0.05", "--max-tokens", "200", "--requests", "12")


@pytest.mark.parametrize("kind", ["skipjoin", "openai"])
def test_a_run_against_a_real_server(
    kind: str, server: OwnServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run.json"
    url = server.address if kind == "skipjoin" else f"{server.http_url}/v1/"
    words = ["bench", "run", "--target", kind, "--url", url, *LOAD, "--load", "2", "--warmup", "3", "--seed", "4"]
    words += ["--profile", "opt-13b-a100", "--metrics-url", f"{server.http_url}/metrics", "--json", str(out)]
    assert main(words) == 0
    heard = capsys.readouterr()
    assert "mean JCT (s)" in heard.out and "load 2, seed 4" in heard.out
    assert "drain rate" in heard.err
    told = json.loads(out.read_text())
    assert (told["target"], told["load"], told["failed"]) == (kind, 2.0, 0)
    assert told["rate_per_s"] == pytest.approx(2 * told["drain_rate_per_s"])
    (figures,) = told["results"]
    assert figures["requests"] + figures["refused"] == 12
    assert 0 < figures["mean_ttft_s"] <= figures["mean_jct_s"] <= figures["makespan_s"]
    assert figures["max_slowdown"] > 0
    known = kind == "skipjoin"
    assert [figures[name] is not None for name in ("preemptions", "bytes_moved", "tokens_recomputed")] == [known] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--url", "localhost"), "localhost"),
        (("run", "--url", "127.0.0.1:9", "--target", "openai"), "--url must be http"),
        (("run", "--url", "127.0.0.1:9", "--load", "-1"), "--load"),
        (("run", "--url", "127.0.0.1:9", "--requests", "0"), "--requests"),
        (("run", "--url", "127.0.0.1:9", "--profile", "nobody"), "nobody"),
        (("run", "--url", "127.0.0.1:9", "--token-file", "no-file"), "no-file cannot be read"),
        (("run", "--url", "127.0.0.1:9", "--tls-ca", "no-file"), "no-file cannot be read"),
        (("run", "--url", "127.0.0.1:9"), "give --rate or --load"),
        (("turn", "--batch", "3"), "--batch is 3. (limit: 4..4096)"),
        (("turn", "--batch", "8", "--live", "7"), "--live is 7"),
        (("turn", "--queued", "0"), "--queued"),
        (("turn", "--turns", "19"), "--turns"),
        (("turn", "--decode-batch", "0"), "--decode-batch is 0. (limit: 1..1024)"),
        (("turn", "--decodes", "19"), "--decodes"),
        (("turn", "--only", "engine", "--model", "/dev/null/none"), "no folder /dev/null/none"),
        (("pool", "--seconds", "0"), "--seconds"),
        (("pool", "--seconds", "nan"), "--seconds"),
        (("pool", "--dir", "no-folder"), "no-folder is no folder"),
        (("demo", "--policies", "srpt-oracle"), "srpt-oracle"),
        (("demo", "--policies", ","), "of skipjoin, fcfs, "),
        (("demo", "--fidelity", "0"), "--fidelity is 0"),
        (("demo", "--scenario", "none.toml"), "none.toml cannot be read"),
        (("demo", "--record", "/dev/null/folder"), "folder cannot be made"),
        (("against", "no-folder", "turn"), "no-folder is no checkout"),
        (("against", str(Path(__file__).parents[2]), "--rounds", "0", "turn"), "--rounds is 0"),
    ],
)
def test_bad_input_is_told_in_a_sentence(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    trace = ("--trace", "shape:azure-conv") if words[0] == "run" else ()
    assert main(["bench", *words, *trace]) == 2
    heard = capsys.readouterr()
    assert said in heard.err and len(heard.err.splitlines()) == 1
    assert heard.out == ""


def test_nobody_at_the_address_is_told_soon(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "run", "--url", "http://127.0.0.1:9", "--target", "openai", *LOAD, "--rate", "100"]
    assert main(words) == 5
    assert "does not answer" in capsys.readouterr().err


def test_the_turn_is_timed_in_every_situation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "turn.json"
    code = main(["bench", *TURN, "--json", str(out)])
    told = json.loads(out.read_text())
    bars = [one["median_ms"] <= one["target"] * one["unit_ms"] for one in told["timings"] if one["target"] is not None]
    assert code == (0 if all(bars) and told["queue_ratio"] <= 1.2 else 1)
    assert (told["batch"], told["live_jobs"], told["queue_jobs"]) == (8, 40, [1000, 3000])
    names = [
        "unchanged",
        "unchanged, stop strings",
        "quarter",
        "arrival",
        "arrival, 1,000 queued",
        "arrival, 3,000 queued",
    ]
    assert [one["name"] for one in told["timings"]] == names
    assert [one["target"] for one in told["timings"]] == [0.1, None, 1.5, 2.0, None, None]
    for one in told["timings"]:
        assert 0 < one["median_ms"] <= one["p95_ms"]
        assert 18 <= one["turns"] <= 20
    medians = {one["name"]: one["median_ms"] / one["unit_ms"] for one in told["timings"]}
    assert told["queue_ratio"] == medians["arrival, 3,000 queued"] / medians["arrival, 1,000 queued"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert "3,000 / 1,000 queued" in printed


def test_both_pools_are_measured_and_nothing_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, home = tmp_path / "pool.json", tmp_path / "home"
    home.mkdir()
    assert main(["bench", "pool", "--seconds", "0.1", "--dir", str(home), "--json", str(out)]) == 0
    pools = json.loads(out.read_text())["pools"]
    assert [(one["pool"], one["durable"]) for one in pools] == [("sqlite", True), ("memory", False)]
    for one in pools:
        assert min(one["submits_alone_per_s"], one["submits_per_s"], one["commits_per_s"]) > 0
        assert one["tokens_per_s"] == one["commits_per_s"] * one["batch"]
        assert one["batch"] == one["in_flight"] == 64
    assert list(home.iterdir()) == []
    assert "memory (not durable)" in capsys.readouterr().out


def test_a_json_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *TURN, "--json", str(tmp_path / "none" / "out.json")]) == 2
    heard = capsys.readouterr()
    assert "out.json is no place to write a file" in heard.err and heard.out == ""
    assert main(["bench", *TURN, "--json", "/dev/full"]) == 2
    heard = capsys.readouterr()
    assert "full cannot be written: No space left" in heard.err and heard.out != ""
