"""Runs of servers as a person reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measured import result

from skipjoin.bench.load.command import ROWS, LoadStudy, print_load, table

FCFS = result(
    "fcfs",
    requests=1234,
    mean_jct_s=123.456,
    mean_normalized_latency_s=0.5,
    mean_tpot_s=0.0123,
    output_token_throughput=1234.5,
    bytes_moved=3_456_000_000,
)


def _cells(text: str) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        for label, _, _ in ROWS:
            if line.startswith(label):
                rows[label] = line.removeprefix(label).split()
    return rows


def test_a_table_has_units_and_a_dash_for_what_is_unknown() -> None:
    text = table([("fcfs", FCFS), ("skipjoin", result("skipjoin", mean_jct_s=0.5))])
    rows = _cells(text)
    assert list(rows) == [label for label, _, _ in ROWS]
    assert rows["jobs"] == ["1,234", "0"]
    assert rows["mean JCT (s)"] == ["123.5", "0.500"]
    assert rows["normalised latency (s/token)"] == ["0.5000", "-"]
    assert rows["mean TPOT (ms)"] == ["12.3", "-"]
    assert rows["output tokens a second"] == ["1,234.5", "-"]
    assert rows["MB of KV moved"] == ["3,456", "-"]
    assert len({len(line) for line in text.splitlines()[1:]}) == 1
    assert text.splitlines()[0].split() == ["fcfs", "skipjoin"]


def test_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    study = LoadStudy("a trace", "openai", 3, 2.0, 4.0, 0.5, FCFS, {"HTTP 500: no": 2}, 1.5, 3.0, trustworthy=True)
    print_load(study)
    text = capsys.readouterr().out
    assert text.startswith("a trace against openai: 2.000 requests a second, load 0.5, seed 3\n")
    assert "2 failed: HTTP 500: no" in text
    assert text.endswith("The generator kept its schedule: lag P99 1.5 ms, worst 3.0 ms\n")
    print_load(replace(study, rate_per_s=None, load=None, trustworthy=False, result=replace(FCFS, policy=None)))
    text = capsys.readouterr().out
    assert "as recorded, seed 3" in text and "TOO LATE" in text
    assert text.splitlines()[2].split() == ["live"]
