"""Contestants take turns, a sample is long enough, and a share of the roofline is what the formula
says.
"""

from __future__ import annotations

import pytest
import torch

from skipjoin.bench.device.race import MOST_RUNS, Contestant, Work, race, roofline_ns
from skipjoin.core.clock import ManualClock

CPU = torch.device("cpu")


def test_they_take_turns_and_fill_a_sample():
    clock, ran = ManualClock(), []

    def takes(name, ns):
        def run():
            ran.append(name)
            clock.advance(ns)

        return Contestant(name, run, None)

    times = race([takes("a", 40), takes("b", 10), takes("c", 1000)], 3, CPU, clock, sample_ns=100)
    assert times == {"a": [40.0] * 3, "b": [10.0] * 3, "c": [1000.0] * 3}
    assert ran == ["a"] * 2 + ["b"] * 2 + ["c"] * 2 + (["a"] * 2 + ["b"] * 10 + ["c"]) * 3


def test_who_cannot_be_recorded_is_launched_and_named():
    """Recorded runs are run in their place; another one runs as it is, with a reason, and who waits
    for the device is not asked.
    """
    ran, unrecorded = [], {}

    def capture(work):
        if work is runs["refused"]:
            raise RuntimeError("it waits")
        return lambda: ran.append("replayed")

    runs = {name: (lambda name=name: ran.append(name)) for name in ("fit", "refused", "waits")}
    contestants = [Contestant(name, run, None, graphable=name != "waits") for name, run in runs.items()]
    race(contestants, 3, CPU, ManualClock(), sample_ns=1, capture=capture, unrecorded=unrecorded)
    assert ran == ["replayed"] * 2 + ["refused"] * 2 + ["waits"] * 2 + ["replayed", "refused", "waits"] * 3
    assert unrecorded == {"refused": "it waits"}


def test_what_takes_no_time_ends_too():
    ran = []
    race([Contestant("a", lambda: ran.append(1), None)], 3, CPU, ManualClock())
    assert len(ran) == 2 + 3 * MOST_RUNS


@pytest.mark.parametrize(
    ("work", "ns"),
    [(Work(100), 50.0), (Work(100, 1000), 100.0), (Work(0, 0, "out", 30), 60.0), (Work(0, 0, "in", 30), 0.0)],
)
def test_the_roofline_is_the_slowest_part(work, ns):
    assert roofline_ns(work, {"copy": 2.0, "gemm": 10.0, "out": 0.5}) == ns
