"""The tiny model, the plan driver and the stories of tests/executor, for a CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest

from skipjoin.model.presets import init_model


@pytest.fixture(scope="session")
def gpu_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    init_model(folder, "tiny", seed=11)
    return folder
