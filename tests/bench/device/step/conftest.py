"""A scenario of the tiny model, and a stage that its cases run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from skipjoin.bench.device.step.scenario import Decode, Idle, Moves, Prefill, StepScenario, load_steps
from skipjoin.bench.device.step.stage import Stage, staged
from skipjoin.core.clock import MonotonicClock

QUICK = Path(__file__).with_name("quick.toml")


@pytest.fixture
def quick() -> StepScenario:
    return load_steps(QUICK)


@pytest.fixture
def stage(quick: StepScenario) -> Iterator[Stage]:
    with staged(quick, torch.device("cpu"), torch.float32, MonotonicClock()) as made:
        made.sample_ns = 1
        yield made


@pytest.fixture
def decode(quick: StepScenario) -> Decode:
    return next(case for case in quick.cases if isinstance(case, Decode))


@pytest.fixture
def prefill(quick: StepScenario) -> Prefill:
    return next(case for case in quick.cases if isinstance(case, Prefill))


@pytest.fixture
def moves(quick: StepScenario) -> Moves:
    return next(case for case in quick.cases if isinstance(case, Moves))


@pytest.fixture
def idle(quick: StepScenario) -> Idle:
    return next(case for case in quick.cases if isinstance(case, Idle))
