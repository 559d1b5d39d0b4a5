"""The tiny model, the plan driver and the stories of tests/executor, for a CUDA device."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from skipjoin.executor.presets import init_model

for _name in ("plan_driver", "ahead_story"):
    if _name not in sys.modules:
        _path = Path(__file__).parents[1] / "executor" / f"{_name}.py"
        _spec = importlib.util.spec_from_file_location(_name, _path)
        sys.modules[_name] = importlib.util.module_from_spec(_spec)
        _spec.loader.exec_module(sys.modules[_name])


@pytest.fixture(scope="session")
def gpu_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    init_model(folder, "tiny", seed=11)
    return folder
