"""Kills under load, with a simulated server: what is measured is what clients saw."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from skipjoin.bench.progress import Bar
from skipjoin.bench.recovery import command
from skipjoin.bench.recovery.command import Load, RecoveryReport, measure
from skipjoin.core.clock import MonotonicClock
from skipjoin.core.errors import InvalidModel


@pytest.mark.timeout(120)
def test_every_client_of_every_kill_is_counted_and_waited_for_the_start(tmp_path: Path) -> None:
    told: list[str] = []
    flags = ["--executor", "simulated", "--simulated-scale", "0.2"]
    report = measure("made up", flags, tmp_path, MonotonicClock(), Load(kills=2, clients=3, pause_s=0.1), told.append)
    assert len(report.waits_s) == 6
    assert told == ["cold start", "warm start", "kill 1 of 2", "kill 2 of 2"]
    log = (tmp_path / "warm" / "server.log").read_text()
    assert log.count("took over") == 2
    # A client's wait holds the death, the fork and the start: never less than one tick of the
    # simulated model.
    assert min(report.waits_s) > 0.005


def test_targets_are_judged_at_their_ranks() -> None:
    waits = tuple([1.0] * 60 + [2.0] * 40)
    assert RecoveryReport("m", 1, 100, 10.0, 3.0, waits).holds
    assert not RecoveryReport("m", 1, 100, 15.1, 3.0, waits).holds
    assert not RecoveryReport("m", 1, 100, 10.0, 4.1, waits).holds
    assert not RecoveryReport("m", 1, 100, 10.0, 3.0, (1.6, *[1.6] * 60, *waits[61:])).holds
    assert not RecoveryReport("m", 1, 100, 10.0, 3.0, (3.1, 3.1, *waits[2:])).holds
    assert RecoveryReport("m", 1, 100, 10.0, 3.0, (3.1, *waits[1:])).holds, "one of a hundred lies above p99"
    few = RecoveryReport("m", 1, 3, 10.0, 3.0, (3.0, 1.0, 2.0, 4.0))
    assert [few.percentile_s(percent) for percent in (0, 50, 75, 76, 100)] == [1.0, 2.0, 3.0, 4.0, 4.0]


def test_the_server_is_started_with_the_model_and_without_the_spare_if_asked(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    parser = argparse.ArgumentParser()
    command.configure(parser)
    with Bar() as bar:
        for words, more in (([], []), (["--no-spare-engine"], ["--no-spare-engine"])):
            args = parser.parse_args(["--model", str(folder), *words])
            assert command.server_of(args, bar) == ("mine", [str(folder), *more])
        with pytest.raises(InvalidModel, match="There is no folder"):
            command.server_of(parser.parse_args(["--model", str(tmp_path / "none")]), bar)
