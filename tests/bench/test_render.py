"""Timings, pools and the progress of a measurement as a person sees them."""

from __future__ import annotations

import sys

import pytest

from skipjoin.bench.pool import PoolFigures
from skipjoin.bench.progress import Bar
from skipjoin.bench.render import print_pools, print_timing, print_turn_tail
from skipjoin.bench.turn import Timing, TurnReport


def test_timings_and_their_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, free = (
        Timing("a", 0.2, 0.3, 20, 2.0, 0.1),
        Timing("b", 0.21, 0.3, 20, 2.0, 0.1),
        Timing("c", 9.0, 9.0, 20, 2.0),
    )
    for timing in (good, bad, free):
        print_timing(timing)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("<= 0.1 ok") and lines[1].endswith("<= 0.1 ABOVE") and lines[2].endswith(" -")
    for ratio, word in ((1.2, "ok"), (1.21, "ABOVE")):
        print_turn_tail(TurnReport(8, 40, (good,), ratio, (1000, 3000)))
        assert capsys.readouterr().out.endswith(f"(target <= 1.2) {word}\n")


def test_pools_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    print_pools([PoolFigures("sqlite", True, 10, 2000, 64, 30, 16), PoolFigures("memory", False, 1, 2, 64, 3, 16)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split(maxsplit=1) == ["sqlite", "memory (not durable)"]
    assert [line.split()[-2:] for line in lines[1:]] == [["10", "1"], ["2,000", "2"], ["30", "3"], ["480", "48"]]


def test_where_nobody_watches_only_notes_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    with Bar() as bar:
        bar.note("a [note] with /slashes and 1.5 figures")
        bar.begin("work", 3)
        bar.ended(2)
        bar.end()
        bar.end()
    heard = capsys.readouterr()
    assert (heard.out, heard.err) == ("", "a [note] with /slashes and 1.5 figures\n")
