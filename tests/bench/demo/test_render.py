"""Outcomes of the demo as a person reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measured import result

from skipjoin.bench.demo.fidelity import Fidelity, Kind, Repeat
from skipjoin.bench.demo.render import print_fidelity, print_outcome, print_repeat
from skipjoin.bench.demo.runs import Outcome, Pair
from skipjoin.bench.demo.scenario import load_scenario, scenario_files

FCFS = result(
    "fcfs",
    requests=1234,
    mean_jct_s=123.456,
    mean_normalized_latency_s=0.5,
    mean_tpot_s=0.0123,
    output_token_throughput=1234.5,
    bytes_moved=3_456_000_000,
)
FIRST = load_scenario(scenario_files()[0])


def test_a_scenario_and_its_bars(capsys: pytest.CaptureFixture[str]) -> None:
    ours = result("skipjoin", mean_normalized_latency_s=0.4, output_token_throughput=100.0)
    pairs = (
        Pair("fcfs", FCFS, replace(FCFS, mean_jct_s=61.728), (), 0.1, trustworthy=True),
        Pair("skipjoin", ours, ours, ("lost",), 99.0, trustworthy=False),
    )
    print_outcome(Outcome(FIRST, 200, 2.6, 2.0, pairs, result("srpt-oracle")))
    text = capsys.readouterr().out
    assert "200 jobs, 2.60 a second = load 1.3 of 2.00, batch 8, KV of 6 mean jobs" in text
    assert "fcfs (sim)" in text and "srpt-oracle (sim)" in text
    assert "simulated / live mean JCT under fcfs: 0.500" in text
    assert "under skipjoin:" not in text
    assert "99.0 ms late under skipjoin." in text
    assert text.count("FAIL ") == 1 and "ok  " not in text  # what was lost
    assert text.count("busy: not judged, ") == 3  # latency, throughput, nothing moved


def test_one_of_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pair = Pair("fcfs", FCFS, replace(FCFS, mean_jct_s=61.728), (), 0.1, trustworthy=True)
    print_repeat(FIRST, Repeat(1, pair))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        said == "many short, few long, run 2 fcfs live 123.456 s simulated 61.728 s ratio 0.500"
        " at its own speed - drift +0.0%"
    )
    print_repeat(FIRST, Repeat(1, replace(pair, trustworthy=False, lag_p99_ms=99.0)))
    assert capsys.readouterr().out.endswith("drift +0.0%  generator 99.0 ms late  set apart\n")
    print_repeat(FIRST, Repeat(0, pair, -0.11, {"prompts": Kind(3, 1.1, 1.0), "decodes": Kind(1200, 1.0, 2.0)}))
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("drift -11.0%  set apart")
    assert second == "     iterations predicted / measured: prompts 1.100 of 3, decodes 0.500 of 1,200"


def test_fidelity(capsys: pytest.CaptureFixture[str]) -> None:
    bar = "(bar: median within 10% of 1)"
    print_fidelity(Fidelity("chat", "fcfs", (1.0, 1.5, 1.3), (4.0, 5.0, 4.5), truths=(1.0, 1.05, 1.3), costs=(1.2,)))
    assert capsys.readouterr().out.splitlines() == [
        f"ok   chat, fcfs: simulated / live mean JCT at each run's own speed 1.050 [1.000..1.300],"
        f" the median of 1.000, 1.050, 1.300 {bar}; equal live runs differ by up to 25%",
        f"FAIL chat, fcfs: iterations predicted / measured 1.200 [1.200..1.200], the median of 1.200 {bar}",
        "     chat, fcfs: simulated / live mean JCT by the profiles before and after 1.300 [1.000..1.500],"
        " the median of 1.000, 1.500, 1.300",
    ]
    found = Fidelity("chat", "adaptive", (1.2,), (4.0,), (0.9, 0.7, 0.75), 0.8, 2, (0.7,), {"both": 0.9})
    print_fidelity(found)
    true, priced, kinds, raw, early, failed = capsys.readouterr().out.splitlines()
    assert true.startswith("     chat, adaptive: simulated / live mean JCT at each run's own speed not judged")
    assert priced.startswith("     chat, adaptive: iterations predicted / measured not judged")
    assert kinds == "     chat, adaptive: the same by kind, medians: both 0.900"
    assert raw.endswith("the median of 1.200; set apart 0.700")
    assert early == (
        "ok   chat, adaptive: live mean JCT over fcfs's 0.750 [0.700..0.900], the median of 0.900, 0.700, 0.750"
        " (bar: median at most 0.8)"
    )
    assert failed == "FAIL chat, adaptive: 2 requests failed"
    print_fidelity(Fidelity("chat", "skipjoin", (1.0,), (4.0,), (0.9,)))
    assert capsys.readouterr().out.splitlines()[-1] == (
        "     chat, skipjoin: live mean JCT over fcfs's 0.900 [0.900..0.900], the median of 0.900"
    )
