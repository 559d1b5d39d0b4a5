"""The tiny model and the plan driver of tests/executor, for a CUDA device."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from skipjoin.executor.presets import init_model

if "plan_driver" not in sys.modules:
    _path = Path(__file__).parents[1] / "executor" / "plan_driver.py"
    _spec = importlib.util.spec_from_file_location("plan_driver", _path)
    sys.modules["plan_driver"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["plan_driver"])


@pytest.fixture(scope="session")
def gpu_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    init_model(folder, "tiny", seed=11)
    return folder
