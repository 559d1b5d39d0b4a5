"""Pictures stand alone, say what they show, and name the extra that draws them."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from skipjoin.bench.charts.bars import Bar, BarChart, bar_sheet
from skipjoin.bench.charts.lines import Line, LineChart, line_sheet
from skipjoin.bench.charts.looks import Look
from skipjoin.cli import main

SVG = "{http://www.w3.org/2000/svg}"


def _titles(drawn: str) -> list[str | None]:
    return [one.text for one in ElementTree.fromstring(drawn).iter(f"{SVG}title")]


def test_a_line_says_what_it_is_and_so_do_its_dots() -> None:
    points = [(0.7, 1.0), (1.3, 20.0)]
    line = Line("ours", points, Look("blue"), 'ours: 1 s & "more"', points)
    charts = [LineChart([line], "load", "seconds", name, "y", [0.7, 1.3], legend=True) for name in ("a", "b")]
    drawn = line_sheet("Latency <by load>", [charts, charts[:1]], 300.0, 200.0, "on a machine")
    assert _titles(drawn) == ['ours: 1 s & "more"'] * 6
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "Latency <by load>" and root.get("role") == "img"
    words = [one.text for one in root.iter(f"{SVG}text")]
    assert {"a", "b", "load", "seconds", "0.7", "1.3", "ours", "on a machine"} <= set(words)
    assert drawn == line_sheet("Latency <by load>", [charts, charts[:1]], 300.0, 200.0, "on a machine")


def test_a_bar_longer_than_the_chart_says_its_share() -> None:
    bars = [Bar("first", 3.0, "orange", "much", target=0.8), Bar("second", 0.25, "aqua", "little")]
    chart = BarChart([bars], "Shares", "share", 1.25, {"of one": "orange"})
    drawn = bar_sheet("Shares", [chart], 400.0, "on a machine")
    words = [one.text and one.text.strip() for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    assert {"300%", "25%", "first", "second", "of one", "100%"} <= set(words)
    assert _titles(drawn) == ["much", "little"]


@pytest.mark.parametrize("action", ["kernels", "report"])
def test_without_the_library_its_extra_is_named_before_the_work(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "results.jsonl").write_text('{"kind": "run", "key": {}, "code": "a"}\n')
    words = {"kernels": ["--plot", str(tmp_path / "out.svg")], "report": [str(tmp_path), "--out", str(tmp_path / "a")]}
    assert main(["bench", action, *words[action]]) == 2
    heard = capsys.readouterr()
    assert "Pictures need matplotlib: pip install 'skipjoin[plot]'" in heard.err and heard.out == ""
