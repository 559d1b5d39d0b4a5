"""A scenario so small that checking it takes a moment, and the study of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from skipjoin.bench.device.kernels.contest import Subject
from skipjoin.bench.device.kernels.scenario import KernelScenario, load_shapes
from skipjoin.bench.device.kernels.study import KernelRow, Setting, study
from skipjoin.bench.device.race import SpeedRow
from skipjoin.core.clock import MonotonicClock

QUICK = Path(__file__).with_name("quick.toml")
Study = Callable[..., list[KernelRow | SpeedRow]]


@pytest.fixture
def quick() -> KernelScenario:
    return load_shapes(QUICK)


@pytest.fixture
def studied(quick: KernelScenario) -> Study:
    """studied(subject, dtype, only): all rows, timed as briefly as can be."""

    def run(
        subject: Subject, dtype: torch.dtype = torch.float32, only: str | None = None
    ) -> list[KernelRow | SpeedRow]:
        setting = Setting(torch.device("cpu"), dtype, 3, flex=False, sample_ns=1)
        return list(study(quick.only(only), subject, setting, MonotonicClock()))

    return run
