"""`skipjoin bench matrix` and `bench report` as a person calls them: run, go on, what is left out,
bad input, the page.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from skipjoin.bench.matrix.runner import make_plan
from skipjoin.bench.matrix.scenario import FOLDER, load_matrix
from skipjoin.cli import main
from skipjoin.core.clock import sleep_s
from skipjoin.core.errors import InvalidSettings

MINE = """
title = "mine"
requests = 30
warmup = 4
loads = [0.9, 1.3]
batches = [4]
policies = ["fcfs", "nobody", "skipjoin", "srpt-oracle"]

[[traces]]
name = "few"
shape = "azure-conv"

[[traces]]
name = "fewer"

[timeline]
shape = "azure-conv"
requests = 6
load = 1.2
batch = 2
"""
RUNS = 9  # three policies at two loads, and three small runs


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    return file


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKIPJOIN_BENCH_DATA", raising=False)


def _matrix(*words: object) -> int:
    return main(["bench", "matrix", *map(str, words)])


def _lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_matrix_is_run_once_and_gone_on_with(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--scenario", mine, "--out", tmp_path / "out", "--jobs", 1)
    assert _matrix(*words) == 0
    said = capsys.readouterr()
    assert "no such policy: nobody" in said.err
    assert "azure-conv for few" in said.err and "left out, for no shape stands in for them: fewer" in said.err
    assert "overload: mean/oracle" in said.out and "skipjoin" in said.out
    lines = _lines(tmp_path / "out")
    assert sorted(str(line["kind"]) for line in lines) == ["drain"] + ["run"] * 6 + ["timeline"] * 3
    assert str(tmp_path) not in (tmp_path / "out" / "results.jsonl").read_text()

    assert _matrix(*words) == 0
    again = capsys.readouterr()
    assert f"{RUNS} of {RUNS} runs are there already" in again.err
    assert again.out == said.out
    assert said.out.split()[:3] == ["fcfs", "skipjoin", "srpt-oracle"]
    assert _lines(tmp_path / "out") == lines

    file = tmp_path / "out" / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    assert _matrix(*words, "--policies", "mlfq,srpt-oracle,skipjoin,fcfs") == 0
    assert "torn" in capsys.readouterr().err
    more = _lines(tmp_path / "out")
    assert len(more) == len(lines) + 3
    assert all(line in more for line in lines)
    assert _matrix(*words, "--policies", "mlfq,srpt-oracle,skipjoin,fcfs") == 0
    assert capsys.readouterr().out.split()[:4] == ["mlfq", "srpt-oracle", "skipjoin", "fcfs"]


def test_several_processes_write_the_same(mine: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        assert _matrix("--scenario", mine, "--out", tmp_path / str(processes), "--jobs", processes) == 0
    one, two = (sorted((tmp_path / name / "results.jsonl").read_text().splitlines()) for name in ("1", "2"))
    assert one == two


@pytest.mark.parametrize(
    ("way", "to_all", "code"), [("SIGINT", True, 130), ("SIGINT", False, 130), ("SIGKILL", False, -9)]
)
def test_a_matrix_that_is_stopped_leaves_nobody_and_goes_on(
    mine: Path, tmp_path: Path, way: str, to_all: bool, code: int
) -> None:
    words = ["--scenario", str(mine), "--out", str(tmp_path / "out"), "--jobs", "2", "--batches", "4,5,6,7,8,9"]
    command = [sys.executable, "-m", "skipjoin.cli", "bench", "matrix", *words]
    # Whoever holds the other end of its standard error is still there: reading it to the end waits
    # for the last of them.
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    file = tmp_path / "out" / "results.jsonl"
    for _ in range(600):
        if file.is_file() and file.stat().st_size:
            break
        sleep_s(0.05)
    (os.killpg if to_all else os.kill)(running.pid, signal.Signals[way])
    _, said = running.communicate(timeout=30)
    assert running.returncode == code, said
    assert ("interrupted" in said) is (way == "SIGINT") and "Traceback" not in said
    done = _lines(tmp_path / "out")
    assert 0 < len(done) < 6 * 7 + 3
    assert _matrix(*words) == 0
    lines = _lines(tmp_path / "out")
    assert lines[: len(done)] == done and len(lines) == 6 * 7 + 3


def test_flags_stand_in_place_of_the_file(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "few.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{at},200,20\n" for at in range(30)))
    words = ("--traces", "few", "--loads", "0.5", "--batches", "2,3", "--seeds", "0,1", "--policies", "fcfs")
    words += ("--requests", "20", "--warmup", "0", "--data", str(tmp_path))
    assert _matrix("--scenario", mine, "--out", tmp_path, "--jobs", 1, *words) == 0
    keys = [line["key"] for line in _lines(tmp_path) if line["kind"] == "run"]
    assert all(isinstance(key, dict) and key["trace"] == "few" and key["load"] == 0.5 for key in keys)
    cells = sorted((key["batch"], key["seed"]) for key in keys if isinstance(key, dict))
    assert cells == [(2, 0), (2, 1), (3, 0), (3, 1)]
    assert capsys.readouterr().err.count("few has 30 requests and 20 are asked for") == 0
    assert _matrix("--scenario", mine, "--out", tmp_path, "--jobs", 1, *words, "--requests", 40) == 0
    assert capsys.readouterr().err.count("few has 30 requests and 40 are asked for: repeated") == 1


def test_a_run_that_fails_is_told_and_the_others_go_on(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _matrix("--scenario", mine, "--out", tmp_path, "--requests", 1, "--warmup", 0, "--jobs", 1) == 1
    assert "too short" in capsys.readouterr().err
    assert [line["kind"] for line in _lines(tmp_path)] == ["timeline"] * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--jobs", "0"), "--jobs"),
        (("--loads", "0"), "--loads: "),
        (("--loads", "0.9,0.9"), "--loads: each value once"),
        (("--loads", "fast"), "--loads: "),
        (("--loads", "nan"), "--loads: "),
        (("--batches", "1.5"), "--batches: "),
        (("--seeds", "-1"), "--seeds: "),
        (("--requests", "0"), "--requests: "),
        (("--tails", "2"), "--tails: "),
        (("--tails", "0.5", "--policies", "fcfs"), "--tails: none of the policies has a dial"),
        (("--policies", "nobody"), "policies"),
        (("--policies", ","), "policies"),
        (("--traces", "nowhere"), "--data"),
        (("--profile", "none"), "opt-13b-a100"),
        (("--scenario", "none.toml"), "none.toml"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _matrix(*words, "--out", tmp_path / "out") == 2
    heard = capsys.readouterr().err
    assert said in heard and "Traceback" not in heard


@pytest.mark.parametrize(
    ("line", "instead", "field"),
    [
        ("requests = 30", "requests = 0", "requests"),
        ("loads = [0.9, 1.3]", "loads = []", "loads"),
        ("batches = [4]", "batches = [4, 4]", "batches"),
        ("batches = [4]", "batches = [4]\nspeed = 1", "speed"),
        ('name = "fewer"', 'shape = "mooncake"', "traces.1.name"),
        ('name = "fewer"', 'name = "fewer"\nspread_s = -1', "traces.1.spread_s"),
        ("batch = 2", "batch = 0", "timeline.batch"),
        ("warmup = 4", "warmup =", "no TOML"),
        ("batches = [4]", "batches = [true]", "batches.0"),
        ('name = "fewer"', 'name = "few"', "traces: each value once"),
        ('"nobody"', '"skipjoin:0.5"', "policies.1: skipjoin has no dial"),
        ('"nobody"', '"adaptive:1.5"', "policies.1: the dial of adaptive:1.5"),
        ('"nobody"', '"adaptive:nan"', "policies.1: the dial of adaptive:nan"),
        ('"nobody"', '"adaptive:"', "policies.1: the dial of adaptive:"),
        ('"nobody"', '"adaptive:0.5", "adaptive:0.50"', "policies: each value once"),
        ("batches = [4]", "batches = [4]\ntails = [0.5]", "tails: none of the policies"),
        ("batches = [4]", "batches = [4]\ntails = [0, 1.01]", "tails.1"),
        ("batches = [4]", "batches = [4]\ntails = [nan]", "tails.0"),
        ("batches = [4]", "batches = [4]\ntails = 0.5", "tails"),
        (
            "[timeline]",
            '[[references]]\nname = "a"\nsource = "b"\npoints = [[1, nan]]\n[timeline]',
            "references.0.points.0.1",
        ),
        ("[timeline]", '[[references]]\nname = "a"\npoints = [[1, 1]]\n[timeline]', "references.0.source"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(mine: Path, line: str, instead: str, field: str) -> None:
    assert MINE.count(line) == 1
    mine.write_text(MINE.replace(line, instead))
    with pytest.raises(InvalidSettings) as caught:
        load_matrix(mine, {})
    assert field in str(caught.value) and "mine.toml" in str(caught.value)


def test_a_file_in_another_encoding_is_told_with_its_line(mine: Path) -> None:
    mine.write_bytes(MINE.encode() + b"# caf\xe9\n")
    with pytest.raises(InvalidSettings, match=f"mine.toml, line {MINE.count(chr(10)) + 1} is not UTF-8"):
        load_matrix(mine, {})


@pytest.mark.parametrize(("name", "traces", "runs"), [("quick", 4, 1200), ("full", 8, 1200), ("front", 8, 1200)])
def test_what_ships_can_be_planned(name: str, traces: int, runs: int) -> None:
    matrix = load_matrix(FOLDER / f"{name}.toml", {})
    assert len(matrix.traces) == traces
    assert matrix.requests + matrix.warmup == runs
    plan = make_plan(matrix, None)
    assert {"fcfs", "skipjoin", "srpt-oracle"} <= set(plan.policies)
    assert all(jobs.trace.startswith("shape:") for jobs in plan.jobs)
    whole = make_plan(matrix, "somewhere")
    assert [jobs.trace for jobs in whole.jobs if jobs.seed == 0 and jobs.batch == 64] == [
        one.name for one in matrix.traces
    ]


# the report
# ---------------------------------------------------------------------------------------------------------
class _Reader(HTMLParser):
    """Tags that are open, and what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_that_needs_nothing_else(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _matrix("--scenario", mine, "--out", tmp_path, "--jobs", 1) == 0
    page, table = tmp_path / "page.html", tmp_path / "table.md"
    assert main(["bench", "report", str(tmp_path), "--out", str(page), "--markdown", str(table)]) == 0
    text = page.read_text()
    reader = _Reader()
    reader.feed(text)
    assert reader.open == [] and reader.outside == []
    assert not {"script", "link", "img", "iframe"} & set(reader.tags)
    pictures = [part.split("</svg>")[0] for part in text.split("<svg ")[1:]]
    for picture in pictures:
        ElementTree.fromstring(f"<svg {picture}</svg>")
    # Two planes; mean and P99 against load; a CDF a load; a timeline a policy.
    assert sum("aria-label" in picture for picture in pictures) == 2 + 2 + 2 + 3
    for policy in ("fcfs", "skipjoin", "srpt-oracle"):
        assert f"Jobs of the small run under {policy}" in text
    lines = table.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `skipjoin`")]
    assert len(rows) == 1 and rows[0].count("|") == lines[0].count("|")
    assert sum(line.startswith("| shape:azure-conv |") for line in lines) == 2
    assert str(tmp_path) not in text + table.read_text()


def test_a_report_before_the_first_run(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _matrix("--scenario", mine, "--out", tmp_path, "--requests", 1, "--warmup", 0, "--jobs", 1) == 1
    assert main(["bench", "report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    heard = capsys.readouterr().err
    assert "holds no run yet" in heard and "Traceback" not in heard


def test_a_report_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert "results.jsonl" in capsys.readouterr().err
