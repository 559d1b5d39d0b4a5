"""Whether a machine is quiet, told from what is read of it; and the yardstick that figures are told
in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from skipjoin.bench.yardstick import Look, Yardstick, disturbances, look
from skipjoin.core.clock import MonotonicClock, sleep_s

QUIET = (
    Look(0.0, 1.00, own_s=2.0, busy_s=100.0, stolen_s=7.0),
    Look(20.0, 1.04, own_s=20.0, busy_s=118.5, stolen_s=7.1),
    Look(50.0, 1.08, own_s=50.0, busy_s=149.5, stolen_s=7.9),
)


def test_a_machine_of_ones_own_is_quiet() -> None:
    assert disturbances(QUIET, 2) == ()
    assert disturbances(QUIET[:1], 2) == disturbances((), 2) == ()


@pytest.mark.parametrize(
    ("at", "change", "word"),
    [
        (1, {"unit_ms": 1.12}, "fixed work took 1.00 to 1.12 ms: 12% apart"),
        (0, {"unit_ms": 1.19}, "fixed work took 1.04 to 1.19 ms: 14% apart"),
        (2, {"busy_s": 152.0}, "other processes took up to 6% of 2 processors"),
        (1, {"busy_s": 121.0, "own_s": 20.0}, "other processes took up to 8% of 2 processors"),
        (2, {"stolen_s": 9.1}, "the host took up to 3% of 2 processors"),
    ],
)
def test_each_kind_of_noise_is_told_with_its_figure(at: int, change: dict[str, float], word: str) -> None:
    looks = [replace(one, **change) if at == place else one for place, one in enumerate(QUIET)]
    (said,) = disturbances(looks, 2)
    assert said.startswith(word), said


def test_what_is_not_told_disturbs_nobody() -> None:
    assert disturbances([replace(one, busy_s=None, stolen_s=None) for one in QUIET], 2) == ()


def test_a_neighbour_is_seen() -> None:
    clock = MonotonicClock()
    before = look(clock)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            sleep_s(2.5)
            after = look(clock)
        finally:
            neighbour.kill()
    said = disturbances([before, after], len(os.sched_getaffinity(0)))
    assert any("other processes took" in one for one in said), (said, before, after)


def test_a_unit_is_the_median_sample() -> None:
    yardstick = Yardstick()
    for _ in range(3):
        yardstick.measure()
    assert len(yardstick.samples_ns) == 3 and min(yardstick.samples_ns) > 0
    assert yardstick.unit_ms == sorted(yardstick.samples_ns)[1] / 1e6
