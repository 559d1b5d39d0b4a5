"""`skipjoin bench step` on CUDA: marks in the order of the device's work, two plans in flight,
copies over the link beside them.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from skipjoin.bench.device.step.cases import engine_iterations, loop_of
from skipjoin.bench.device.step.deck import Deck, decode_steps
from skipjoin.bench.device.step.scenario import load_steps
from skipjoin.bench.device.step.stage import Times, staged
from skipjoin.cli import main
from skipjoin.core.clock import MonotonicClock

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda", 0)
QUICK = Path(__file__).parents[1] / "bench" / "step" / "quick.toml"
SLEEP_CYCLES = 40_000_000  # some hundredths of a second


def test_marks_are_set_by_the_device_and_not_by_the_host():
    clock = MonotonicClock()
    times = Times(DEVICE, clock)
    times.mark()
    torch.cuda._sleep(1)  # loads what sleeps
    times.wait()
    begun_ns = clock.now_ns()
    first = times.mark()
    torch.cuda._sleep(SLEEP_CYCLES)
    second = times.mark()
    launched_ns = clock.now_ns() - begun_ns
    third = times.mark()
    times.wait()
    whole_ns = clock.now_ns() - begun_ns
    slept = first.ns_until(second)
    assert launched_ns < slept < whole_ns * 1.05
    assert second.ns_until(third) < slept / 10


@pytest.fixture(scope="module")
def stage():
    scenario = load_steps(QUICK)
    with torch.cuda.device(DEVICE), staged(scenario, DEVICE, torch.float32, MonotonicClock()) as made:
        made.sample_ns = 1
        yield scenario, made


def test_two_plans_are_in_flight_and_marks_stay_in_order(stage):
    scenario, made = stage
    case = scenario.cases[0]
    depths = []
    submit = made.executor.submit

    def watching(plan):
        submit(plan)
        depths.append(len(made.executor._launched))

    made.executor.submit = watching
    try:
        steps = decode_steps(made, Deck(made, case.batch, case.context, case.most_tokens), case.steps)
    finally:
        made.executor.submit = submit
    assert max(depths) == 2 and steps.forward_ns > 0
    marks = made.executor.iterations
    assert len(marks) == case.steps
    assert all(before.ended.ns_until(after.begun) >= 0 for before, after in pairwise(marks))
    assert made.executor.graphs is None or made.executor.graphs.replayed >= case.steps


@pytest.mark.parametrize("ahead", [True, False])
def test_the_engine_leaves_the_device_idle_for_a_share(stage, ahead):
    scenario, made = stage
    case = next(case for case in scenario.cases if case.kind == "idle")
    iterations = engine_iterations(made, case, ahead=ahead)
    assert len(iterations) == case.iterations - case.warm
    assert 0 <= loop_of(iterations).idle < 1


def test_the_whole_command(tmp_path):
    out = tmp_path / "step.jsonl"
    words = ["bench", "step", "--device", "cuda", "--repeats", "3", "--scenario", str(QUICK), "--json", str(out)]
    assert main(words) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["name"] for line in lines if line["kind"] == "speed"] == ["copy", "gemm", "out", "in"]
    rates = [line for line in lines if line.get("unit") == "GB/s" and line["kind"] == "step"]
    assert len(rates) == 6 and {line["bound"] for line in rates} == {"pinned"}
    assert [line["what"] for line in lines if line.get("measured") == "idle"] == [
        "iteration, run ahead",
        "iteration, one plan at a time",
    ]
